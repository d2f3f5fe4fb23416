"""What a program may have set for its whole process: `state()` before and after what should change none of it."""

import gc
import hashlib
import locale
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import warnings


def digest(thing) -> str:
    return hashlib.sha256(repr(thing).encode()).hexdigest()


def logging_state() -> dict:
    root = logging.getLogger()
    found = {"": root, **root.manager.loggerDict}
    loggers = {name: one for name, one in found.items() if isinstance(one, logging.Logger)}
    return {
        **{
            f"logger {name}": (one.level, list(one.handlers), list(one.filters), one.propagate, one.disabled)
            for name, one in loggers.items()
        },
        "logging": (root.manager.disable, logging.getLoggerClass(), logging.lastResort, logging.raiseExceptions),
        "log records": logging.getLogRecordFactory(),
    }


def python_state() -> dict:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "warnings": (list(warnings.filters), warnings.showwarning, warnings.formatwarning),
        "random": digest(random.getstate()),
        "environment": dict(os.environ),
        "folders": (os.getcwd(), umask, tempfile.tempdir),
        "path": (list(sys.path), list(sys.meta_path), list(sys.path_hooks), list(sys.argv)),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook, sys.gettrace()),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval()),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "locale": locale.setlocale(locale.LC_ALL),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "threads": [thread.name for thread in threading.enumerate()],
        "gc": (gc.isenabled(), gc.get_threshold(), gc.get_debug(), list(gc.callbacks)),
    }


def torch_state() -> dict:
    """Empty before torch is there."""
    if "torch" not in sys.modules:
        return {}
    import numpy
    import torch

    backends = torch.backends
    return {
        "numpy": (digest([*map(repr, numpy.random.get_state())]), numpy.geterr(), repr(numpy.get_printoptions())),
        "seed": (torch.initial_seed(), digest(torch.get_rng_state().tolist())),
        "dtype": (torch.get_default_dtype(), torch.get_default_device()),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "deterministic": torch.get_deterministic_debug_mode(),
        "precision": torch.get_float32_matmul_precision(),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "mkldnn": (torch._C._get_mkldnn_enabled(), backends.mkldnn.deterministic, backends.mkldnn.allow_tf32),
        "cudnn": (backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic),
        "cuda": (torch.cuda.is_initialized(), backends.cuda.matmul.allow_tf32),
        "printing": repr(torch._tensor_str.PRINT_OPTS),
        "sharing": torch.multiprocessing.get_sharing_strategy(),
    }


def state() -> dict:
    return {**logging_state(), **python_state(), **torch_state()}


def check(before: dict, step: str) -> None:
    """Ends the program with what has changed, if anything has; what is new is no change."""
    after = state()
    changed = [name for name in before if before[name] != after.get(name)]
    if changed:
        sys.exit("\n".join(f"{step}: {name}: {before.get(name)} -> {after.get(name)}" for name in changed))
