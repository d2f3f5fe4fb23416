"""Feeds the lines of the standard input to fairseq-interactive and prints a translation for each.

translate.sh calls it. A line in gives a line out, an empty one for an empty one.
"""

import argparse
import os
import queue
import subprocess
import sys
import tempfile
import threading
import unicodedata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from show_progress import last_error  # noqa: E402


def clean(text: str) -> str:
    """The text as the training text was cleaned, and without control characters."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def command(args, src_lang: str, tgt_lang: str, buffer_size: int) -> list[str]:
    folder = str(args.model)
    use_cpu = args.device == "cpu"
    if not use_cpu:
        import torch

        use_cpu = not torch.cuda.is_available()
        if use_cpu and args.device == "gpu":
            sys.exit("error: --device gpu: PyTorch sees no GPU here")
    return [
        *("fairseq-interactive", folder, "--path", f"{folder}/model.pt", "--task", "attn_translation"),
        *("--user-dir", str(Path(__file__).parents[2] / "s2s_plugin")),
        *("--source-lang", src_lang, "--target-lang", tgt_lang),
        *("--bpe", "sentencepiece", "--sentencepiece-model", f"{folder}/{src_lang}.model"),
        *("--beam", str(args.beam), "--lenpen", str(args.lenpen), "--max-len-a", "2", "--max-len-b", "10"),
        *("--buffer-size", str(buffer_size), "--batch-size", str(buffer_size)),
        *("--skip-invalid-size-inputs-valid-test", *(["--cpu"] if use_cpu else [])),
    ]


def feed(lines, into, order: queue.Queue) -> None:
    """Hands the lines that are not blank on; tells in `order` what each line of the input became."""
    number = 0
    try:
        for raw in lines:
            text = clean(raw.decode("utf-8", errors="replace"))
            order.put(number if text else None)
            if text:
                number += 1
                into.write(text + "\n")
                into.flush()
        into.close()
    except BrokenPipeError:
        pass  # its error message says more
    order.put("end")


def translations(output):
    """Yields (number of the sentence, best translation) from what fairseq-interactive prints."""
    last = -1
    for line in output:
        if line.startswith("D-"):
            name, _, text = line.rstrip("\n").split("\t", 2)
            if int(name[2:]) != last:
                last = int(name[2:])
                yield last, text


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--lenpen", type=float, default=1.4)
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="cpu")
    args = parser.parse_args()
    languages = dict(line.split("=") for line in (args.model / "languages").read_text().split())
    typed = sys.stdin.isatty()
    if typed:
        print("Type a sentence and press Enter; Ctrl-D ends.", file=sys.stderr)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(
            command(args, languages["src_lang"], languages["tgt_lang"], 1 if typed else 32),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            env=dict(os.environ, PYTHONUNBUFFERED="1", PYTHONUTF8="1"),
        )
        order = queue.Queue()
        threading.Thread(target=feed, args=(sys.stdin.buffer, child.stdin, order), daemon=True).start()
        found = translations(child.stdout)
        pending = None  # a translation of a later line than the one that is due
        while (due := order.get()) != "end":
            if due is not None and pending is None:
                pending = next(found, None)
            if due is not None and pending is not None and pending[0] == due:
                print(pending[1], flush=True)
                pending = None
            elif due is not None and pending is None and child.wait() != 0:
                break
            else:
                print(flush=True)
        status = child.wait()
        if status:
            log.seek(0)
            print("error: fairseq-interactive failed:", *last_error(log), sep="\n  ", file=sys.stderr)
        return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
