"""Reads the arguments of a fairseq-train command as fairseq does, and stops there: mistakes show before time is spent.

usage: check_train_args.py DATA [ARGUMENT ...]     (those of the fairseq-train command)

With --finetune-from-model FOLDER/model.pt, of a translation recipe's folder, also whether the parameters of that model
have the names and shapes that the arguments ask for.
"""

import argparse
import sys
from pathlib import Path

from fairseq import checkpoint_utils, options, utils
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_MODEL_REGISTRY

# The recipes' sizes are flags that these have, of text and of speech.
FAMILIES = {"speech_to_text": ("attn_rnn_s2t",), "attn_translation": ("attn_rnn_s2s", "lstm")}


def check_finetune(args: argparse.Namespace) -> None:
    """Raises ValueError or CheckpointError unless the arguments' model can have the parameters of the given one."""
    from s2s_plugin.folder import check_folder, read_languages
    from s2s_plugin.tasks.attn_translation import AttnTranslationTask

    path = Path(args.finetune_from_model)
    check_folder(path.parent)
    languages = read_languages(path.with_name("languages"))
    dictionaries = [Dictionary.load(str(path.with_name(f"dict.{lang}.txt"))) for lang in languages]
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    cfg = convert_namespace_to_omegaconf(args)
    task = AttnTranslationTask(cfg.task, *dictionaries)
    task.check_dictionaries(state.get("task_state", {}).get("dictionaries"))
    model = task.build_model(cfg.model)
    try:
        model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    except RuntimeError as error:
        lines = str(error).split("\n")
        first, *others = lines[1:] or lines  # below a heading
        more = f" (and {len(others)} more like that)" if others else ""
        raise ValueError(f"{path} is another model than the options ask for: {first.strip()}{more}") from None


def main() -> None:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--user-dir")
    first.add_argument("--arch")
    first.add_argument("--task", default="attn_translation")
    known, _ = first.parse_known_args()
    utils.import_user_module(known)
    from s2s_plugin.checkpoints import CheckpointError
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
        if args.finetune_from_model and Path(args.finetune_from_model).with_name("languages").is_file():
            check_finetune(args)
    except (CheckpointError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
