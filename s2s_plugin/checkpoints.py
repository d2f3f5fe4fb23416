"""Reading fairseq's checkpoints with torch's `weights_only=True`, and saying plainly why one is refused.

fairseq calls `torch.load` without the flag, which since torch 2.6 means `weights_only=True`: a pickle that would call
anything but a short list of constructors is refused. A fairseq checkpoint holds a few harmless classes more; they
are allowed here, nothing else is.
"""

import argparse
import functools
import pickle

import numpy
import torch
from fairseq import checkpoint_utils

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


class CheckpointError(RuntimeError):
    """A checkpoint that cannot or must not be read; the message says which and why."""


def install() -> None:
    """Allows the classes of a fairseq checkpoint, and gives fairseq's loader clear errors."""
    torch.serialization.add_safe_globals(ALLOWED)
    if not hasattr(checkpoint_utils.load_checkpoint_to_cpu, "__wrapped__"):
        checkpoint_utils.load_checkpoint_to_cpu = explain_errors(checkpoint_utils.load_checkpoint_to_cpu)


def explain_errors(load):
    """Wraps `load(path, ...)` so that an unreadable or untrusted file raises CheckpointError with its path."""

    @functools.wraps(load)
    def load_or_explain(path, *args, **kwargs):
        try:
            return load(path, *args, **kwargs)
        except pickle.UnpicklingError as error:
            raise CheckpointError(_explain_unpickling(path, error)) from None
        except (EOFError, RuntimeError) as error:
            # torch's readers of the zip archive and of its tensors fail so on a file that was cut short.
            raise CheckpointError(f"{path} is empty, truncated or not a checkpoint: {_first_line(error)}") from error

    return load_or_explain


def _explain_unpickling(path, error: Exception) -> str:
    text = str(error)
    marker = "Unsupported global: GLOBAL "
    if marker in text:
        name = text.split(marker, 1)[1].split(" ", 1)[0]
        return (
            f"{path} is refused: loading it would call {name}, which no fairseq checkpoint needs. "
            "It may hold code of somebody else; nothing of it was run."
        )
    if "Unsupported operand" in text or "Unsupported class" in text or "Trying to" in text:
        return f"{path} is refused: it holds more than tensors and settings. Nothing of it was run. {_first_line(error)}"
    return f"{path} is empty, truncated or not a checkpoint: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
