"""Lines of text as they come in and go out: whatever bytes they are, a line out is one line for every program."""

import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator

MOST_CHARACTERS = 2**20
"""Of a line: a longer one is left out without a look at its pieces."""
MOST_BYTES = 4 * (MOST_CHARACTERS + 1)
"""Of a line that are kept: more are surely too long."""
TOGETHER = 1000, 2**17
"""Lines, and bytes of them, that are translated together at most."""
WAITING = 2**24
"""Bytes of lines that are read ahead."""
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
"""Spaces and control characters, category Cc."""
_SURROGATES = re.compile(r"[\ud800-\udfff]")
"""Halves of characters, which a string of Python's can hold and UTF-8 cannot."""
_ENDS = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""What ends a line for one program or another."""


def clean(text: str) -> str:
    """Spaces and control characters as the recipes' training text has them: one space between words, none around."""
    return _SURROGATES.sub("\ufffd", _BLANKS.sub(" ", text).strip(" "))


def is_blank(text: str) -> bool:
    """Whether `clean` would leave nothing."""
    return not text or _BLANKS.fullmatch(text) is not None


def as_one(text: str) -> str:
    """A translation without what might end its line: pieces of a dictionary can hold it."""
    return _ENDS.sub(" ", text)


def escape_ends(text: str) -> str:
    """The same of JSON, which says the same."""
    return _ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", text)


class Waiting:
    """Lines between the thread that reads them and the one that takes them: at most so many bytes, or one line."""

    def __init__(self, most: int):
        self.most, self.size, self.lines, self.ended = most, 0, deque(), False
        self.changed = threading.Condition()

    def put(self, line: bytes) -> None:
        with self.changed:
            self.changed.wait_for(lambda: not self.lines or self.size + len(line) <= self.most)
            self.lines.append(line)
            self.size += len(line)
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def take(self, most_lines: int, most_bytes: int) -> list[bytes]:
        """Those that are there, the next one at least; none at the end."""
        taken, size = [], 0
        with self.changed:
            self.changed.wait_for(lambda: self.lines or self.ended)
            while self.lines and len(taken) < most_lines and (not taken or size + len(self.lines[0]) <= most_bytes):
                taken.append(self.lines.popleft())
                size += len(taken[-1])
            self.size -= size
            self.changed.notify_all()
        return taken


def bounded_lines(stream) -> Iterator[bytes]:
    """Lines of bytes; of one that is far too long the beginning."""
    while line := stream.readline(MOST_BYTES):
        yield line
        while len(line) == MOST_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MOST_BYTES)


def lines_at_hand(lines: Iterable[bytes]) -> Iterator[list[str]]:
    """Yields all lines that have come meanwhile, so that a file is read in large batches and nobody waits for the next.

    Args: lines, read by a thread of their own.
    """
    waiting, failed = Waiting(WAITING), []

    def read() -> None:
        try:
            for line in lines:
                waiting.put(line)
        except Exception as error:
            failed.append(error)
        waiting.end()

    threading.Thread(target=read, daemon=True).start()
    encoding = "utf-8-sig"
    while taken := waiting.take(*TOGETHER):
        texts = []
        for line in taken:
            texts.append(line.decode(encoding, errors="replace").rstrip("\r\n"))
            encoding = "utf-8"
        yield texts
    if failed:
        raise failed[0]
