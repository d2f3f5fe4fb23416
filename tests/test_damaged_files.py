"""A damaged file gives the same translations, others where nothing tells a changed weight from a weight, or one line
that names the file: no signal, no traceback, no hang, and no more than twice the memory.

Each variant is tried in a process of its own, forked from this one, in which all is imported.
"""

import os
import random
import resource
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from s2s_plugin.command import main
from tests.old_models import expected, unpack

SECONDS = 100
SEED = 20_261_130

KINDS = {
    "checkpoint": ("plain", "model.pt"),
    "packed": ("packed", "model.pt"),
    "quantised": ("quantised", "model.pt"),
    "lstm": ("lstm", "model.pt"),
    "dictionary": ("plain", "dict.*.txt"),
    "sentencepiece": ("plain", "*.model"),
    "shortlist": ("shortlist", "shortlist"),
    "languages": ("plain", "languages"),
    "search": ("plain", "search"),
    "encoder's graph": ("exported", "encoder.onnx"),
    "step's graph": ("exported", "step.onnx"),
    "settings of graphs": ("exported", "model.json"),
    "words of graphs": ("exported", "words.*"),
    "pieces of graphs": ("exported", "*.model"),
}


class Outcome(NamedTuple):
    """What a process ended with.

    Attributes:
        signal, status: of `os.wait4`.   out, err: what it printed.   memory: bytes that it held at most.
    """

    signal: int
    status: int
    out: str
    err: str
    memory: int


def translate(folder: Path) -> int:
    """Translates the standard input as `python -m s2s_plugin translate` or an exported translate.py does."""
    if (folder / "model.json").exists():
        from s2s_plugin.export import runtime

        sys.argv = ["translate.py", "--model", str(folder), "--threads", "1"]
        try:
            runtime.main()
        except (OSError, ValueError) as error:  # as the file does where it is run
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0
    return main("translate", ["--model", str(folder), "--threads", "1"])


def forked(folder: Path, text: Path, scratch: Path) -> Outcome:
    """Translates in a process of its own."""
    out, err = scratch / "out", scratch / "err"
    child = os.fork()
    if child == 0:
        status = 99
        try:
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for target, path, mode in ((0, text, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
                os.dup2(os.open(path, mode | (os.O_CREAT | os.O_TRUNC if target else 0)), target)
            sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
            status = translate(folder)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)
    _, ended, usage = os.wait4(child, 0)
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in (out, err))
    return Outcome(os.WTERMSIG(ended), os.waitstatus_to_exitcode(ended), *texts, usage.ru_maxrss * 1024)


def variants(content: bytes, truncated: int, flipped: int, rng: random.Random):
    """Yields how each was made, and the content."""
    for _ in range(truncated):
        length = rng.randrange(len(content))
        yield f"the first {length} bytes", content[:length]
    for _ in range(flipped):
        bit = rng.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(changed)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # before a fork: the threads of this process would be missing in the other
    yield unpack("v0.2", tmp_path_factory.mktemp("old"))
    torch.set_num_threads(threads)


def check(kind: str, models: Path, scratch: Path, count: int) -> dict[str, int]:
    """Tries `count` truncated and `count` changed files. Returns how many ended how."""
    model, pattern = KINDS[kind]
    folder, text = scratch / model, scratch / "text"
    shutil.copytree(models / model, folder)
    text.write_text("".join(f"{source}\n" for source, _ in expected(f"v0.2/{model}")), encoding="utf-8")
    whole = forked(folder, text, scratch)
    assert whole.status == 0 and whole.out.splitlines() == [target for _, target in expected(f"v0.2/{model}")]
    files = sorted(folder.glob(pattern))
    if not files:
        pytest.skip(f"{model} has no {pattern}")
    rng, ends = random.Random(SEED), {"same": 0, "other": 0, "refused": 0}
    print(f"seed {SEED}")
    for file in files:
        content = file.read_bytes()
        share = -(-count // len(files))
        for how, changed in variants(content, share, share, rng):
            file.write_bytes(changed)
            ended = forked(folder, text, scratch)
            report = f"{kind}: {file.name}, {how}: signal {ended.signal}, {ended.err[-2000:]}"
            assert ended.signal == 0 and ended.status in (0, 1), report
            assert ended.memory < 2 * whole.memory, f"{report}, {ended.memory / 1e6:.0f} MB"
            if ended.status == 1:
                # The lines before it are other warnings.
                last = ended.err.splitlines()[-1]
                assert last.startswith("error: ") and ended.err.count("error: ") == 1, report
                assert file.name in last and "Traceback" not in ended.err, report
                ends["refused"] += 1
            else:
                assert len(ended.out.splitlines()) == len(whole.out.splitlines()), report
                ends["same" if ended.out == whole.out else "other"] += 1
        file.write_bytes(content)
    return ends


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named(kind, models, tmp_path):
    check(kind, models, tmp_path, 4)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_five_hundred_damaged_files_are_named(kind, models, tmp_path):
    ends = check(kind, models, tmp_path, 500)
    print(f"\n{kind}: {', '.join(f'{number} {end}' for end, number in ends.items())}")
