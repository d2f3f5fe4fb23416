"""Trains the recipe's model as fairseq-train does and says what memory the process holds on the way. Linux.

usage: python scripts/training_memory.py [--data DATA] [--every UPDATES] [-- further arguments of fairseq-train]

Give a folder of fairseq-preprocess, such as work/en_zh/data-bin of `bash scripts/en_zh/run.sh`; or nothing, for the
English-Chinese corpus in examples/ in a joint vocabulary of 8,000 pieces. "peak" is the largest resident set so far,
the libraries' code included. ONEDNN_PRIMITIVE_CACHE_CAPACITY=1024 LRU_CACHE_CAPACITY=1024 before the command measures
without the bounds of s2s_plugin/memory.py.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = (
    "--cpu --num-workers 0 --task attn_translation --arch attn_rnn_s2s --dropout 0.4 "
    "--encoder-embed-dim 256 --encoder-hidden-size 256 --encoder-bidirectional --attn-dim 256 "
    "--decoder-embed-dim 256 --decoder-hidden-size 512 --decoder-out-embed-dim 256 --share-decoder-input-output-embed "
    "--criterion attn_label_smoothed_cross_entropy --label-smoothing 0.1 --optimizer adam --clip-norm 1.0 "
    "--lr 4e-3 --lr-scheduler fixed --warmup-updates 400 --max-tokens 1000 --max-epoch 1 --log-format none "
    "--disable-validation --no-save"
)


def process_mib(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith(field)).split()[1]) / 2**10


def say(when: str) -> None:
    print(f"{when:22} now {process_mib('VmRSS'):5,.0f} MiB  peak {process_mib('VmHWM'):5,.0f} MiB", flush=True)


def prepared_corpus() -> str:
    """The folder of the corpus in examples/, prepared by a process of its own: this one shall not hold its memory."""
    code = "import sys; from pathlib import Path; from benchmark_data import find_data; "
    code += "print(find_data([], Path(sys.argv[1])))"
    words = [sys.executable, "-c", code, str(ROOT / "work" / "benchmark")]
    done = subprocess.run(words, cwd=ROOT / "scripts", check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


def report_updates(trainer_class: type, every: int) -> None:
    """Has the trainer say its memory before the first update and after each `every`."""
    train_step = trainer_class.train_step

    def train_and_say(self, *args, **kwargs):
        if self.get_num_updates() == 0:
            say("before the first update")
        done = train_step(self, *args, **kwargs)
        if self.get_num_updates() % every == 0:
            say(f"after update {self.get_num_updates()}")
        return done

    trainer_class.train_step = train_and_say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of fairseq-preprocess")
    parser.add_argument("--every", type=int, default=50, help="updates from row to row")
    parser.add_argument("arguments", nargs="*", help="of fairseq-train")
    options = parser.parse_args()
    if options.every < 1:
        parser.error("--every must be at least 1")
    if options.data and not list(options.data.glob("dict.*.txt")):
        parser.error(f"no dict.*.txt in {options.data}: give the --destdir of fairseq-preprocess")
    data = options.data or prepared_corpus()
    say("Python")
    import torch  # noqa: F401

    say("torch")
    from fairseq.trainer import Trainer
    from fairseq_cli import train

    say("fairseq")
    report_updates(Trainer, options.every)
    user_dir = str(ROOT / "s2s_plugin")
    sys.argv = ["fairseq-train", str(data), "--user-dir", user_dir, *RECIPE.split(), *options.arguments]
    train.cli_main()
    say("end")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
