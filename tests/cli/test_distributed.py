"""Two processes on CPUs (gloo) train as one does."""

import shutil
import socket
import subprocess

import pytest

from tests.helpers import (
    ROOT,
    Output,
    assert_same_parameters,
    command,
    environment,
    read_checkpoint,
    run_train,
    train_args,
)

OPTIONS = {"dropout": 0.0, "max_update": 0, "lr": 0.002, "batch_size": 12}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def train_as_two(data, save_dir, *words, **options) -> Output:
    """The output of the first of two processes with the same options."""
    address = f"tcp://127.0.0.1:{free_port()}"
    processes = []
    for rank in (0, 1):
        args = train_args(
            data, save_dir, "--distributed-no-spawn", *words,
            distributed_world_size=2, distributed_rank=rank, distributed_backend="gloo", ddp_backend="legacy_ddp",
            distributed_init_method=address, **options,
        )  # fmt: skip
        line, pipe = command("fairseq-train", *args), subprocess.PIPE
        processes.append(subprocess.Popen(line, cwd=ROOT, env=environment(), text=True, stdout=pipe, stderr=pipe))
    try:
        (stdout, stderr), (_, other_stderr) = (process.communicate(timeout=180) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], stderr[-2000:] + other_stderr[-2000:]
    return Output(stdout, stdout + stderr)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Two epochs as one process, which adds the gradients of two batches before each update, and as two with one batch
    each: the same sums. An epoch has an odd number of batches, so that the second process has none at its end."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    outputs = (
        run_train(data, one, update_freq=2, max_epoch=2, **OPTIONS),
        train_as_two(data, two, max_epoch=2, **OPTIONS),
    )
    return (one, two), outputs


def assert_same_training(folders, outputs, updates: int) -> None:
    for kind, name in (("train", "train_loss"), ("train", "train_gnorm"), ("valid", "valid_loss")):
        one, two = ([row[name] for row in output.stats(kind)] for output in outputs)
        assert one == pytest.approx(two, abs=1.01e-3), name  # they are logged with three digits
    paths = [folder / "checkpoint_last.pt" for folder in folders]
    assert [read_checkpoint(path)["optimizer_history"][-1]["num_updates"] for path in paths] == [updates, updates]
    assert_same_parameters(*paths, atol=1e-5, rtol=1e-4)


def test_two_processes_train_to_the_loss_of_one(trained):
    assert_same_training(*trained, updates=26)


def test_two_processes_resume_as_one_does(data, trained, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in trained[0]]
    outputs = (
        run_train(data, folders[0], update_freq=2, max_epoch=3, **OPTIONS),
        train_as_two(data, folders[1], max_epoch=3, **OPTIONS),
    )
    assert "checkpoint_last.pt (epoch 3 @ 26 updates)" in outputs[1].log
    assert_same_training(folders, outputs, updates=39)
