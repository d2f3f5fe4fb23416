"""Reading fairseq's checkpoints with torch's `weights_only=True`, and saying plainly why one is refused.

fairseq calls `torch.load` without the flag, which since torch 2.6 means `weights_only=True`: a pickle that would call
anything but a short list of constructors is refused. A fairseq checkpoint holds a few harmless classes more; they
are allowed here, nothing else is.
"""

import argparse
import collections
import functools
import re
import traceback
import typing

import numpy
import omegaconf
import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils

try:
    from numpy._core import multiarray
except ImportError:  # numpy 1
    from numpy.core import multiarray

ALLOWED = [
    # The command line, as fairseq stores it for models and tasks that it knows as a Namespace.
    argparse.Namespace,
    # Sums and averages of the log.
    numpy.ndarray,
    numpy.dtype,
    multiarray.scalar,
    multiarray._reconstruct,
    type(numpy.dtype("float64")),
    type(numpy.dtype("float32")),
    type(numpy.dtype("int64")),
]

# What the first process of a resumed training sends to the others besides; no file is read with these.
ALLOWED_BETWEEN_PROCESSES = [
    distributed_utils._TensorPlaceholder,
    omegaconf.DictConfig,
    omegaconf.ListConfig,
    omegaconf.base.ContainerMetadata,
    omegaconf.base.Metadata,
    omegaconf.nodes.AnyNode,
    collections.defaultdict,
    typing.Any,
    dict,
    list,
]


class CheckpointError(RuntimeError):
    """A checkpoint that cannot or must not be read; the message says which and why."""


def install() -> None:
    """Allows the classes of a fairseq checkpoint, and gives fairseq's loader clear errors."""
    torch.serialization.add_safe_globals(ALLOWED)
    if not hasattr(checkpoint_utils.load_checkpoint_to_cpu, "__wrapped__"):
        checkpoint_utils.load_checkpoint_to_cpu = explain_errors(checkpoint_utils.load_checkpoint_to_cpu)
        distributed_utils.broadcast_object = _allow_between_processes(distributed_utils.broadcast_object)


def _allow_between_processes(broadcast):
    """Wraps fairseq's broadcast, by which a resumed training reaches its other processes."""

    @functools.wraps(broadcast)
    def broadcast_allowed(*args, **kwargs):
        with torch.serialization.safe_globals(ALLOWED_BETWEEN_PROCESSES):
            return broadcast(*args, **kwargs)

    return broadcast_allowed


def explain_errors(load):
    """Wraps `load(path, ...)` so that an unreadable or untrusted file raises CheckpointError with its path."""

    @functools.wraps(load)
    def load_or_explain(path, *args, **kwargs):
        try:
            return load(path, *args, **kwargs)
        except Exception as error:
            if not _came_from_torch_load(error):
                raise
            raise CheckpointError(_explain(path, str(error) or type(error).__name__)) from None

    return load_or_explain


def _came_from_torch_load(error: Exception) -> bool:
    """torch fails on a broken file with errors of many kinds; where they come from tells them from all others."""
    return any(
        frame.f_globals.get("__name__") == "torch.serialization" for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _explain(path, message: str) -> str:
    """`message` is torch's: long, and it advises to switch the protection off."""
    called = re.search(r"GLOBAL ([\w.]+)", message)
    if called:
        return (
            f"{path} is refused: loading it would call {called.group(1)}, which no fairseq checkpoint needs. "
            "It may hold code of somebody else; nothing of it was run."
        )
    if "WeightsUnpickler error: Unsupported" in message or "Trying to" in message:
        return f"{path} is refused: it holds more than tensors and settings; nothing of it was run."
    return f"{path} is empty, truncated or not a checkpoint ({message.strip().split('. ')[0]})"
