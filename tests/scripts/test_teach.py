"""A student's training text: the teacher's translations, line by line, whatever stops it on the way."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.scripts.loading import SCRIPTS, load_script

teach = load_script("en_zh/teach.py")


class Shouting:
    """Translates by shouting; of "leave" it makes nothing, and at "stop" it breaks off."""

    def __init__(self):
        self.seen = []

    def translate(self, lines, *, skip_too_long):
        assert skip_too_long
        self.seen += lines
        if "stop" in lines:
            raise KeyboardInterrupt
        return [SimpleNamespace(text="" if line == "leave" else line.upper()) for line in lines]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(teach, "LINES", 2)
    paths = [tmp_path / name for name in ("train.a", "train.b", "done")]
    paths[0].write_text("one\nleave\nthree\u2028end\nfour\nfive\n", encoding="utf-8")
    paths[1].write_text("1\n2\n3\nFOUR\n5\n", encoding="utf-8")
    return paths


def taught(path) -> str:
    return path.with_name(path.name + ".taught").read_text(encoding="utf-8")


def test_every_line_is_replaced_but_for_those_left_empty(files):
    before = [path.read_text(encoding="utf-8") for path in files[:2]]
    assert teach.teach(Shouting(), *files, beside=False) == (5, 1, 1)
    assert taught(files[0]) == before[0]
    assert taught(files[1]) == "ONE\n2\nTHREE\u2028END\nFOUR\nFIVE\n"
    assert [path.read_text(encoding="utf-8") for path in files[:2]] == before


def test_beside_the_references_every_line_comes_twice(files):
    before = [path.read_text(encoding="utf-8") for path in files[:2]]
    assert teach.teach(Shouting(), *files, beside=True) == (5, 1, 1)
    assert taught(files[0]) == 2 * before[0]
    assert taught(files[1]) == before[1] + "ONE\n2\nTHREE\u2028END\nFOUR\nFIVE\n"


def test_an_interrupted_run_goes_on_where_it_was(files):
    files[0].write_text("one\nleave\nthree\nstop\nfive\n", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        teach.teach(Shouting(), *files, beside=False)
    assert not list(files[1].parent.glob("*.taught"))
    files[0].write_text("one\nleave\nthree\nfour\nfive\n", encoding="utf-8")
    files[2].write_text(files[2].read_text(encoding="utf-8") + "half a ba", encoding="utf-8")
    again = Shouting()
    assert teach.teach(again, *files, beside=False) == (5, 1, 1)
    assert again.seen == ["three", "four", "five"]
    assert taught(files[1]) == "ONE\n2\nTHREE\nFOUR\nFIVE\n"


def test_half_a_character_is_no_line(files):
    files[2].write_bytes("一\n二\n三".encode()[:-1])
    again = Shouting()
    assert teach.teach(again, *files, beside=False) == (5, 0, 1)
    assert again.seen == ["three\u2028end", "four", "five"]
    assert taught(files[1]) == "一\n二\nTHREE\u2028END\nFOUR\nFIVE\n"


def test_texts_of_different_lengths_are_refused(files):
    files[1].write_text("1\n")
    with pytest.raises(ValueError, match="train.a has 5 lines and .*train.b 1"):
        teach.teach(Shouting(), *files, beside=False)


@pytest.mark.parametrize(
    "languages, message",
    [
        (None, "there is no languages; give the folder `model` that a recipe made"),
        ("src_lang=zh\ntgt_lang=en\n", "translates zh-en, and this run is to learn en-zh"),
    ],
)
def test_the_recipe_refuses_what_is_no_teacher(languages, message, tmp_path):
    (tmp_path / "model.pt").touch()
    if languages:
        (tmp_path / "languages").write_text(languages)
    words = ["bash", SCRIPTS / "en_zh" / "run.sh", "--teacher", tmp_path, "--work", tmp_path / "work"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 1 and f"--teacher {tmp_path}" in done.stderr and message in done.stderr
    assert not (tmp_path / "work").exists()


def test_the_recipe_wants_a_teacher_to_teach(tmp_path):
    words = ["bash", SCRIPTS / "en_zh" / "run.sh", "--teach", "instead", "--work", tmp_path / "work"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 1 and "--teach instead needs --teacher" in done.stderr


def test_the_command_says_what_is_wrong(files):
    words = [sys.executable, SCRIPTS / "en_zh" / "teach.py", "--model", files[0].parent, "--source", files[0]]
    done = subprocess.run(
        [*words, "--target", files[1], "--done", files[2]], capture_output=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 1 and "there is no model.pt" in done.stderr
