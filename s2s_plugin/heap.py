"""Freed memory goes back to the system, where the C library would keep it for the thread that had it.

glibc keeps a heap for each thread, as large as what its largest batch took. Calls of a `Translator` from four threads
would so hold four times what they need. Nothing is set: a setting of the allocator would be one for the whole program.
"""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE = 1 / 200
"""Of the time, about, is spent on it: 0.1 ms for a megabyte given back, and four times that to take it again."""


class Heap:
    """Trims the heaps of the process after work: now and then, and when the last of several callers has gone."""

    def __init__(self):
        self._turn, self._callers, self._are_several, self._next = threading.Lock(), 0, False, 0.0
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none

    @contextmanager
    def used(self) -> Iterator[None]:
        """Context of a caller's work."""
        with self._turn:
            self._callers += 1
            self._are_several |= self._callers > 1
        try:
            yield
        finally:
            with self._turn:
                self._callers -= 1
                was_last = self._are_several and not self._callers
                self._are_several &= not was_last
            if self._trim is not None and (was_last or time.monotonic() >= self._next):
                start = time.thread_time()
                self._trim(0)
                self._next = time.monotonic() + (time.thread_time() - start) / SHARE


HEAP = Heap()
