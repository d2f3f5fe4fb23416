"""What scripts/lib.sh says of options, and how the g2p recipe uses it: no environment is made for any of these."""

import os
import subprocess

import pytest

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
