"""Checkpoints that are broken or hold code are refused by every command that reads one."""

import builtins
import os
import pickle
import re
import subprocess

import pytest
import torch

from tests.helpers import (
    Refused,
    digests,
    read_checkpoint,
    run_generate,
    run_interactive,
    run_train,
    run_validate,
)


class Payload:
    """Unpickling it calls `function(*args)`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


PAYLOADS = {
    "system": lambda trace: Payload(os.system, f"touch '{trace}'"),
    "Popen": lambda trace: Payload(subprocess.Popen, ["touch", str(trace)]),
    "exec": lambda trace: Payload(builtins.exec, f"open({str(trace)!r}, 'w').close()"),
    "getattr": lambda trace: Payload(getattr, Payload(open, str(trace), "w"), "name"),
}


@pytest.fixture
def readers(data, tmp_path):
    """By its name, what hands a checkpoint to each command."""
    source = tmp_path / "source"
    source.write_text("a b\n")
    return {
        "generate": lambda path: run_generate(data, path),
        "interactive": lambda path: run_interactive(data, path, source),
        "validate": lambda path: run_validate(data, path),
        "resume": lambda path: run_train(data, path.parent, max_update=20),
        "restore": lambda path: run_train(data, tmp_path / "new", max_update=20, restore_file=path),
        "finetune": lambda path: run_train(data, tmp_path / "new", max_update=20, finetune_from_model=path),
    }


READERS = ["generate", "interactive", "validate", "resume", "restore", "finetune"]


@pytest.fixture
def checkpoint(data, model, tmp_path):
    """A good one, alone in its folder."""
    path = tmp_path / "model" / "checkpoint_last.pt"
    path.parent.mkdir()
    torch.save(read_checkpoint(model.checkpoint), path)
    return path


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("reader", READERS)
def test_code_in_a_checkpoint_is_named_and_not_run(reader, name, readers, checkpoint, tmp_path):
    trace = tmp_path / "trace"
    state = read_checkpoint(checkpoint)
    state["extra_state"]["harmless"] = PAYLOADS[name](trace)
    torch.save(state, checkpoint)
    before = digests(checkpoint.parent)
    with pytest.raises(Refused) as refused:
        readers[reader](checkpoint)
    message = str(refused.value)
    assert f"CheckpointError: {checkpoint} is refused: loading it would call " in message
    assert re.search(rf"would call (\w+\.)?{name}, which no fairseq checkpoint needs", message)
    assert "weights_only" not in message, "torch's advice is to drop the protection"
    assert not trace.exists()
    assert digests(checkpoint.parent) == before


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_payloads_work(name, tmp_path):
    """Without the protection they would have run."""
    trace = tmp_path / "trace"
    result = pickle.loads(pickle.dumps(PAYLOADS[name](trace)))
    if isinstance(result, subprocess.Popen):
        result.wait()
    assert trace.exists()


@pytest.mark.parametrize("form", ["old format of torch.save", "bare pickle"])
def test_other_ways_to_write_a_pickle(form, readers, checkpoint, tmp_path):
    trace = tmp_path / "trace"
    state = {"model": {}, "cfg": Payload(os.system, f"touch '{trace}'")}
    if form == "bare pickle":
        checkpoint.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, checkpoint, _use_new_zipfile_serialization=False)
    for reader in ("generate", "resume"):
        with pytest.raises(Refused, match="CheckpointError: .*checkpoint_last.pt is "):
            readers[reader](checkpoint)
    assert not trace.exists()


@pytest.mark.parametrize("content", ["empty", "truncated", "text", "zeros", "other tensors"])
@pytest.mark.parametrize("reader", READERS)
def test_broken_files_are_named(reader, content, readers, checkpoint):
    whole = checkpoint.read_bytes()
    contents = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "text": b"These are no tensors.\n" * 100,
        "zeros": bytes(5000),
    }
    if content in contents:
        checkpoint.write_bytes(contents[content])
    else:
        torch.save({"weight": torch.ones(3)}, checkpoint)
    before = digests(checkpoint.parent)
    with pytest.raises(Refused) as refused:
        readers[reader](checkpoint)
    assert f"CheckpointError: {checkpoint} is " in str(refused.value)
    assert "not a checkpoint" in str(refused.value)
    assert digests(checkpoint.parent) == before


def test_missing_checkpoint_is_named(readers, tmp_path):
    with pytest.raises(Refused, match="Model file not found: .*/nowhere.pt"):
        readers["generate"](tmp_path / "nowhere.pt")
