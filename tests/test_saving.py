"""Files that are written whole or not at all."""

import errno
import os
import shutil

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from s2s_plugin import saving
from s2s_plugin.compress.folder import new_folder
from s2s_plugin.saving import SaveError, save_in_one_step, write_text_in_one_step
from tests.disks import small_disk

SMALL, LARGE = {"weights": torch.arange(1000)}, {"weights": torch.zeros(300_000)}
NO_ROOM = "cannot write {}: No space left on device; make room and run the same command again"


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 1024) as disk:
        yield disk


@pytest.fixture(autouse=True)
def seconds_waited(monkeypatch) -> list:
    waited = []
    monkeypatch.setattr("s2s_plugin.fairseq_patches.time.sleep", waited.append)
    return waited


def save_as_fairseq(state, path):
    checkpoint_utils.torch_persistent_save(state, str(path))


@pytest.mark.parametrize("save", [save_in_one_step, save_as_fairseq])
@pytest.mark.parametrize("room", [0, 8, 500])
def test_a_checkpoint_is_saved_whole_or_not_at_all(save, room, disk, seconds_waited):
    path = disk.path / "checkpoint_last.pt"
    save(SMALL, path)
    disk.fill(leave=room)
    with pytest.raises(SaveError) as caught:
        save(LARGE, path)
    assert str(caught.value) == NO_ROOM.format(path) and caught.value.errno == errno.ENOSPC
    assert torch.load(path)["weights"].equal(SMALL["weights"])
    assert sorted(os.listdir(disk.path)) == ["checkpoint_last.pt", "filler"] and not seconds_waited
    disk.empty()
    disk.resize(2048)
    save(LARGE, path)
    assert torch.load(path)["weights"].equal(LARGE["weights"]) and os.listdir(disk.path) == [path.name]


def test_a_text_is_written_whole_or_not_at_all(disk):
    path = disk.path / "shortlist"
    write_text_in_one_step(path, "a ä\r\n")
    disk.fill()
    with pytest.raises(SaveError, match="No space left on device"):
        write_text_in_one_step(path, "b" * 100_000)
    assert path.read_bytes() == "a ä\r\n".encode() and sorted(os.listdir(disk.path)) == ["filler", "shortlist"]


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_save_that_fails_at_any_point_leaves_the_old_file(broken, tmp_path, monkeypatch):
    """A short write raises in the end; the system may also refuse to sync or to rename."""
    path = tmp_path / "model.pt"
    save_in_one_step(SMALL, path)

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(*((torch, "save") if broken == "write" else (os, broken)), fail)
    with pytest.raises(SaveError, match=f"^cannot write {path}: Input/output error$"):
        save_in_one_step(LARGE, path)
    monkeypatch.undo()
    assert torch.load(path)["weights"].equal(SMALL["weights"]) and os.listdir(tmp_path) == ["model.pt"]


def test_another_error_is_raised_as_it_is(tmp_path):
    with pytest.raises(Exception, match="pickle"):
        save_in_one_step({"function": lambda: None}, tmp_path / "model.pt")
    assert os.listdir(tmp_path) == []


def test_fairseq_tries_again_where_a_disk_fails_for_a_while(tmp_path, monkeypatch, seconds_waited):
    failures, sync = [1, 1], os.fsync

    def fail_twice(handle):
        if failures:
            failures.pop()
            raise OSError(errno.EIO, "Input/output error")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fail_twice)
    save_as_fairseq(SMALL, tmp_path / "checkpoint_last.pt")
    assert torch.load(tmp_path / "checkpoint_last.pt")["weights"].equal(SMALL["weights"]) and len(seconds_waited) == 2
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(SaveError, match="broken"):
        save_as_fairseq(SMALL, tmp_path / "checkpoint_last.pt")
    assert len(seconds_waited) == 4


def test_a_checkpoint_gets_its_other_names_on_a_full_disk(disk):
    first, last = disk.path / "checkpoint1.pt", disk.path / "checkpoint_last.pt"
    save_in_one_step({"weights": torch.zeros(100_000)}, first)
    save_in_one_step(SMALL, last)
    disk.fill()
    for _ in range(2):  # the second time it has that name already
        assert PathManager.copy(str(first), str(last), overwrite=True)
        assert last.read_bytes() == first.read_bytes()
    assert sorted(os.listdir(disk.path)) == ["checkpoint1.pt", "checkpoint_last.pt", "filler"]
    save_in_one_step(SMALL, first)
    assert len(torch.load(last)["weights"]) == 100_000


def test_a_checkpoint_is_copied_where_files_have_one_name(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, last = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_last.pt"
    save_in_one_step(SMALL, first)
    last.write_bytes(b"old")
    assert PathManager.copy(str(first), str(last), overwrite=True)
    assert last.read_bytes() == first.read_bytes() and not last.samefile(first)
    monkeypatch.undo()
    (tmp_path / "elsewhere").mkdir()
    elsewhere = tmp_path / "elsewhere" / "dict.txt"
    assert PathManager.copy(str(first), str(elsewhere)) and not elsewhere.samefile(first)
    shutil.rmtree(tmp_path / "elsewhere")
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(saving.shutil, "copyfileobj", refuse)
    last.write_bytes(b"old")
    with pytest.raises(SaveError, match="Operation not permitted"):
        PathManager.copy(str(first), str(last), overwrite=True)
    assert last.read_bytes() == b"old" and len(os.listdir(tmp_path)) == 2


def test_a_folder_that_cannot_be_filled_leaves_nothing(disk):
    disk.fill(leave=300)
    with pytest.raises(SaveError, match="No space left on device"), new_folder(disk.path / "small") as folder:
        save_in_one_step(LARGE, folder / "model.pt")
    named = f"^cannot write {disk.path / 'small'}: No space left"
    with pytest.raises(SaveError, match=named), new_folder(disk.path / "small") as folder:
        (folder / "graph.onnx").write_bytes(bytes(2**20))
    assert os.listdir(disk.path) == ["filler"]
