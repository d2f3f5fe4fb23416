"""What of fairseq this package replaces, in one table: the fault, the versions that have it, and the test that shows it.

A replacement takes the place of a function of fairseq for the whole process, once, when the package is imported.
`install()` goes through `PATCHES`; a patch whose `name` a later fairseq no longer has is an error of this table, not of
the user, so that a test compares the two.
"""

import functools
import importlib
import os
from collections.abc import Callable
from typing import NamedTuple

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from omegaconf import OmegaConf

from .checkpoints import explain_errors
from .memory import bound_caches, bound_heap


class Patch(NamedTuple):
    """One replacement.

    Attributes:
        name: what is replaced, with its module: `fairseq.checkpoint_utils.load_checkpoint_to_cpu`.
        replace: makes the replacement of the former function.
        fault: what fairseq does wrong.
        since: the versions that do it.
        test: the file and test that fails without the replacement.
    """

    name: str
    replace: Callable
    fault: str
    since: str
    test: str


def copy_in_one_step(copy):
    """Wraps `copy(src_path, dst_path, ...)` so that a killed training leaves the old checkpoint or the new one."""

    @functools.wraps(copy)
    def copy_then_rename(src_path, dst_path, *args, **kwargs):
        if PathManager.path_requires_pathmanager(dst_path):
            return copy(src_path, dst_path, *args, **kwargs)
        done = copy(src_path, f"{dst_path}.tmp", *args, **kwargs)
        os.replace(f"{dst_path}.tmp", dst_path)
        return done

    return copy_then_rename


def broadcast_plainly(broadcast):
    """Wraps fairseq's `broadcast_object(obj, ...)`, by which a resumed training reaches its other processes.

    They read what they are sent as carefully as a file; the settings, an omegaconf object, go as a plain dictionary.
    """

    @functools.wraps(broadcast)
    def broadcast_plain(obj, *args, **kwargs):
        if isinstance(obj, dict) and OmegaConf.is_config(obj.get("cfg")):
            obj = dict(obj, cfg=OmegaConf.to_container(obj["cfg"], resolve=True, enum_to_str=True))
        with torch.serialization.safe_globals([distributed_utils._TensorPlaceholder]):
            return broadcast(obj, *args, **kwargs)

    return broadcast_plain


def bound_memory(init):
    """Wraps `Trainer.__init__`, with which every training starts and nothing else does."""

    @functools.wraps(init)
    def bound_then_init(self, *args, **kwargs):
        bound_caches()
        bound_heap()
        init(self, *args, **kwargs)

    return bound_then_init


ALL = "all that import on Python 3.11 (0.12.3)"

PATCHES = [
    Patch(
        "fairseq.checkpoint_utils.load_checkpoint_to_cpu",
        explain_errors,
        "errors of a broken or hostile file do not name it",
        ALL,
        "tests/test_checkpoints.py::test_broken_files_are_named",
    ),
    Patch(
        "fairseq.distributed.utils.broadcast_object",
        broadcast_plainly,
        "what a resumed training sends its other processes is refused by torch.load",
        ALL,
        "tests/cli/test_distributed.py::test_two_processes_resume_as_one_does",
    ),
    Patch(
        "fairseq.file_io.PathManager.copy",
        copy_in_one_step,
        "a training killed while it copies a checkpoint leaves half of one",
        ALL,
        "tests/cli/test_interrupted.py::test_a_checkpoint_is_replaced_in_one_step",
    ),
    Patch(
        "fairseq.trainer.Trainer.__init__",
        bound_memory,
        "a training on a CPU keeps a compiled kernel for every shape of a product, 1 GB of them",
        ALL,
        "tests/test_memory.py::test_a_training_of_many_shapes_stays_small",
    ),
]


def owner_of(name: str):
    """The module or class that holds what a dotted name names, and the last part of the name."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1]
    raise ModuleNotFoundError(name)


def install() -> None:
    """Puts every replacement in its place, once."""
    for patch in PATCHES:
        owner, attribute = owner_of(patch.name)
        former = getattr(owner, attribute)
        if getattr(former, "replaced_by_s2s_plugin", False):
            continue
        replacement = patch.replace(former)
        replacement.replaced_by_s2s_plugin = True
        is_static = isinstance(owner, type) and isinstance(vars(owner).get(attribute), staticmethod)
        setattr(owner, attribute, staticmethod(replacement) if is_static else replacement)
