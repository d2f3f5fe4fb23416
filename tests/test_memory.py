"""What a training holds of the machine's memory."""

import ctypes
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from s2s_plugin.memory import CAPACITY, VARIABLES, bound_caches
from s2s_plugin.ops.products import cpu_has_bfloat16, has_onednn, uses_onednn
from tests.helpers import ROOT, environment, run_preprocess, write_parallel

SCRIPT = ROOT / "scripts" / "training_memory.py"
measured = pytest.mark.skipif(
    not Path("/proc/self/status").exists() or not has_onednn(),
    reason="the memory is read from /proc; and without oneDNN there are no caches",
)
STARTED = """
import contextlib, os, sys
before = dict(os.environ)
import s2s_plugin
from fairseq.tasks import fairseq_task
assert dict(os.environ) == before
for from_checkpoint in (True, False):
    with contextlib.suppress(Exception):
        getattr(fairseq_task, sys.argv[1])(None).build_model(None, from_checkpoint)
    assert (dict(os.environ) == before) == from_checkpoint
import torch
from fairseq.optim.adam import Adam
weight = torch.nn.Parameter(torch.ones(2))
adam = Adam([weight])
weight.grad = torch.ones(2)
adam.step(), adam.zero_grad(), adam.load_state_dict(adam.state_dict())
assert weight.max() < 1 and "torch._dynamo" not in sys.modules
print({name: value for name, value in os.environ.items() if before.get(name) != value})
"""


LARGE_BLOCKS = """
import contextlib, ctypes, sys
class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks".split()]
    _fields_ += [(name, ctypes.c_size_t) for name in "uordblks fordblks keepcost".split()]
mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo2
import s2s_plugin, torch
from fairseq.tasks.fairseq_task import FairseqTask
def taken(mib):
    before = mallinfo().hblkhd
    block = torch.empty(mib * 2**20, dtype=torch.uint8)
    return (mallinfo().hblkhd - before) >> 20
with contextlib.suppress(Exception):
    FairseqTask(None).build_model(None, sys.argv[1] == "search")
print(taken(24), taken(24), taken(24))
"""


def outside(**changes) -> dict:
    """A user's environment, without what a training in the tests' own process has left in this one."""
    names = {name for cache in VARIABLES for name in cache} | {"MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}
    return {name: value for name, value in environment().items() if name not in names} | changes


def peaks_of(*args, **changes) -> dict:
    """What scripts/training_memory.py says: by its rows, the peak so far in MiB."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, args)], env=outside(**changes), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = (row.split() for row in done.stdout.splitlines() if " peak " in row)
    return {" ".join(row[:-6]): float(row[-2].replace(",", "")) for row in rows}


@pytest.mark.parametrize("task", ["FairseqTask", "LegacyFairseqTask"])
def test_a_training_bounds_the_caches_and_neither_an_import_nor_a_search_does(task):
    words = [sys.executable, "-c", STARTED, task]
    done = subprocess.run(words, env=outside(), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    bounded = {names[0]: str(CAPACITY) for names in VARIABLES}
    assert done.stdout.splitlines()[-1] == str(bounded)


def test_what_the_user_has_set_stays(monkeypatch):
    for name in (name for cache in VARIABLES for name in cache):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DNNL_PRIMITIVE_CACHE_CAPACITY", "7")
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "9")
    bound_caches()
    assert "ONEDNN_PRIMITIVE_CACHE_CAPACITY" not in os.environ
    assert os.environ["LRU_CACHE_CAPACITY"] == "9"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="malloc is not glibc's, or older than 2.33")
def test_a_training_keeps_large_blocks_out_of_the_heap():
    """How many MiB of three blocks of 24 the system gives; before a training, malloc keeps the first one's."""

    def blocks(state: str, **changes) -> str:
        words = [sys.executable, "-c", LARGE_BLOCKS, state]
        done = subprocess.run(words, env=outside(**changes), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert blocks("search") == "24 0 0"
    assert blocks("training") == "24 24 24"
    assert blocks("training", MALLOC_MMAP_THRESHOLD_=str(2**30)) == "0 0 0"


@measured
def test_a_training_of_many_shapes_stays_small(tmp_path):
    """Small batches of 40 shapes: their kernels are nearly all that the process grows by."""
    # bfloat16 where it can be: its model compares products when it is built.
    dtype = torch.bfloat16 if cpu_has_bfloat16() else torch.float32
    if not uses_onednn(torch.zeros(2, 2, dtype=dtype)):
        pytest.skip(f"{dtype} is not multiplied by oneDNN here, which alone keeps kernels")
    words = [f"w{number}" for number in range(40)]
    rng = random.Random(1)
    pairs = [[rng.choices(words, k=length) for _ in "st"] for length in range(2, 42)]
    for split in ("train", "valid", "test"):
        write_parallel(tmp_path / "text" / split, pairs if split == "train" else pairs[:1])
    data = run_preprocess(tmp_path / "text", tmp_path / "data")
    sizes = "--encoder-embed-dim 64 --encoder-hidden-size 64 --decoder-embed-dim 64 --decoder-hidden-size 128"
    sizes += " --decoder-out-embed-dim 64 --batch-size 1 --required-batch-size-multiple 1"
    sizes += f" --compute-dtype {str(dtype).removeprefix('torch.')}"
    args = ["--data", data, "--", *sizes.split()]

    def growth(**changes) -> float:
        peaks = peaks_of(*args, **changes)
        return peaks["end"] - peaks["before the first update"]

    unbounded = growth(ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024", LRU_CACHE_CAPACITY="1024")
    bounded = growth()
    print(f"growth: {bounded:.0f} MiB, unbounded {unbounded:.0f} MiB")
    assert bounded < 0.5 * unbounded


@measured
@pytest.mark.long
@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_the_recipes_model_trains_in_900_mib(arithmetic):
    peaks = peaks_of("--", "--compute-dtype", arithmetic)
    print(peaks)
    assert peaks["end"] < 900
