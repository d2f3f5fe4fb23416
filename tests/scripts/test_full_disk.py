"""A recipe on a disk that is too small: it says so, loses nothing, and goes on when there is room again."""

import os
import subprocess
import tempfile
import time
import zipfile

import pytest

from tests.disks import small_disk
from tests.helpers import assert_same_parameters
from tests.scripts.loading import SCRIPTS

ROOT = SCRIPTS.parent


def command(work) -> list:
    return ["bash", ROOT / "scripts" / "en_zh" / "run.sh", "--smoke", "--work", work]


def environment() -> dict:
    return {name: value for name, value in os.environ.items() if not name.startswith("S2S_")}


def reached(work) -> list[str]:
    """The stages that are done and the checkpoints that are there, by which a run is seen to have come further."""
    paths = [*work.glob("stamps/*"), *work.glob("checkpoints/*.pt")]
    return sorted(path.name for path in paths if path.suffix != ".new")


def run_until_full(work, disk) -> tuple[int, str]:
    """Runs the recipe; as soon as it has come further the room is used up. Returns its exit status and all it said."""
    before = reached(work)
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as said,
        subprocess.Popen(command(work), env=environment(), stdout=said, stderr=subprocess.STDOUT) as process,
    ):
        while process.poll() is None:
            time.sleep(0.02)
            if reached(work) != before:
                before = reached(work)
                disk.fill(leave=1)
        said.seek(0)
        return process.returncode, said.read()


@pytest.mark.long
def test_a_recipe_goes_on_when_there_is_room_again(tmp_path):
    """The room is used up before each stage, each checkpoint and each stamp, and in the midst of what takes much."""
    whole = tmp_path / "whole"
    subprocess.run(command(whole), env=environment(), check=True)
    stopped_after = set()
    with small_disk(tmp_path / "disk", 100_000) as disk:
        work, leave, status = disk.path / "work", 1, 1
        while status != 0:
            before = reached(work)
            disk.fill(leave=leave)
            status, said = run_until_full(work, disk)
            after = reached(work)
            print(f"--- {leave} kB: {status}, {after}\n{said}")
            for name in before:
                assert f"==> {name:11} again" not in said
            for path in work.glob("checkpoints/*.pt"):
                assert zipfile.is_zipfile(path)
            if status != 0:
                assert status == 1 and "Traceback" not in said
                assert said.splitlines()[-1].startswith(("error: ", "  full log: "))
                assert "make room and run the same command again" in said
                stopped_after.update(after)
            disk.empty()
            leave = 1 if after != before else leave * 16
        assert {"text", "vocabulary", "checkpoint1.pt", "checkpoint2.pt", "training", "model"} <= stopped_after
        assert_same_parameters(work / "model" / "model.pt", whole / "model" / "model.pt")
        for name in ("output/score.txt", "output/samples.txt", "model/search", "model/languages", "stamps/test"):
            assert (work / name).read_bytes() == (whole / name).read_bytes()
        assert not [path for path in work.rglob("*") if path.suffix in (".new", ".tmp")]
