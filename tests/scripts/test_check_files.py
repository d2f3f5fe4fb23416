"""The texts of a recipe are told from others by their contents, packed or not."""

import gzip
import hashlib

import pytest

from tests.scripts.loading import SCRIPTS, load_script

faults = load_script("check_files.py").faults
TEXT = b"ein hund .\n" * 1000


@pytest.fixture
def checksums(tmp_path):
    path = tmp_path / "checksums.sha256"
    path.write_text(f"{hashlib.sha256(TEXT).hexdigest()}  val.de\n{'0' * 64}  val.en\n")
    return path


def test_the_same_text_plain_or_packed(checksums, tmp_path):
    plain, packed = tmp_path / "val.de", tmp_path / "val.de.gz"
    plain.write_bytes(TEXT)
    packed.write_bytes(gzip.compress(TEXT, mtime=7))
    assert faults(checksums, [plain, packed]) == []


def test_another_text_is_named_with_both_checksums(checksums, tmp_path):
    paths = [tmp_path / "val.en", tmp_path / "val.de.gz"]
    paths[0].write_bytes(TEXT)
    paths[1].write_bytes(gzip.compress(TEXT + b"\n"))
    said = faults(checksums, paths)
    assert len(said) == 2
    for message, path, values in zip(
        said, paths, [("0" * 64, TEXT), (hashlib.sha256(TEXT).hexdigest(), TEXT + b"\n")], strict=True
    ):
        assert str(path) in message and values[0] in message and hashlib.sha256(values[1]).hexdigest() in message


def test_files_that_cannot_be_checked(checksums, tmp_path):
    broken, unknown = tmp_path / "val.de.gz", tmp_path / "test.de"
    broken.write_bytes(gzip.compress(TEXT)[:20])
    unknown.write_bytes(TEXT)
    missing = tmp_path / "val.de"
    said = faults(checksums, [broken, unknown, missing])
    assert "cannot be read" in said[0] and "knows no file of this name" in said[1] and "cannot be read" in said[2]


def test_the_checksums_of_multi30k_are_those_of_the_eight_texts():
    lines = (SCRIPTS.parent / "examples" / "multi30k" / "checksums.sha256").read_text().splitlines()
    splits = ("train", "val", "test_2016_flickr", "test_2017_flickr")
    assert [line.split()[1] for line in lines] == [f"{s}.lc.norm.tok.{lang}" for s in splits for lang in ("en", "de")]
    assert all(len(line.split()[0]) == 64 for line in lines)
