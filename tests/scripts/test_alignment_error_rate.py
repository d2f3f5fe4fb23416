"""The rates by hand, the formats that people have, and the commands from a file to a line."""

import subprocess
import sys

import pytest

from .loading import SCRIPTS, load_script

load_script("generate_output.py")
load_script("pieces.py")
alignment_error_rate = load_script("alignment_error_rate.py")


def test_rates_by_hand():
    # A of 5 links; S of 4, of which 2 are found; P of 6, of which 3 are found; a sentence that nobody aligned.
    gold = [alignment_error_rate.parse_gold(line) for line in ("0-0 1-1 2?1", "0-0 1-1 1p0", "")]
    links = {0: {(0, 0), (2, 1), (0, 1)}, 1: {(1, 1), (5, 5)}, 2: {(0, 0)}}
    assert alignment_error_rate.error_rate(links, gold) == (
        "AER 44.4  precision 60.0  recall 50.0  links 5 (4 sure and 2 possible in the gold)  sentences 2; "
        "1 more without links in the gold are not counted"
    )


def test_links_that_are_right_or_wrong_to_the_last():
    gold = [alignment_error_rate.parse_gold("0-0 1-1 2?2")]
    for links, said in (
        ({(0, 0), (1, 1)}, "AER 0.0  precision 100.0  recall 100.0"),
        ({(0, 0), (1, 1), (2, 2)}, "AER 0.0  precision 100.0  recall 100.0"),
        ({(0, 1)}, "AER 100.0  precision 0.0  recall 0.0"),
        (set(), "AER 100.0  precision nan  recall 0.0"),
    ):
        assert alignment_error_rate.error_rate({0: links}, gold).startswith(said + "  links")


def test_formats_of_the_gold():
    parse = alignment_error_rate.parse_gold
    assert parse("0-1 2?3 4p5 10-0") == ({(0, 1), (10, 0)}, {(0, 1), (10, 0), (2, 3), (4, 5)})
    assert parse("1-2 3?4", one_based=True) == ({(0, 1)}, {(0, 1), (2, 3)})
    assert parse("1-2 3?4", reverse=True) == ({(2, 1)}, {(2, 1), (4, 3)})
    assert parse(" \t") == (set(), set())


def test_formats_of_links():
    parse = alignment_error_rate.parse_links
    assert parse("0-1 2-0") == {(0, 1), (2, 0)} and parse("") == set() and parse("", 0.5) == set()
    # Three target tokens and the end, two source tokens and the end, which the last token looks at most.
    soft = "0.9,0.1,0.0 0.3,0.4,0.3 0.1,0.2,0.7 0.0,0.0,1.0"
    assert parse(soft) == {(0, 0), (1, 1), (1, 2)}
    assert parse(soft, 0.3) == {(0, 0), (0, 1), (1, 1)}
    # An empty source, and an empty translation.
    assert parse("1.0 1.0") == set() and parse("0.5,0.5") == set()


GENERATED = """\
S-1\t▁x ▁y z
T-1\t▁u ▁v w
H-1\t-1\t▁u ▁v w
A-1\t0-0 2-1 1-2
H-1\t-2\t▁u
A-1\t2-0
S-0\t▁x
H-0\t-1\t▁u
A-0\t0-0
Generate test with beam=5
"""


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the script in a folder with `generated` of two sentences."""
    (tmp_path / "generated").write_text(GENERATED, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def run(links, gold, *args):
        (tmp_path / "gold").write_text(gold)
        monkeypatch.setattr(sys, "argv", ["alignment_error_rate.py", links, "--gold", "gold", *args])
        alignment_error_rate.main()
        return capsys.readouterr().out

    return run


RIGHT = "AER 0.0  precision 100.0  recall 100.0  links {0} ({0} sure and 0 possible in the gold)  sentences 2\n"


def test_the_first_hypothesis_of_the_output(run):
    assert run("generated", "0-0\n0-0 2-1 1-2\n") == RIGHT.format(4)
    assert run("generated", "1-1\n1-1 2-3 3-2\n", "--one-based", "--reverse") == RIGHT.format(4)
    assert run("generated", "0-0\n0-0 1-1\n", "--pieces", "sentencepiece") == RIGHT.format(3)


def test_a_pharaoh_file(run, tmp_path):
    (tmp_path / "pharaoh").write_text("0-0\n1-1 0-1\n")
    assert run("pharaoh", "0-0\n0-1 1-1\n") == RIGHT.format(3)
    assert run("pharaoh", "0-0\n0-1 1?0\n").startswith("AER 20.0  precision 66.7  recall 100.0  links 3 (2 sure and 1 ")


def test_the_threshold_reaches_the_weights(run, tmp_path):
    (tmp_path / "soft").write_text("H-0\t-1\tu\nA-0\t0.6,0.4,0.0 0.0,0.0,1.0\n")
    assert run("soft", "0-0 1-0").startswith("AER 33.3  precision 100.0  recall 50.0")
    assert run("soft", "0-0 1-0", "--threshold", "0.4").startswith("AER 0.0")


@pytest.mark.parametrize(
    "links, gold, args, message",
    [
        ("generated", "0-0\n", [], "2 sentences with links, 1 lines of gold; number 1, from 0, is only in the links"),
        ("generated", "0-0\n0-0\n0-0\n", [], "3 lines of gold; number 2, from 0, is only in the gold"),
        ("generated", "0-0\n1/1\n", [], "gold, line 2: '1/1' is no link: a sure one is 3-4"),
        ("generated", "1-1\n1-0\n", ["--one-based"], "gold, line 2: link 1-0: with --one-based positions are from 1"),
        ("generated", "\n\n", [], "no line of the gold has links"),
        ("generated", "0-0\n0-0\n", ["--threshold", "0.5"], "sentence 1: --threshold is for --print-alignment soft"),
        ("generated", "0-0\n0-0\n", ["--threshold", "0"], "--threshold 0.0: must be more than 0"),
        ("generated", "0-0\n0-0\n", ["--pieces", "bpe"], "'bpe' \\(choose from"),
        ("unaligned", "0-0\n", [], "sentence 0 has no alignment: give fairseq-generate --print-alignment hard"),
        ("odd", "0-0\n", [], "odd: sentence 0: not a line of pairs 'source-target': '0,1'"),
        ("joined", "0-0\n", ["--pieces", "subword_nmt"], "link 1-0 of 1 and 1 tokens: generate without --remove-bpe"),
        ("pharaoh", "0-0\n", ["--pieces", "sentencepiece"], "--pieces sentencepiece: pharaoh has no tokens"),
    ],
)
def test_refuses(run, tmp_path, links, gold, args, message):
    (tmp_path / "unaligned").write_text("H-0\t-1\tx\n")
    (tmp_path / "odd").write_text("0,1\n")
    (tmp_path / "joined").write_text("S-0\tx\nH-0\t-1\tx\nA-0\t1-0\n")
    (tmp_path / "pharaoh").write_text("0-0\n")
    with pytest.raises(ValueError, match=message):
        run(links, gold, *args)


def test_an_error_is_one_line(tmp_path):
    words = [sys.executable, SCRIPTS / "alignment_error_rate.py", tmp_path / "none", "--gold", tmp_path / "none"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
