import hashlib
import io
import itertools
import sys
from types import SimpleNamespace

import pytest

from tests.scripts.loading import SCRIPTS, load_script

prepare = load_script("g2p/prepare.py")
SAMPLE = SCRIPTS.parent / "examples" / "g2p" / "data"


def write(path, text) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    "word, letters",
    [("abîme", "a b î m e"), ("an phong", "a n ▁ p h o n g"), ("an \u00a0phong ", "a n ▁ p h o n g"), ("अंत", "अ ं त")],
)
def test_words_are_spelled(word, letters):
    assert prepare.spell(word) == letters


@pytest.mark.parametrize("word", ["ếch a", "e\u0302\u0301ch a"])
def test_marks_are_letters_of_their_own_where_that_is_wanted(word):
    assert prepare.spell(word, split_marks=True).split(" ") == ["e", "\u0302", "\u0301", "c", "h", "▁", "a"]


def test_a_table_is_read(tmp_path):
    write(tmp_path / "fre_dev.tsv", "\ufeffabby\ta b i\r\nan  phong\t f a  ŋ͡m ˧˧\n")
    assert prepare.read_table(tmp_path / "fre_dev.tsv") == [("abby", "a b i"), ("an phong", "f a ŋ͡m ˧˧")]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the file is empty"),
        ("ab\ta b\ncd\n", "line 2: must be a word, a tab, and phonemes"),
        ("ab\ta b\n\ncd\tc d\n", "line 2: must be a word"),
        ("ab\t \n", "line 1: must be a word"),
        ("ab\ta b\tnoun\n", "line 1: must be a word"),
        ("a▁b\ta b\n", "line 1: the word holds ▁"),
        (b"ab\ta b\n" + "é\te\n".encode("latin-1"), "line 2: not UTF-8"),
    ],
    ids=["empty", "no tab", "blank line", "no phonemes", "three columns", "the sign for a space", "latin-1"],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    write(tmp_path / "fre_dev.tsv", text)
    with pytest.raises(prepare.BadInput, match=message):
        prepare.read_table(tmp_path / "fre_dev.tsv")


def arguments(data, output, **changes) -> SimpleNamespace:
    defaults = {"languages": ("fre",), "splits": ("train", "dev"), "sums": None, "split_marks": ()}
    return SimpleNamespace(data=data, output=output, **{**defaults, **changes})


@pytest.mark.parametrize("folder", ["", "{split}"], ids=["one folder", "a folder a split"])
def test_text_of_both_layouts(tmp_path, capsys, folder):
    tables = {"train": "abby\ta b i\nan bi\ta n b i\n", "dev": "abby\ta b i\n"}
    for split, text in tables.items():
        write(tmp_path / "data" / folder.format(split=split) / f"fre_{split}.tsv", text)
    prepare.make_text(arguments(tmp_path / "data", tmp_path / "work"))
    text = tmp_path / "work" / "fre" / "text"
    assert (text / "train.word").read_text() == "a b b y\na n ▁ b i\n"
    assert (text / "train.phoneme").read_text() == "a b i\na n b i\n"
    assert sorted(path.name for path in text.iterdir()) == ["dev.phoneme", "dev.word", "train.phoneme", "train.word"]
    assert capsys.readouterr().out == "fre: 2 train, 1 dev words; trained on as well: 1 of dev\n"


def test_marks_are_split_in_the_languages_that_are_named(tmp_path):
    for language, split in itertools.product(("fre", "vie"), ("train", "dev")):
        write(tmp_path / f"{language}_{split}.tsv", "é\te\n")
    prepare.make_text(arguments(tmp_path, tmp_path / "work", languages=("fre", "vie"), split_marks=["vie"]))
    words = {lang: (tmp_path / "work" / lang / "text" / "dev.word").read_text() for lang in ("fre", "vie")}
    assert words == {"fre": "é\n", "vie": "e \u0301\n"}


def test_nothing_is_written_if_any_language_is_wrong(tmp_path):
    for split in ("train", "dev"):
        write(tmp_path / "data" / f"fre_{split}.tsv", "ab\ta b\n")
    write(tmp_path / "data" / "hun_train.tsv", "ab\ta b\n")
    with pytest.raises(prepare.BadInput, match="no hun_dev.tsv there"):
        prepare.make_text(arguments(tmp_path / "data", tmp_path / "work", languages=("fre", "hun")))
    assert not (tmp_path / "work").exists()


def test_tables_of_other_contents_or_names_are_refused(tmp_path):
    sums = tmp_path / "sums"
    for split in ("train", "dev"):
        write(tmp_path / f"fre_{split}.tsv", f"{split}\ta b\n")
        write(tmp_path / f"xyz_{split}.tsv", f"{split}\ta b\n")
    digests = {split: hashlib.sha256(f"{split}\ta b\n".encode()).hexdigest() for split in ("train", "dev")}
    write(sums, "".join(f"{digest}  fre_{split}.tsv\n" for split, digest in digests.items()))
    prepare.make_text(arguments(tmp_path, tmp_path / "work", sums=sums))
    with pytest.raises(prepare.BadInput, match="its languages are fre.*--any-data"):
        prepare.make_text(arguments(tmp_path, tmp_path / "work", languages=("xyz",), sums=sums))
    write(tmp_path / "fre_dev.tsv", "other\ta b\n")
    with pytest.raises(prepare.BadInput, match="fre_dev.tsv: not the table.*--any-data"):
        prepare.make_text(arguments(tmp_path, tmp_path / "work", sums=sums))


def test_the_list_of_checksums_is_whole():
    sums = prepare.read_sums(SCRIPTS / "g2p" / "sigmorphon2020.sha256")
    languages = "ady arm bul dut fre geo gre hin hun ice jpn kor lit rum vie".split()
    assert sorted(sums) == sorted(f"{lang}_{split}.tsv" for lang in languages for split in ("train", "dev", "test"))
    assert all(len(checksum) == 64 for checksum in sums.values())


def test_the_sample_is_what_its_page_says():
    page = (SAMPLE / "README.md").read_text()
    words = []
    for split, count in {"train": 300, "dev": 60, "test": 60}.items():
        path = SAMPLE / f"fre_{split}.tsv"
        assert hashlib.sha256(path.read_bytes()).hexdigest() in page
        words += [word for word, _ in prepare.read_table(path)]
        assert len(words) == len(set(words)) and len(prepare.read_table(path)) == count


def test_lines_are_spelled_one_for_one(monkeypatch, capsysbinary):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("été\n\na b\n".encode())))
    monkeypatch.setattr(sys, "argv", ["prepare.py", "letters"])
    prepare.main()
    assert capsysbinary.readouterr().out.decode() == "é t é\n\na ▁ b\n"
