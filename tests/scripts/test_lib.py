"""What scripts/lib.sh says of options, and how the g2p recipe uses it: no environment is made for any of these."""

import os
import subprocess

import pytest

from tests.disks import small_disk
from tests.scripts.loading import SCRIPTS


def bash(script: str, *args, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", f'source "{SCRIPTS}/lib.sh"; {script}', "bash", *args],
        env=dict(os.environ, **environment), capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind, good, bad",
    [
        ("counts", "0", "1 x"),
        ("counts", "1 2  30", "-1"),
        ("counts", "3 2 1", "1 2 1"),
        ("langs", "fre", "fre FRE"),
        ("langs", "fre hun pt_BR", "fre hun fre"),
        ("folder", "/", "/nowhere/at/all"),
        ("folder", ".", __file__),
    ],
)
def test_kinds_of_options(kind, good, bad):
    assert bash('value_fault "$@"', kind, good).stdout == ""
    assert bash('value_fault "$@"', kind, bad).stdout != ""


def test_faults_name_the_word():
    assert bash("value_fault counts '1 x 2'").stdout == "x must be a whole number of at least 0\n"
    assert bash("value_fault langs 'fre fre'").stdout == "says one twice\n"


def test_rates_fall_from_the_peak_towards_nought():
    rates = [float(rate) for rate in bash("linear_rates 4e-3 4").stdout.split(",")]
    assert rates == pytest.approx([3.5e-3, 2.5e-3, 1.5e-3, 0.5e-3])


def test_paths_are_meant_from_a_folder():
    assert bash("absolute data /home/me; echo; absolute /data /home/me").stdout == "/home/me/data\n/data"


def test_the_last_epochs_are_found_by_their_numbers(tmp_path):
    script = 'find_last_epochs "$1" 3; echo "${CHECKPOINTS[*]##*/}"; epochs_done "$1"'
    assert bash(script, tmp_path).stdout == "checkpoint_last.pt\n0\n"
    for name in ("2", "9", "10", "11", "_3_250", "_best", "_last", ".best_bleu_9.2001", "12_part"):
        (tmp_path / f"checkpoint{name}.pt").touch()
    assert bash(script, tmp_path).stdout == "checkpoint9.pt checkpoint10.pt checkpoint11.pt\n11\n"
    assert bash(script.replace("3", "9"), tmp_path).stdout.startswith("checkpoint2.pt checkpoint9.pt")


def test_files_are_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "dict.txt").write_text("x" * 100_000)
    script = 'mkdir -p "$WORK/stamps"; stage_done text "$1"; copy_into "$WORK" "$2"'
    with small_disk(tmp_path / "disk", 400) as disk:
        stamp, copy = disk.path / "stamps" / "text", disk.path / "dict.txt"
        assert bash(script, "old", tmp_path / "dict.txt", WORK=str(disk.path)).returncode == 0
        written = stamp.stat().st_ino, copy.stat().st_ino
        disk.fill()
        # What is the same needs no room.
        assert bash(script, "old", tmp_path / "dict.txt", WORK=str(disk.path)).returncode == 0
        assert (stamp.stat().st_ino, copy.stat().st_ino) == written
        done = bash("trap explain_exit EXIT; " + script, "new", tmp_path / "dict.txt", WORK=str(disk.path))
        said = [f"error: {stamp}: cannot be written", f"error: there is no room left in {disk.path}: make room and run"]
        assert done.returncode == 1 and done.stderr == f"{said[0]}\n{said[1]} the same command again\n"
        (tmp_path / "dict.txt").write_text("y" * 100_000)
        assert bash(script, "old", tmp_path / "dict.txt", WORK=str(disk.path)).returncode == 1
        assert stamp.read_text() == "old\n" and copy.read_text() == "x" * 100_000
        assert sorted(path.name for path in disk.path.rglob("*")) == ["dict.txt", "filler", "stamps", "text"]


RECIPE = f'exec bash "{SCRIPTS}/g2p/run.sh" "$@"'


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "--data FOLDER is needed: the folder task1/data of https://github.com/sigmorphon/2020"),
        (["--data", "/nowhere"], "--data /nowhere: is no folder"),
        (["--smoke", "--languages", "fre fre"], "--languages fre fre: says one twice"),
        (["--smoke", "--seeds", "1 2", "--seed", "3"], "--seed 3 and --seeds 1 2: say one of them"),
        (["--smoke", "--dropout", "1"], "--dropout 1: must be a number from 0 to below 1"),
        (["--smoke", "--", "--max-epoch", "3"], "--max-epoch after --: say --epochs before it"),
        (["--smoke", "--", "--seed=3"], "--seed=3 after --: say --seeds before it"),
        (["--smoke", "--word-dropout", "0.1"], "unknown option --word-dropout; the options are: --data --languages"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_g2p_recipe_refuses(tmp_path, args, message):
    found = bash(RECIPE, "--work", str(tmp_path / "work"), *args)
    assert found.returncode == 1 and message in found.stderr
    assert not (tmp_path / "work").exists()


def test_the_g2p_recipe_shows_its_options():
    found = bash(RECIPE, "--help")
    assert found.returncode == 0 and found.stderr == ""
    assert '--seeds "N ..."' in found.stdout and '--languages "LANG ..."' in found.stdout
