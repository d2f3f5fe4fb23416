"""Freed memory goes back to the system, where the C library would keep it for the thread that had it.

glibc keeps a heap for each thread, as large as what its largest batch took. Calls of a `Translator` from four threads
would so hold four times what they need. Nothing is set: a setting of the allocator would be one for the whole program.
"""

import ctypes
import threading
import time

SHARE = 1 / 30
"""Of the time, at most, is spent on it."""


class Heap:
    """Trims the heaps of the process now and then."""

    def __init__(self):
        self._turn, self._next = threading.Lock(), 0.0
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none

    def trim(self) -> None:
        """To be called after work; does nothing where it was done, at its cost, a short time before."""
        if self._trim is None or time.monotonic() < self._next or not self._turn.acquire(blocking=False):
            return
        try:
            start = time.monotonic()
            self._trim(0)
            end = time.monotonic()
            self._next = end + (end - start) / SHARE
        finally:
            self._turn.release()


HEAP = Heap()
