"""Recipes that are killed before any operation on files go on to the result of an unbroken run, there and back.

Trainings are stood in for by stand_ins.sh; what the recipes themselves do with files is real.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.scripts.loading import SCRIPTS

HERE = Path(__file__).parent
ROOT = SCRIPTS.parent


class Recipe(NamedTuple):
    """Attributes:
    script: of the recipe.
    other: options of another training, whose folder the first one has to leave.
    made: what it makes, as patterns below --work.
    """

    script: str
    other: list
    made: list


RECIPES = {
    "en_zh": Recipe("scripts/en_zh/run.sh", ["--seed", "2"], ["checkpoints/*", "model/*", "output/*", "stamps/*"]),
    "g2p": Recipe("examples/g2p/run.sh", ["--lr", "1e-3"], ["fre/seed-*/*", "stamps/*", "dev.txt"]),
    "speech": Recipe(
        "examples/speech_digits/run.sh", ["--seed", "2"], ["checkpoints/*", "model.pt", "*.txt", "stamps/*"]
    ),
}


class Sandbox:
    """A copy of the scripts that runs with stand-ins for python and fairseq, and a preloaded library that kills."""

    def __init__(self, root: Path, recipe: Recipe):
        self.root, self.recipe, self.work = root, recipe, root / "work"
        shutil.copytree(ROOT / "scripts", root / "scripts")
        shutil.copytree(ROOT / "examples", root / "examples")
        (root / "bin").mkdir()
        for name in ("python", "fairseq-train", "fairseq-preprocess", "fairseq-generate"):
            shutil.copy(HERE / "stand_ins.sh", root / "bin" / name)
            (root / "bin" / name).chmod(0o755)
        # The environment is not what is tested here.
        (root / "scripts" / "setup.sh").write_text(f'VENV={root}; PY={root}/bin/python; PATH="{root}/bin:$PATH"\n')
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            pytest.skip("a C compiler and Linux are needed to kill at an operation on files")
        build = [compiler, "-shared", "-fPIC", "-o", root / "killer.so", HERE / "killer.c", "-ldl"]
        subprocess.run(build, check=True)

    def run(self, *options, kill_at: int = 0) -> int:
        """Runs the recipe, which is killed before the operation of number `kill_at`. Returns how many there were."""
        counted = self.root / "counted"
        counted.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("S2S_")} | {
            "LD_PRELOAD": str(self.root / "killer.so"), "KILL_UNDER": str(self.work), "KILL_AT": str(kill_at),
            "COUNT_IN": str(counted), "REAL_PYTHON": sys.executable, "TRAINED": str(self.root / "trained"),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", self.root / self.recipe.script, "--smoke", "--work", self.work, *options],
            env=environment, capture_output=True, encoding="utf-8", timeout=60, start_new_session=True,
        )  # fmt: skip
        assert done.returncode == (-9 if kill_at else 0), f"{kill_at}: {done.returncode}\n{done.stdout}{done.stderr}"
        return counted.stat().st_size

    def made(self) -> dict:
        """The contents of what the recipe made, by its name."""
        found = [path for pattern in self.recipe.made for path in self.work.glob(pattern) if path.is_file()]
        return {str(path.relative_to(self.work)): path.read_bytes() for path in sorted(found)}

    def assert_made(self, expected: dict, when: str) -> None:
        """All is as expected; a training that was killed may have kept an epoch more, which nothing is made of."""
        made = self.made()
        superfluous = [name for name in made.keys() - expected.keys() if re.fullmatch(r".*/checkpoint\d+\.pt", name)]
        assert {name: text for name, text in made.items() if name not in superfluous} == expected, when

    def epochs_trained(self) -> int:
        """How many epochs have been trained since this was last asked."""
        trained = self.root / "trained"
        count = len(trained.read_text().split("\n")) - 1 if trained.exists() else 0
        trained.unlink(missing_ok=True)
        return count

    def restore(self, kept: Path) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        if kept.exists():
            shutil.copytree(kept, self.work, symlinks=True)

    def keep(self, kept: Path) -> None:
        shutil.copytree(self.work, kept, symlinks=True)


def check(sandbox: Sandbox, places, further: bool) -> int:
    """Kills the other training, which comes after the first one, at each place, and goes back to the first.

    With `further` also on with the other, and then back. Returns how many places there are.
    """
    other, first_kept, killed = sandbox.recipe.other, sandbox.root / "first", sandbox.root / "killed"
    sandbox.run()
    first = sandbox.made()
    sandbox.keep(first_kept)
    count = sandbox.run(*other)
    second = sandbox.made()
    assert first != second
    sandbox.run()
    assert sandbox.made() == first
    for place in places(count):
        sandbox.restore(first_kept)
        sandbox.run(*other, kill_at=place)
        shutil.rmtree(killed, ignore_errors=True)
        sandbox.keep(killed)
        sandbox.epochs_trained()
        sandbox.run()
        sandbox.assert_made(first, f"killed at {place} of {count}, then back")
        if not list(killed.glob("old-[0-9]")):
            assert sandbox.epochs_trained() == 0, f"killed at {place} of {count}: trained again"
        if not further:
            continue
        sandbox.restore(killed)
        sandbox.run(*other)
        sandbox.assert_made(second, f"killed at {place} of {count}, then again")
        # Nothing of the first is lost: it is aside, once.
        models = [path.read_bytes() for path in sandbox.work.glob("old-*/**/model.pt")]
        assert models == [value for name, value in first.items() if name.endswith("model.pt")], place
        assert not (sandbox.work / "old-half").exists()
        sandbox.run()
        sandbox.assert_made(first, f"killed at {place} of {count}, again, then back")
    return count


def test_killed_while_a_former_model_is_set_aside(tmp_path):
    check(Sandbox(tmp_path, RECIPES["en_zh"]), lambda count: (5, 10, 13, 15, 22), further=False)


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_at_each_operation(recipe, tmp_path):
    print(recipe, check(Sandbox(tmp_path, RECIPES[recipe]), lambda count: range(1, count + 1), further=True))
