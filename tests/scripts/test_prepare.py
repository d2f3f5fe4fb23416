"""What the recipes say of a user's files before they spend time on them."""

import gzip

import pytest

from tests.scripts.loading import load_script

prepare = load_script("en_zh/prepare.py")


def write(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pairs_of_plain_and_packed_files(tmp_path, ending):
    source, target = (
        write(tmp_path / f"text.{lang}{ending}", f"{lang} one\n\t{lang}  two \n") for lang in ("en", "zh")
    )
    assert list(prepare.read_pairs(source, target)) == [("en one", "zh one"), ("en two", "zh two")]


@pytest.mark.parametrize(
    "text, message",
    [
        ("one\ntwo\nthree\n", "has 3 lines but .* has 2"),
        ("", "the file is empty"),
        ("good\nb\u00e4d\n".encode("latin-1"), "line 2: not UTF-8"),
        (None, "no such file"),
    ],
    ids=["unequal", "empty", "not UTF-8", "missing"],
)
def test_bad_files_are_refused(tmp_path, text, message):
    source, target = tmp_path / "a.en", write(tmp_path / "a.zh", "一\n二\n")
    if text is not None:
        write(source, text)
    with pytest.raises(prepare.BadInput, match=message):
        list(prepare.read_pairs(source, target))


def test_held_out_sentences_are_the_same_whatever_the_order():
    sources = [f"sentence {number}" for number in range(400)]
    first, second = prepare.choose_held_out(sources, 2)
    assert len(first) == len(second) == 20 and not first & second
    assert prepare.choose_held_out(reversed(sources), 2) == [first, second]


def test_too_few_pairs_cannot_be_split():
    with pytest.raises(prepare.BadInput, match="too few to hold out"):
        prepare.choose_held_out(["one", "two"], 2)
