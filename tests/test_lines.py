"""`lines`: any bytes in, one line out for each."""

import io
import json
import sys
import threading
import unicodedata

import pytest

from s2s_plugin import lines
from s2s_plugin.lines import Waiting, as_one, bounded_lines, clean, escape_ends, is_blank, lines_at_hand

EVERY_CHARACTER = [chr(number) for number in range(sys.maxunicode + 1)]


def taken(data: bytes) -> list[str]:
    return [line for together in lines_at_hand(bounded_lines(io.BytesIO(data))) for line in together]


def test_clean_knows_every_character():
    text = "".join(f"a{character}{character}b" for character in EVERY_CHARACTER)
    spaced = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    whole = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in spaced)
    assert clean(text) == " ".join(whole.split())
    assert clean(" a\x07b \t c \u3000") == "a b c"
    assert is_blank("") and is_blank(" \x00\u3000\x85") and not is_blank("\n a")


def test_what_is_written_is_one_line_for_every_program():
    text = "".join(set(EVERY_CHARACTER) - {chr(number) for number in range(0xD800, 0xE000)})
    assert len(as_one(text).splitlines()) == 1
    written = escape_ends(json.dumps(text, ensure_ascii=False))
    assert len(written.splitlines()) == 1 and json.loads(written) == text


def test_lines_end_with_newlines_alone():
    assert taken(b"") == [] and taken(b"\n\n") == ["", ""]
    assert taken(b"\xef\xbb\xbfa\r\n\xef\xbb\xbfb\rc\r\r\nlast") == ["a", "\ufeffb\rc", "last"]
    assert taken("a\u2028b\x85c\x0b\x0c\x00\x1e\n".encode()) == ["a\u2028b\x85c\x0b\x0c\x00\x1e"]
    assert taken(b"\xed\xa0\x80\xff\nb") == ["\ufffd" * 4, "b"]


def test_of_a_line_that_is_too_long_only_the_beginning_is_kept(monkeypatch):
    monkeypatch.setattr(lines, "MOST_BYTES", 8)
    assert list(bounded_lines(io.BytesIO(b"1234567\n12345678\n123456789" * 2 + b"\n123456781234567812345678"))) == [
        b"1234567\n", b"12345678", b"12345678", b"12345678", b"12345678", b"12345678"
    ]  # fmt: skip
    # Whatever its characters, it is known to be too long.
    assert len((b"\xf0\x9f\x98\x80" * 2**21)[: 4 * (lines.MOST_CHARACTERS + 1)].decode()) > lines.MOST_CHARACTERS


def test_what_waits_has_a_bound():
    waiting, numbers = Waiting(10), []

    def put() -> None:
        for number in range(6):
            waiting.put(b"1234")
            numbers.append(number)
        waiting.put(b"x" * 100)  # alone
        waiting.end()

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    thread.join(0.3)
    assert numbers == [0, 1] and waiting.size == 8
    found = []
    while together := waiting.take(2, 100):
        assert len(together) <= 2
        found += together
    thread.join(10)
    assert found == [b"1234"] * 6 + [b"x" * 100] and not thread.is_alive()


def test_what_is_taken_together_has_a_bound(monkeypatch):
    monkeypatch.setattr(lines, "TOGETHER", (3, 10))
    arrived = threading.Event()

    def slowly():
        yield from (b"a\n", b"b\n", b"c\n", b"123456789\n", b"d\n", b"e" * 50, b"f\n")
        arrived.set()

    found, together = [], lines_at_hand(slowly())
    first = next(together)
    arrived.wait(10)
    found += [first, *together]
    assert sum(found, []) == ["a", "b", "c", "123456789", "d", "e" * 50, "f"]
    assert all(len(one) <= 3 and (len(one) == 1 or sum(map(len, one)) <= 10) for one in found)


def test_a_reader_that_fails_is_heard():
    def broken():
        yield b"\xef\xbb\xbfa\r\n"
        raise OSError("the disk is gone")

    found = []
    with pytest.raises(OSError, match="the disk is gone"):
        for together in lines_at_hand(broken()):
            found.extend(together)
    assert found == ["a"]
