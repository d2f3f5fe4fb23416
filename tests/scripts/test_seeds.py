"""A recipe with several seeds: how scripts/seeds.sh calls it, and the table."""

import shutil
import subprocess
import sys

import pytest

from tests.scripts.loading import SCRIPTS, load_script

seeds_table = load_script("seeds_table.py")

# Leaves what a recipe leaves, and says how it was called. Fails for the seed 9.
RECIPE = """
echo "$@" >>"$(dirname "$0")/calls"
while [ "$1" != --work ]; do shift; done
mkdir -p "$2/output"
[ "$4" != 9 ] || exit 3
printf 'valid:\\nBLEU|tok:none = 3%s.00 1/2/3/4 (BP = 1.000)\\nchrF2|nc:6 = 50.5\\n' "$4" >"$2/output/score.txt"
"""


@pytest.fixture
def run(tmp_path):
    """Runs seeds.sh with a recipe of its own, in a tree where the environment is the Python of the tests."""
    (tmp_path / "scripts" / "toy").mkdir(parents=True)
    for name in ("seeds.sh", "lib.sh", "seeds_table.py"):
        shutil.copy(SCRIPTS / name, tmp_path / "scripts")
    (tmp_path / "scripts" / "setup.sh").write_text(f"PY={sys.executable}\n")
    (tmp_path / "scripts" / "toy" / "run.sh").write_text(RECIPE)

    def run(*args):
        words = ["bash", "scripts/seeds.sh", *args]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60)

    return run


def test_each_seed_has_a_folder_and_a_row(run, tmp_path):
    done = run("1 3", "bash", "scripts/toy/run.sh", "--data", "x y", "--", "--seed", "7")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "work" / "seeds" / "toy"
    calls = (tmp_path / "scripts" / "toy" / "calls").read_text().splitlines()
    assert calls == [f"--data x y --work {folder}/seed-{seed} --seed {seed} -- --seed 7" for seed in (1, 3)]
    assert done.stdout.split("\n\n", 1)[1] == (
        "| seed | valid BLEU | valid chrF2 |\n|---|---|---|\n| 1 | 31.00 | 50.50 |\n| 3 | 33.00 | 50.50 |\n"
        "| mean | 32.00 | 50.50 |\n| deviation | 1.41 | 0.00 |\n\nBLEU: tok:none\nchrF2: nc:6\n"
    )


@pytest.mark.parametrize("args", [["--work", "there"], ["--work=there"]])
def test_the_folders_are_in_the_work_of_the_command(run, tmp_path, args):
    assert run("2", "bash", "scripts/toy/run.sh", *args).returncode == 0
    assert (tmp_path / "there" / "seed-2" / "output" / "score.txt").exists()


def test_a_run_that_fails_ends_it(run):
    done = run("9 1", "bash", "scripts/toy/run.sh")
    assert done.returncode == 3 and "seed 1" not in done.stdout


@pytest.mark.parametrize(
    "args, message",
    [
        (["1 x", "bash", "scripts/toy/run.sh"], "x must be a whole number"),
        (["1 1", "bash", "scripts/toy/run.sh"], "says one twice"),
        ([" ", "bash", "scripts/toy/run.sh"], "a list of seeds"),
        (["1"], "which command?"),
        (["1", "env"], "--work FOLDER is needed"),
        (["1", "bash", "scripts/toy/run.sh", "--seed", "2"], "the seeds are the first argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refuses(run, args, message):
    done = run(*args)
    assert done.returncode == 1 and message in done.stderr


def test_scores_of_several_sets():
    lines = ["2016:", "BLEU|a|b = 39.10 70/50 (BP = 0.9)", "chrF2|c = 60", "", "2017:", "BLEU|a|b = 31.25 60"]
    scores, signatures = seeds_table.read_scores(lines)
    assert scores == {"2016 BLEU": 39.1, "2016 chrF2": 60.0, "2017 BLEU": 31.25}
    assert signatures == {"BLEU": "a|b", "chrF2": "c"}
    assert list(seeds_table.read_scores(["BLEU|a = 1.5"])[0]) == ["BLEU"]
    with pytest.raises(ValueError, match="no scores"):
        seeds_table.read_scores(["valid:"])


def test_one_seed_has_no_mean():
    assert seeds_table.table({4: {"BLEU": 1.0}}) == "| seed | BLEU |\n|---|---|\n| 4 | 1.00 |"


def test_scores_of_different_kinds_are_not_averaged(tmp_path):
    for seed, line in ((1, "BLEU|tok:none = 1.0"), (2, "BLEU|tok:zh = 1.0")):
        (tmp_path / f"seed-{seed}" / "output").mkdir(parents=True)
        (tmp_path / f"seed-{seed}" / "output" / "score.txt").write_text(line + "\n")
    with pytest.raises(ValueError, match="seed-2.*scored otherwise than seed 1"):
        seeds_table.main(tmp_path, [1, 2])
