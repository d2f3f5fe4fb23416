"""fairseq is imported without a trace in its caller: in the log, the warnings, the environment and the start method.

With fairseq come audio tasks, and with them scikit-learn, scipy and sacreBLEU. Between them they give the root logger a
handler and the level DEBUG, choose how processes start, add filters of warnings and set environment variables. A
program that calls `Translator` has made, or will make, these choices itself.
"""

import logging
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

ADVICE = "fairseq.tasks.text_to_speech"
"""The logger by which fairseq recommends tensorboardX to everybody."""


@contextmanager
def nothing_changed() -> Iterator[None]:
    """Context for imports, after which the settings of the process are those of before."""
    environment, start_method = dict(os.environ), multiprocessing.get_start_method(allow_none=True)
    folder = tempfile.tempdir
    with warnings.catch_warnings(), logging_unchanged():
        try:
            yield
        finally:
            multiprocessing.set_start_method(start_method, force=True)
            tempfile.tempdir = folder
            # On macOS, scikit-learn's variables keep two OpenMP libraries from ending the process.
            if sys.platform != "darwin" and os.environ != environment:
                restore_environment(environment)


@contextmanager
def logging_unchanged() -> Iterator[None]:
    """The same for every logger there is. Meanwhile `logging.basicConfig` does nothing."""
    root = logging.getLogger()
    loggers = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    if ADVICE not in root.manager.loggerDict:
        loggers.append(logging.getLogger(ADVICE))
    former = [(one, one.level, list(one.handlers), one.propagate, one.disabled) for one in (root, *loggers)]
    if not root.handlers:  # what basicConfig looks at; warnings are shown as without a handler
        root.addHandler(logging.lastResort or logging.NullHandler())
    logging.getLogger(ADVICE).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for one, level, handlers, propagate, disabled in former:
            one.setLevel(level)
            one.handlers[:], one.propagate, one.disabled = handlers, propagate, disabled


def restore_environment(former: dict[str, str]) -> None:
    for name in os.environ.keys() - former.keys():
        del os.environ[name]
    os.environ.update(former)
