"""Names and sums of a model's folder, without torch and fairseq."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from s2s_plugin import folder as folders
from s2s_plugin.folder import SUMS, changing, check_folder, forget_sum, read_languages, read_settings, write_sums
from tests.helpers import ROOT
from tests.test_layering import STANDARD, imports

FILES = {
    "model.pt": b"weights",
    "languages": b"src_lang=en\ntgt_lang=zh\n",
    "dict.en.txt": b"a 1\n",
    "en.model": b"\x00",
}


@pytest.fixture
def folder(tmp_path):
    """A folder with sums, and with files that are nobody's business."""
    made = tmp_path / "model"
    made.mkdir()
    for name, data in {**FILES, "README": b"mine", "generate-test.txt": b"S-0"}.items():
        (made / name).write_bytes(data)
    write_sums(made)
    return made


def test_sums_are_those_of_sha256sum(folder):
    assert [line.split("  ")[1] for line in (folder / SUMS).read_text().splitlines()] == sorted(FILES)
    check_folder(folder)
    if shutil.which("sha256sum"):
        done = subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.count(": OK") == len(FILES)
        with (folder / SUMS).open("wb") as file:  # another program's list, of all files
            subprocess.run(["sha256sum", "--binary", *FILES, "README"], cwd=folder, stdout=file, check=True)
        check_folder(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_broken_or_gone_is_named(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"{name}: broken or changed, by SHA256SUMS; .* python .*folder.py ") as caught:
        check_folder(folder)
    assert "\n" not in str(caught.value)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no {name}, which SHA256SUMS lists"):
        check_folder(folder)
    write_sums(folder)
    check_folder(folder)


def test_other_files_may_change_and_a_folder_without_sums_loads(folder):
    (folder / "README").write_text("changed")
    (folder / "shortlist").write_text("a b 1\n")  # not listed yet
    check_folder(folder)
    (folder / SUMS).unlink()
    (folder / "model.pt").write_bytes(b"other")
    check_folder(folder)


@pytest.mark.parametrize(
    "line, message",
    [
        ("0" * 64 + "  ../secret", "line 1: '../secret' is no name of a file in the folder"),
        ("0" * 64 + "  /etc/passwd", "is no name of a file in the folder"),
        ("0" * 64 + "  a\\b", "is no name of a file in the folder"),
        ("0" * 64 + "  ..", "is no name of a file in the folder"),
        ("0" * 63 + "  model.pt", "is no sum with a name"),
        ("", "line 1: '' is no sum with a name"),
        ("x" * 70_000, "more than 65,536 bytes are no settings"),
    ],
)
def test_a_list_names_no_file_elsewhere(folder, line, message):
    (folder.parent / "secret").write_text("secret")
    (folder / SUMS).write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        check_folder(folder)


def test_a_link_out_of_the_folder_has_to_have_a_sum_or_be_a_checkpoint(folder, tmp_path):
    """Whoever packs a folder can put links into it, and what they lead to could come out as words of the model."""
    secret = tmp_path / "secret"
    secret.write_text("me 1\n")
    (folder / "dict.zh.txt").symlink_to(secret)
    with pytest.raises(
        ValueError, match=f"dict.zh.txt: a link to {secret}, out of the folder; put the file itself there"
    ):
        check_folder(folder)
    # Its owner knows what is in it. So it is where files lie once and folders link to them.
    write_sums(folder)
    check_folder(folder)
    secret.write_text("thee 1\n")
    with pytest.raises(ValueError, match="dict.zh.txt: broken or changed"):
        check_folder(folder)
    (folder / SUMS).unlink()
    (folder / "dict.zh.txt").unlink()
    (folder / "dict.zh.txt").symlink_to("dict.en.txt")
    (tmp_path / "checkpoint_best.pt").write_bytes(b"weights")
    (folder / "model.pt").unlink()
    (folder / "model.pt").symlink_to(tmp_path / "checkpoint_best.pt")
    (folder / "notes").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(folder)
    for one in (folder, tmp_path / "linked"):
        check_folder(one)


@pytest.mark.parametrize(
    "lang", ["../../x", "/etc/x", "..", ".hidden", "a/b", "a\\b", "a:b", "-x", "a\0b", "x" * 101, "\u202een", "e\x1bn"]
)
def test_a_language_is_a_name(tmp_path, lang):
    for line in (f"src_lang={lang}\ntgt_lang=zh\n", f"src_lang=en\ntgt_lang={lang}\n"):
        (tmp_path / "languages").write_text(line, encoding="utf-8")
        with pytest.raises(ValueError, match="is no name of letters, digits and"):
            read_languages(tmp_path / "languages")


def test_honest_languages_are_read(tmp_path):
    for src, tgt in (("en", "zh"), ("pt_BR", "zh-Hans"), ("word", "phoneme"), ("doc.v2", "sum+1"), ("中文", "x@y")):
        (tmp_path / "languages").write_text(f"src_lang={src}\ntgt_lang={tgt}\n", encoding="utf-8")
        assert read_languages(tmp_path / "languages") == (src, tgt)


def test_settings_are_short_text(tmp_path):
    (tmp_path / "search").write_bytes(b"--beam \xff\n")
    with pytest.raises(ValueError, match="search: not UTF-8"):
        read_settings(tmp_path / "search")
    (tmp_path / "search").write_bytes(b" " * 70_000)
    with pytest.raises(ValueError, match="search: more than 65,536 bytes are no settings"):
        read_settings(tmp_path / "search")


def test_while_a_folder_changes_it_has_no_sums(folder):
    with changing(folder):
        assert not (folder / SUMS).exists()
        (folder / "search").write_text("--beam 2\n")
    assert "search" in (folder / SUMS).read_text()
    with pytest.raises(OSError), changing(folder):
        raise OSError
    check_folder(folder)
    with changing(folder):
        pass
    assert not (folder / SUMS).exists()  # one without sums stays so
    write_sums(folder)
    forget_sum(folder / "README")  # not in the list
    assert (folder / SUMS).exists()
    forget_sum(folder / "model.pt")
    assert not (folder / SUMS).exists()


def test_recipes_write_sums_in_no_time(folder):
    (folder / SUMS).unlink()
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-P", ROOT / "s2s_plugin" / "folder.py", folder], capture_output=True)
    print(f"{time.perf_counter() - start:.3f} s")
    assert done.returncode == 0 and (folder / SUMS).is_file() and not (folder / f"{SUMS}.new").exists()
    done = subprocess.run(
        [sys.executable, "-P", ROOT / "s2s_plugin" / "folder.py", folder / "none"], capture_output=True
    )
    assert done.returncode == 1 and done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1
    names = {name.split(".")[0] for name in imports(ROOT / "s2s_plugin" / "folder.py")}
    assert names <= STANDARD | {"fnmatch"}


def test_names_that_sha256sum_writes_in_its_own_way_get_no_sum(folder):
    for name in ("a\nb.model", "a\\b.model", os.fsdecode(b"\xff.model")):
        try:
            (folder / name).write_bytes(b"")
        except OSError:
            continue  # not every file system takes any name
    write_sums(folder)
    assert len(folders.read_sums(folder / SUMS)) == len(FILES)
