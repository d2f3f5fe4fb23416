"""Folders of models in strangers' hands: names that lead elsewhere, sums, and who writes them."""

import hashlib
import os
import shutil
import sys
import time

import pytest
import torch

from s2s_plugin import Translator
from s2s_plugin.command import main
from s2s_plugin.compress.folder import rewrite_folder
from s2s_plugin.compress.quantize import quantize_checkpoint
from s2s_plugin.folder import SUMS, check_folder, read_sums, write_sums
from tests.helpers import ROOT, read_checkpoint, run_command

from .test_translator import folder, lines  # noqa: F401


@pytest.fixture
def own(folder, tmp_path):  # noqa: F811
    """A copy to spoil, with sums."""
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    write_sums(copy)
    return copy


@pytest.fixture
def command(capsys):
    def command(name, *args) -> tuple[int, str, str]:
        """The exit status, and what was printed and said."""
        status = main(name, [str(arg) for arg in args])
        return status, *capsys.readouterr()

    return command


def test_a_broken_file_is_told_in_one_line_by_every_command(own, command, data, tmp_path):
    with (own / "dict.tgt.txt").open("a") as file:
        file.write("x 1\n")
    with pytest.raises(ValueError, match="dict.tgt.txt: broken or changed, by SHA256SUMS"):
        Translator.load(own)
    new = ["--output", tmp_path / "new"]
    for name, *args in (["translate"], ["quantize", *new], ["pack", *new], ["shortlist", "--data", data]):
        status, printed, said = command(name, "--model", own, *args)
        assert status == 1 and printed == "" and said.count("\n") == 1
        assert said.startswith(
            f"error: {own / 'dict.tgt.txt'}: broken or changed, by SHA256SUMS; if the change is meant"
        )
    assert not (tmp_path / "new").exists()
    assert run_command(said.rpartition("sums: ")[2].split()).returncode == 0  # it was meant
    check_folder(own)
    (own / "search").unlink()
    message = f"error: {own}: there is no search, which SHA256SUMS lists\n"
    assert command("translate", "--model", own) == (1, "", message)


def test_what_makes_a_folder_smaller_writes_sums(own, tmp_path):
    (own / "README").write_text("mine")
    (own / "notes").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("secret")
    rewrite_folder(own, tmp_path / "small", quantize_checkpoint)
    assert {path.name for path in (tmp_path / "small").iterdir()} == {
        *("model.pt", "languages", "search", "dict.src.txt", "dict.tgt.txt", "README", SUMS)
    }
    sums = read_sums(tmp_path / "small" / SUMS)
    assert set(sums) == set(os.listdir(tmp_path / "small")) - {"README", SUMS}
    assert sums["model.pt"] == hashlib.sha256((tmp_path / "small" / "model.pt").read_bytes()).hexdigest()
    assert sums["model.pt"] != read_sums(own / SUMS)["model.pt"]
    Translator.load(tmp_path / "small")


def test_nothing_of_elsewhere_is_copied(own, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (own / SUMS).unlink()
    (own / "shortlist").symlink_to(tmp_path / "secret")
    for make in (lambda: rewrite_folder(own, tmp_path / "new", quantize_checkpoint), lambda: Translator.load(own)):
        with pytest.raises(ValueError, match="shortlist: a link to .*secret, out of the folder"):
            make()
    assert not (tmp_path / "new").exists()


def test_a_shortlist_gets_its_sum(own, command, data, tmp_path):
    assert command("shortlist", "--model", own, "--data", data)[0] == 0
    before = read_sums(own / SUMS)
    assert command("shortlist", "--model", own, "--data", data, "--size", 2)[0] == 0
    assert before.pop("shortlist") != read_sums(own / SUMS)["shortlist"]
    Translator.load(own)
    (tmp_path / "lists").mkdir()
    assert command("shortlist", "--model", own, "--data", data, "--output", tmp_path / "lists" / "short")[0] == 0
    assert os.listdir(tmp_path / "lists") == ["short"]
    (own / SUMS).unlink()  # as a folder of an earlier version
    assert command("shortlist", "--model", own, "--data", data)[0] == 0 and not (own / SUMS).exists()


@pytest.mark.parametrize("lang", ["../../secret", "../model/dict", "/etc/x", "..", "sr\\c", "src:tgt", "\x1b[2J"])
def test_languages_that_are_no_names_are_refused(own, command, tmp_path, lang):
    (tmp_path / "secret.model").write_bytes(b"secret")
    (own / SUMS).unlink()
    (own / "languages").write_text(f"src_lang={lang}\ntgt_lang=tgt\n")
    message = f"error: {own / 'languages'}: src_lang={lang!r} is no name of letters, digits and . _ @ + -\n"
    assert command("translate", "--model", own) == (1, "", message)
    if lang == "../../secret":
        script = [sys.executable, ROOT / "scripts" / "plot_attention.py", "--model", own]
        done = run_command([*script, "--output", tmp_path / "a.html"])
        assert done.returncode == 1 and done.stderr == message


@pytest.mark.parametrize(
    "search, message",
    [
        ("--max-len-a inf", "max_len_a inf: must be a number of at least 0 and at most 1000"),
        ("--beam 1000000000", "beam 1000000000: must be a whole number of at least 1 and at most 1000"),
        ("--lenpen nan", "lenpen nan: must be a number of at least 0 and at most 1000"),
        ("--beam " + "9" * 5000, "must be a whole number of at least 1"),
        ("--lm-path ../../x", "unknown option 'lm_path' of the search"),
    ],
)
def test_a_search_without_measure_is_refused(own, search, message):
    (own / "search").write_text(search + "\n")
    write_sums(own)
    with pytest.raises(ValueError, match=message):
        Translator.load(own)


def test_a_linked_checkpoint_and_a_linked_folder_load(own, tmp_path, lines):  # noqa: F811
    expected = Translator.load(own).translate(lines[:3])
    (own / SUMS).unlink()
    (own / "model.pt").rename(tmp_path / "checkpoint_best.pt")
    (own / "model.pt").symlink_to(tmp_path / "checkpoint_best.pt")
    (tmp_path / "linked").symlink_to(own)
    assert [one.text for one in Translator.load(tmp_path / "linked").translate(lines[:3])] == [
        one.text for one in expected
    ]


def test_averaging_into_a_finished_folder_removes_its_sums(own, model):
    script = [
        sys.executable,
        ROOT / "scripts" / "average_checkpoints.py",
        "--output",
        own / "model.pt",
        model.checkpoint,
    ]
    done = run_command(script)
    assert done.returncode == 0, done.stderr
    assert not (own / SUMS).exists() and read_checkpoint(own / "model.pt")["last_optimizer_state"] is None
    Translator.load(own)


def test_sums_are_checked_in_little_time(tmp_path):
    """Of a folder of 30 MB, the recipe's; printed."""
    torch.save({"weights": torch.rand(7_500_000)}, tmp_path / "model.pt")
    (tmp_path / "languages").write_text("src_lang=src\ntgt_lang=tgt\n")
    write_sums(tmp_path)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        check_folder(tmp_path)
        seconds.append(time.perf_counter() - start)
    print(f"{(tmp_path / 'model.pt').stat().st_size / 1e6:.0f} MB: {1000 * min(seconds):.0f} ms")
