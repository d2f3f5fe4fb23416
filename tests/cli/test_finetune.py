"""What the recipes' check of arguments says of a model to be trained on, before any text is read."""

import shutil
import subprocess
import sys

import pytest

from tests.helpers import ROOT, train_args

from .test_translator import folder  # noqa: F401

SIZES = dict(encoder_hidden_size=32, decoder_hidden_size=48, attn_dim=32)


def check(folder, *args, **options) -> subprocess.CompletedProcess:  # noqa: F811
    words = train_args("data-bin", "checkpoints", "--encoder-bidirectional", *args, **options)
    words += ["--finetune-from-model", str(folder / "model.pt")]
    return subprocess.run(
        [sys.executable, "scripts/check_train_args.py", *words],
        cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip


def test_the_same_sizes_pass(folder):  # noqa: F811
    done = check(folder, "--prune-target", "0.8", "--prune-end", "10", **SIZES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "args, sizes, message",
    [
        ([], {"attn_dim": 16}, r"model.pt is another model than the options ask for: size mismatch for "),
        (["--decoder-readout", "maxout"], {}, "is another model than the options ask for"),
        (["--prune-target", "0.8", "--prune-end", "10", "--prune-except", "norms"], {}, "--prune-except norms: stands"),
    ],
)
def test_others_are_refused(args, sizes, message, folder):  # noqa: F811
    done = check(folder, *args, **{**SIZES, **sizes})
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("model.pt", "text", "model.pt is empty, truncated or not a checkpoint"),
        ("dict.src.txt", None, "the source dictionary is not the one"),
    ],
)
def test_a_spoiled_folder_is_refused(name, content, message, folder, tmp_path):  # noqa: F811
    own = tmp_path / "model"
    shutil.copytree(folder, own)
    if content is None:
        content = "\n".join(reversed((own / name).read_text().splitlines())) + "\n"
    (own / name).write_text(content)
    done = check(own, **SIZES)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
