"""Reading fairseq's checkpoints with torch's `weights_only=True`, and saying plainly why one is refused.

fairseq calls `torch.load` without the flag, which since torch 2.6 means `weights_only=True`: a pickle that would call
anything but a short list of constructors is refused. A fairseq checkpoint holds a few harmless classes more; they
are allowed here, nothing else is.
"""

import argparse
import functools
import re
import traceback

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
    """Allows the classes of a fairseq checkpoint, for every `torch.load` of the process."""
    torch.serialization.add_safe_globals(ALLOWED)


def explain_errors(load):
    """Wraps `load(path, ...)` so that an unreadable or untrusted file raises CheckpointError with its path."""

    @functools.wraps(load)
    def load_or_explain(path, *args, **kwargs):
        try:
            return load(path, *args, **kwargs)
        except Exception as error:
            if "torch.serialization" in _modules(error):
                raise CheckpointError(_explain(path, str(error) or type(error).__name__)) from None
            if isinstance(error, KeyError | TypeError) and _modules(error)[-1] == checkpoint_utils.__name__:
                raise CheckpointError(f"{path} is not a checkpoint of fairseq: it lacks {error}") from error
            raise

    return load_or_explain


def _modules(error: Exception) -> list:
    """The modules that an error came through, outermost first.

    torch fails on a broken file with errors of many kinds; where they come from tells them from all others.
    """
    return [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]


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
    reason = message.strip().split(". ")[0]
    return f"{path} is empty, truncated or not a checkpoint" + ("" if "weights_only" in reason else f" ({reason})")
