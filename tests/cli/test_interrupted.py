"""Training that is killed goes on where it was, and ends as if nothing had happened."""

import os
import signal
import subprocess

import pytest

from tests.disks import small_disk
from tests.helpers import ROOT, assert_same_parameters, command, environment, read_checkpoint, run_train, train_args

UPDATES_IN_EPOCH = 38


def long_args(data, save_dir) -> list:
    return train_args(
        data, save_dir, "--encoder-bidirectional",
        batch_size=8, max_update=80, dropout=0.3, save_interval_updates=5, log_interval=1, num_workers=1,
        lr_scheduler="inverse_sqrt", warmup_updates=20,
    )  # fmt: skip


def train_until_killed(args, update: int) -> None:
    """Runs fairseq-train in a process of its own and kills it as soon as it has logged the update."""
    with subprocess.Popen(
        command("fairseq-train", *args), cwd=ROOT, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        log = []
        for line in process.stdout:
            log.append(line)
            if f'"num_updates": "{update}"' in line:
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.stdout.close()
        code = process.wait(60)
    assert code == -signal.SIGKILL, "".join(log[-20:])


@pytest.mark.parametrize("update", [13, UPDATES_IN_EPOCH + 14], ids=["first epoch", "second epoch"])
def test_killed_in_mid_epoch_ends_with_the_parameters_of_an_unbroken_run(update, data, tmp_path):
    train_until_killed(long_args(data, tmp_path / "killed"), update)
    last = read_checkpoint(tmp_path / "killed" / "checkpoint_last.pt")
    reached = last["optimizer_history"][-1]["num_updates"]
    assert update - 5 <= reached < 80 and reached % UPDATES_IN_EPOCH != 0
    assert last["extra_state"]["train_iterator"]["iterations_in_epoch"] > 0

    log = run_train_again(long_args(data, tmp_path / "killed"))
    assert f"@ {reached} updates)" in log
    unbroken = tmp_path / "unbroken" / "checkpoint_last.pt"
    run_train_again(long_args(data, tmp_path / "unbroken"))
    assert_same_parameters(tmp_path / "killed" / "checkpoint_last.pt", unbroken)
    states = [
        read_checkpoint(path)["last_optimizer_state"]["state"]
        for path in (tmp_path / "killed" / "checkpoint_last.pt", unbroken)
    ]
    for number, state in states[0].items():
        assert state["exp_avg"].equal(states[1][number]["exp_avg"])


def run_train_again(args) -> str:
    done = subprocess.run(
        command("fairseq-train", *args), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_a_checkpoint_is_replaced_in_one_step(data, tmp_path):
    """Whoever holds the old checkpoint_last.pt open still reads all of it: it was not written over, so that a kill
    during the writing leaves the old file or the new one, never half a one."""
    run_train(data, tmp_path, max_update=10)
    path = tmp_path / "checkpoint_last.pt"
    before = path.read_bytes()
    with path.open("rb") as held:
        run_train(data, tmp_path, max_update=30)
        assert path.read_bytes() != before
        assert held.read() == before


def test_a_training_goes_on_when_there_is_room_again(data, tmp_path):
    """It ends with one line and status 1; what was saved before is whole, and the next run goes on from there."""
    with small_disk(tmp_path / "disk", 4000) as disk:
        saved = disk.path / "checkpoints"
        run_train(data, saved, max_update=UPDATES_IN_EPOCH, batch_size=8)
        before = (saved / "checkpoint_last.pt").read_bytes()
        disk.fill(leave=10)
        args = train_args(data, saved, max_update=2 * UPDATES_IN_EPOCH, batch_size=8)
        done = subprocess.run(
            command("fairseq-train", *args), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=180
        )
        path = saved / "checkpoint_best.pt"
        line = f"error: cannot write {path}: No space left on device; make room and run the same command again"
        assert done.returncode == 1 and done.stderr.splitlines()[-1] == line and "Traceback" not in done.stderr
        assert sorted(os.listdir(saved)) == ["checkpoint_best.pt", "checkpoint_last.pt"]
        assert (saved / "checkpoint_last.pt").read_bytes() == before
        disk.empty()
        log = run_train(data, saved, max_update=2 * UPDATES_IN_EPOCH, batch_size=8).log
        assert f"@ {UPDATES_IN_EPOCH} updates)" in log
        run_train(data, tmp_path / "unbroken", max_update=2 * UPDATES_IN_EPOCH, batch_size=8)
        assert_same_parameters(saved / "checkpoint_last.pt", tmp_path / "unbroken" / "checkpoint_last.pt")
