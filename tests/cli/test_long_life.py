"""A long life: memory after many calls, and lines of any bytes through the commands. The long ones are run by hand."""

import io
import json
import random
import resource
import subprocess
import sys

import pytest

from s2s_plugin.lines import MOST_CHARACTERS
from tests.helpers import ROOT, environment, run_command

from .test_translator import folder, translator  # noqa: F401

ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def run_calls(folder, calls: int, first: int) -> list[dict]:  # noqa: F811
    words = [sys.executable, "-m", "tests.cli.long_life", str(folder), str(calls), str(first)]
    done = run_command(words, timeout=100 + calls)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_calls(rows: list[dict], tolerance: float) -> None:
    assert rows[-1]["differ"] == 0
    assert rows[-1]["mb"] == pytest.approx(rows[0]["mb"], rel=tolerance)


@pytest.mark.long
def test_memory_does_not_grow_with_the_calls(folder):  # noqa: F811
    check_calls(run_calls(folder, 200, 100), 0.05)


@pytest.mark.long
def test_memory_after_ten_thousand_calls_is_that_after_five_hundred(folder):  # noqa: F811
    check_calls(run_calls(folder, 10_000, 500), 0.05)


def odd_line(rng: random.Random) -> bytes:
    """Without a newline in it, since that ends a line."""
    size = rng.choice((0, 1, 2, 5, 20, 60))
    kinds = (
        lambda: rng.randbytes(size),
        lambda: bytes(rng.choices(range(32), k=size)),
        lambda: "".join(chr(rng.randrange(0x110000)) for _ in range(size)).encode("utf-8", "surrogatepass"),
        lambda: "".join(chr(rng.randrange(0x3100)) for _ in range(size)).encode(),
        lambda: "".join(rng.choices("ab \u3000\xa0\u200b\ufeff\u2581" + ENDS, k=size)).encode(),
        lambda: " ".join(rng.choices(["a", "</s>", "<pad>", "<s>", "<unk>", "\u2581", "\ufffd"], k=size)).encode(),
    )
    return rng.choice(kinds)().replace(b"\n", b"\r")


LONG = [
    b"a b " * (5 * 2**20),  # 20 MB
    b"c" * (20 * 2**20),
    b" " * (20 * 2**20),
    "\U0001f600".encode() * (5 * 2**20),
    b" ".join([b"w" * 10_000] * 100),
    " ".join(["\u4e00" * 10_000] * 100).encode(),
]


def pipe(words: list[str], lines: list[bytes], **options) -> tuple[list[str], str]:
    """The lines that a command gives, and what it says. Raises AssertionError where it fails."""
    done = subprocess.run(
        words, cwd=ROOT, env=environment(), input=b"\n".join(lines) + b"\n", capture_output=True, **options
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode().split("\n")[:-1], done.stderr.decode()


def command(folder, *args) -> list[str]:  # noqa: F811
    return [sys.executable, "-m", "s2s_plugin", "translate", "--model", str(folder), "--beam", "1", *args]


def check_json(found: list[str], lines: list[bytes]) -> None:
    """A line for each, which is one for every program."""
    assert len(found) == len(lines)
    for row, line in zip(found, lines, strict=True):
        assert len(row.splitlines()) == 1
        if len(line) < MOST_CHARACTERS:
            assert json.loads(row)["source"] == line.decode(errors="replace").rstrip("\r")


def test_a_line_of_any_bytes_gives_a_line(folder, translator):  # noqa: F811
    rng = random.Random(3)
    lines = [b"a b", *(odd_line(rng) for _ in range(300))]
    found, said = pipe(command(folder, "--json"), lines)
    check_json(found, lines)
    assert said == ""
    plain, _ = pipe(command(folder), lines)
    assert len(plain) == len(lines) and not any(character in line for line in plain for character in ENDS)
    assert plain[0] == translator.translate(["a b"], beam=1)[0].text


def test_the_exported_translator_reads_the_same_lines():
    pytest.importorskip("onnxruntime")
    from s2s_plugin.export.runtime import lines_of

    rng = random.Random(4)
    lines = [b"\xef\xbb\xbfa b\r", *(odd_line(rng) for _ in range(300)), b"x" * (9 * MOST_CHARACTERS), b"last"]
    *found, long, last = lines_of(io.BytesIO(b"\n".join(lines)))
    assert found == ["a b", *(line.decode(errors="replace").rstrip("\r") for line in lines[1:-2])]
    assert MOST_CHARACTERS < len(long) < len(lines[-2]) and last == "last"


@pytest.mark.long
def test_a_hundred_thousand_lines_of_any_bytes(folder):  # noqa: F811
    rng = random.Random(5)
    lines = [odd_line(rng) for _ in range(100_000)]
    found, said = pipe(command(folder, "--json"), lines)
    check_json(found, lines)
    assert said == ""


@pytest.mark.long
def test_a_line_of_twenty_megabytes(folder):  # noqa: F811
    """Four of them, and others, with others before and after; the memory is at most a few times that of one."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    pipe(command(folder), [b"a"])
    small = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert before <= small
    lines = [b"a", *(line for long in LONG for line in (long, b"a b"))]
    found, said = pipe(command(folder), lines)
    large = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"{small / 1024:.0f} MB for a small line, {large / 1024:.0f} MB for these; {said}")
    assert len(found) == len(lines) and all(found[k] for k in range(0, len(lines), 2))
    assert [line.split(" is left out")[0] for line in said.splitlines()] == [f"warning: line {k}" for k in (2, 4, 8)]
    assert large < small + 5 * 20 * 1024
