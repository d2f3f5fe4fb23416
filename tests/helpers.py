"""fairseq's own commands, called from the tests: in this process, which is fast, or as commands of their own."""

import contextlib
import fileinput
import hashlib
import io
import json
import logging
import os
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from fairseq import checkpoint_utils
from fairseq_cli import generate, interactive, preprocess, train, validate

import s2s_plugin
from s2s_plugin.models.presets import PRESETS

USER_DIR = Path(s2s_plugin.__file__).resolve().parent
ROOT = USER_DIR.parent
ARCHS = ["attn_rnn_s2s", *PRESETS]
CRITERION = "attn_label_smoothed_cross_entropy"
SIZES = {
    "--encoder-embed-dim": 16,
    "--encoder-hidden-size": 16,
    "--decoder-embed-dim": 16,
    "--decoder-hidden-size": 24,
    "--attn-dim": 8,
}


class Output(NamedTuple):
    """What a command printed and logged."""

    stdout: str
    log: str

    def stats(self, kind: str) -> list:
        """The numbers that fairseq logged for `train`, `train_inner` or `valid`, one dictionary a line, in order."""
        first = {"train": "train_loss", "valid": "valid_loss", "train_inner": "loss"}[kind]
        found = re.findall(r'\{"(?:epoch|valid_).*\}$', self.log, re.MULTILINE)
        rows = ({name: float(value) for name, value in json.loads(row).items()} for row in found)
        return [row for row in rows if first in row]


class Refused(Exception):
    """A command that ended with an error; the message is what it says of it.

    Attributes:
        log: what it had logged by then.
    """

    def __init__(self, message: str, log: str):
        super().__init__(message)
        self.log = log


class Hypothesis(NamedTuple):
    score: float
    words: tuple


# --- the corpus ---


def write_parallel(prefix: Path, pairs) -> None:
    """Writes (source, target) pairs, each a list of words, to `prefix.src` and `prefix.tgt`."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(("src", "tgt")):
        lines = (" ".join(pair[side]) + "\n" for pair in pairs)
        prefix.with_name(f"{prefix.name}.{language}").write_text("".join(lines), encoding="utf-8")


def random_sentences(rng: random.Random, words, count: int, shortest: int, longest: int) -> list:
    """Different sentences, each a tuple of words."""
    sentences = {}
    while len(sentences) < count:
        sentences[tuple(rng.choices(words, k=rng.randint(shortest, longest)))] = None
    return list(sentences)


def run_preprocess(text: Path, data: Path, *args) -> Path:
    """fairseq-preprocess of `text`/{train,valid,test}.{src,tgt} into the folder `data`, which it returns."""
    run(
        preprocess, "--source-lang", "src", "--target-lang", "tgt", "--destdir", data, "--workers", 1,
        "--trainpref", text / "train", "--validpref", text / "valid", "--testpref", text / "test", *args,
    )  # fmt: skip
    return data


# --- the commands ---


def train_args(data, save_dir, *args, **options) -> list:
    """The arguments of a small fairseq-train. Later ones win, so that `args` can change anything; `options` likewise,
    with underscores for dashes."""
    defaults = {
        "--user-dir": USER_DIR,
        "--save-dir": save_dir,
        "--task": "attn_translation",
        "--arch": "attn_rnn_s2s",
        "--criterion": CRITERION,
        "--label-smoothing": 0.1,
        "--optimizer": "adam",
        "--lr": 0.005,
        "--clip-norm": 1.0,
        "--batch-size": 16,
        "--required-batch-size-multiple": 1,
        "--max-update": 10,
        "--num-workers": 0,
        "--log-format": "json",
        "--log-interval": 1000,
        "--distributed-world-size": 1,
        **SIZES,
    }
    defaults |= {"--" + name.replace("_", "-"): value for name, value in options.items()}
    if defaults["--criterion"] == "adaptive_loss":
        del defaults["--label-smoothing"]
    without_attention = "--decoder-attention" in args and args[args.index("--decoder-attention") + 1] in ("0", "False")
    if defaults["--arch"].startswith("lstm") or without_attention:
        del defaults["--attn-dim"]
    if defaults["--arch"] == "attn_rnn_s2t":
        del defaults["--encoder-embed-dim"]
    words = [word for pair in defaults.items() for word in pair]
    return [str(word) for word in (data, "--cpu", "--no-epoch-checkpoints", *words, *args)]


def run_train(data, save_dir, *args, **options) -> Output:
    """fairseq-train in this process; see `train_args`."""
    return run(train, *train_args(data, save_dir, *args, **options))


def run_validate(data, checkpoint, *args) -> Output:
    return run(
        validate, data, "--user-dir", USER_DIR, "--cpu", "--task", "attn_translation", "--path", checkpoint,
        "--batch-size", 16, "--required-batch-size-multiple", 1, "--num-workers", 0, "--log-format", "json", *args,
    )  # fmt: skip


def generate_args(data, checkpoint, *args, task="attn_translation", batch_size=16) -> list:
    words = (
        data, "--user-dir", USER_DIR, "--cpu", "--task", task, "--path", checkpoint, "--batch-size", batch_size,
        "--required-batch-size-multiple", 1, "--num-workers", 0, "--beam", 1, *args,
    )  # fmt: skip
    return [str(word) for word in words]


def run_generate(data, checkpoint, *args, **options) -> Output:
    """fairseq-generate in this process; greedy where `args` does not say otherwise."""
    return run(generate, *generate_args(data, checkpoint, *args, **options))


def run_interactive(data, checkpoint, text: Path, *args, task="attn_translation") -> Output:
    """fairseq-interactive in this process on the lines of the file `text`."""
    return run(
        interactive, data, "--user-dir", USER_DIR, "--cpu", "--task", task, "--path", checkpoint,
        "--beam", 2, "--input", text, *args,
    )  # fmt: skip


def run(module, *args) -> Output:
    """Calls `module.cli_main()` with the arguments, as the command of that name does.

    Raises:
        Refused: the command failed, by an exception or by leaving with an exit code.
    """
    _forget_former_run()
    stdout, stderr, log = io.StringIO(), io.StringIO(), io.StringIO()
    argv = [f"fairseq-{module.__name__.rsplit('.', 1)[-1]}", *map(str, args)]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        _logging_to(log),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            module.cli_main()
        except (Exception, SystemExit) as error:
            raise Refused("\n".join([stderr.getvalue(), *_messages(error)]), log.getvalue()) from error
    return Output(stdout.getvalue(), log.getvalue())


def _forget_former_run() -> None:
    """fairseq keeps the best score of a training on its functions."""
    for function in (checkpoint_utils.save_checkpoint, train.should_stop_early):
        for name in ("best", "num_runs"):
            vars(function).pop(name, None)
    fileinput.close()


@contextlib.contextmanager
def _logging_to(stream):
    """Adds a handler; fairseq-validate would take the others away and send its log to the standard output."""
    root = logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        with mock.patch.object(validate, "reset_logging"):
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _messages(error) -> list:
    """What the traceback of the error would say, without the frames; argparse has said it before it exits."""
    if isinstance(error, SystemExit):
        return []
    messages = []
    while error is not None:
        messages.insert(0, f"{type(error).__name__}: {error}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return messages


def command(name: str, *args) -> list:
    """The console script `name` that was installed beside this Python, or its module where there is none."""
    script = Path(sys.executable).parent / name
    start = [script] if script.exists() else [sys.executable, "-m", "fairseq_cli." + name.removeprefix("fairseq-")]
    return [str(word) for word in (*start, *args)]


def environment(**changes) -> dict:
    """For commands of their own: one thread each, and UTF-8 whatever the locale."""
    return dict(os.environ, OMP_NUM_THREADS="1", PYTHONIOENCODING="utf-8", PYTHONUNBUFFERED="1", **changes)


def run_command(words, *, cwd=ROOT, stdin="", timeout=180) -> subprocess.CompletedProcess:
    """Runs a command of its own to its end; what it printed is decoded."""
    return subprocess.run(
        words, cwd=cwd, env=environment(), input=stdin, encoding="utf-8", capture_output=True, timeout=timeout
    )


# --- what came of it ---


def lines(output, mark: str) -> dict:
    """The fields of the lines `<mark>-<number>` of fairseq-generate or fairseq-interactive, by number."""
    found = {}
    for line in output.stdout.split("\n"):
        match = re.match(rf"{mark}-(\d+)\t(.*)", line, re.DOTALL)
        if match:
            found.setdefault(int(match.group(1)), []).append(match.group(2).split("\t"))
    return found


def hypotheses(output) -> dict:
    """By the sentence's number, its hypotheses in the order in which they were printed."""
    return {
        number: [Hypothesis(float(score), tuple(text.split())) for score, text in found]
        for number, found in lines(output, "H").items()
    }


def read_checkpoint(path) -> dict:
    return torch.load(path, weights_only=True, map_location="cpu")


def model_options(path) -> dict:
    """The model's options as the checkpoint holds them: a dictionary, or for a preset a Namespace."""
    model = read_checkpoint(path)["cfg"]["model"]
    return model if isinstance(model, dict) else vars(model)


def parameters(path) -> dict:
    return read_checkpoint(path)["model"]


def assert_same_parameters(path, other, **tolerance) -> None:
    """Equal bit for bit, or within the `atol` and `rtol` that are given."""
    tolerance = tolerance or {"atol": 0.0, "rtol": 0.0}
    torch.testing.assert_close(dict(parameters(path)), dict(parameters(other)), **tolerance)


def digests(folder: Path) -> dict:
    """The hash of every file of the folder, by its name; {} where there is none. What fairseq dumps when a training
    fails, crash.pt, is left out."""
    paths = [path for path in sorted(Path(folder).glob("*")) if path.name != "crash.pt"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
