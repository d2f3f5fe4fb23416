"""Which files are read and which are refused, and what is said of them."""

import argparse
import os

import numpy
import pytest
import torch
from fairseq import checkpoint_utils

from s2s_plugin.checkpoints import CheckpointError, read_checked
from s2s_plugin.fairseq_patches import install

load = checkpoint_utils.load_checkpoint_to_cpu


class Payload:
    """Unpickling it would run a command that leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_what_fairseq_stores_is_read(tmp_path):
    path = tmp_path / "checkpoint.pt"
    stored = {
        "args": argparse.Namespace(arch="lstm", dropout=0.1),
        "model": {"weight": torch.ones(2)},
        "extra_state": {"loss": numpy.float64(1.5), "counts": numpy.array([1, 2]), "bleu": numpy.float32(3.0)},
    }
    torch.save(stored, path)
    state = torch.load(path, weights_only=True)
    assert state["args"].arch == "lstm" and state["extra_state"]["loss"] == 1.5
    assert state["extra_state"]["counts"].tolist() == [1, 2]


def test_anything_that_would_be_called_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "trace"
    torch.save({"model": {}, "extra": Payload(trace)}, path)
    with pytest.raises(CheckpointError, match=r"checkpoint.pt is refused: loading it would call (posix|nt).system"):
        load(str(path))
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"these are no tensors", "truncated"], ids=["empty", "text", "truncated"])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    if content == "truncated":
        torch.save({"model": {"weight": torch.ones(10000)}}, path)
        content = path.read_bytes()[:20000]
    path.write_bytes(content)
    for reader, given in ((load, str(path)), (read_checked, path)):
        with pytest.raises(CheckpointError, match=f"^{path} is empty, truncated or not a checkpoint"):
            reader(given)


def test_installing_twice_wraps_once():
    before = checkpoint_utils.load_checkpoint_to_cpu
    install()
    assert checkpoint_utils.load_checkpoint_to_cpu is before


def test_what_is_no_checkpoint_is_named(tmp_path):
    torch.save({"model": {}, "cfg": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other.pt is not a checkpoint of fairseq: it lacks 'best_loss'"):
        load(str(tmp_path / "other.pt"))
