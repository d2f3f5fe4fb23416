"""Reads the arguments of a fairseq-train command as fairseq does, and stops there: mistakes show before time is spent.

usage: check_train_args.py DATA [ARGUMENT ...]     (those of the fairseq-train command)
"""

import argparse
import sys

from fairseq import options, utils
from fairseq.models import ARCH_MODEL_REGISTRY

# The recipes' sizes are flags that these have, of text and of speech.
FAMILIES = {"speech_to_text": ("attn_rnn_s2t",), "attn_translation": ("attn_rnn_s2s", "lstm")}


def main() -> None:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--user-dir")
    first.add_argument("--arch")
    first.add_argument("--task", default="attn_translation")
    known, _ = first.parse_known_args()
    utils.import_user_module(known)
    from s2s_plugin.tasks.attn_translation import check_tokenizer

    if known.task not in FAMILIES:
        sys.exit(f"error: --task {known.task}: choose from {', '.join(FAMILIES)}")
    of_family = (name for name in ARCH_MODEL_REGISTRY if name.startswith(FAMILIES[known.task]))
    fit = sorted(name for name in of_family if not name.startswith("lstm_lm"))
    if known.arch not in fit:
        sys.exit(f"error: --arch {known.arch}: choose from {', '.join(fit)}")
    sys.argv[0] = "fairseq-train"
    args = options.parse_args_and_arch(options.get_training_parser())
    try:
        check_tokenizer(getattr(args, "eval_bleu_tokenizer", None))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
