import gzip
import hashlib
import sys

import pytest

from tests.scripts.loading import SCRIPTS, load_script

prepare = load_script("summarization/prepare.py")
SAMPLE = SCRIPTS.parent / "examples" / "summarization" / "data"


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_is_read(tmp_path, packed):
    raw = "\ufeffzen\tZen  library\tIt is\u3000zen.\r\nb\tc\td\n".encode()
    path = tmp_path / ("train.tsv.gz" if packed else "train.tsv")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    assert prepare.find_table(tmp_path, "train") == path
    assert list(prepare.read_table(path)) == [("zen", "Zen library", "It is zen."), ("b", "c", "d")]


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", "the file is empty"),
        (b"a\tb\tc\nd\te\n", "line 2: must be a name, a summary and a text"),
        (b"a\t \tc\n", "line 1: must be a name"),
        (b"a\tb\tc\td\n", "line 1: must be a name"),
        (b"a\tb\tc\nd\t\xe9\tf\n", "line 2: not UTF-8"),
    ],
    ids=["empty", "two columns", "no summary", "four columns", "latin-1"],
)
def test_bad_tables_are_refused(tmp_path, raw, message):
    (tmp_path / "valid.tsv").write_bytes(raw)
    with pytest.raises(prepare.BadInput, match=message):
        list(prepare.read_table(tmp_path / "valid.tsv"))


def test_a_broken_gzip_file_is_refused(tmp_path):
    (tmp_path / "valid.tsv.gz").write_bytes(gzip.compress(b"a\tb\tc\n" * 1000)[:-12])
    with pytest.raises(prepare.BadInput, match="broken gzip file"):
        list(prepare.read_table(tmp_path / "valid.tsv.gz"))


def test_a_line_that_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "valid.tsv.gz").write_bytes(gzip.compress(b"a\tb\tc\n" + bytes(1 << 25)))
    with pytest.raises(prepare.BadInput, match="valid.tsv.gz, line 2: longer than 16,777,216 bytes"):
        list(prepare.read_table(tmp_path / "valid.tsv.gz"))


def test_sources():
    entry = prepare.Entry("zen", "Zen library", "one two three")
    assert prepare.make_source(entry, 2, with_name=True) == "zen: one two"
    assert prepare.make_source(entry, 0, with_name=False) == "one two three"


def test_text_is_made_of_the_splits_that_are_wanted(tmp_path, monkeypatch, capsys):
    for split in ("train", "valid"):
        (tmp_path / f"{split}.tsv").write_text("zen\tZen library\tone two three\nb\tc\td\n")
    arguments = ["--data", tmp_path, "--output", tmp_path / "out", "--lead-words", 2, "--with-name", "--splits"]
    monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, arguments), "train", "valid"])
    prepare.main()
    assert (tmp_path / "out" / "train.doc").read_text() == "zen: one two\nb: d\n"
    assert (tmp_path / "out" / "valid.sum").read_text() == "Zen library\nc\n"
    assert capsys.readouterr().out == "2 train (1 cut to 2 words), 2 valid (1 cut to 2 words)\n"
    monkeypatch.setattr(sys, "argv", [*sys.argv, "test"])
    with pytest.raises(SystemExit, match="no test.tsv there"):
        prepare.main()


def test_the_sample_is_what_its_page_says():
    page = (SAMPLE / "README.md").read_text()
    names = []
    for split, count in {"train": 1500, "valid": 100, "test": 100}.items():
        path = SAMPLE / f"{split}.tsv.gz"
        assert hashlib.sha256(path.read_bytes()).hexdigest() in page
        entries = list(prepare.read_table(path))
        assert len(entries) == count
        names += [entry.name for entry in entries]
    assert len(names) == len(set(names))
