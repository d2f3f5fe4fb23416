"""What `torch.save` writes is read back; what would crash, run something or take memory without end is refused."""

import argparse
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy
import pytest
import torch

from s2s_plugin.stored import Refused, StoredFileError, read
from tests.test_hostile_settings import peak_memory


class Calls:
    """Is pickled as a call."""

    def __init__(self, function, *arguments, state=None):
        self.made = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.made


def numpy_dtype(name="f8", state=None):
    return Calls(numpy.dtype, name, False, True, state=state)


def numpy_array(state, kind=numpy.ndarray, shape=(0,), code=b"b"):
    return Calls(numpy._core.multiarray._reconstruct, kind, shape, code, state=state)


def write(path, content, **options):
    torch.save(content, path, **options)
    return path


def rezip(path, change, compression=zipfile.ZIP_STORED):
    """Writes a checkpoint anew. Args: change, called with name and bytes of each part."""
    parts = [(entry.filename, zipfile.ZipFile(path).read(entry)) for entry in zipfile.ZipFile(path).infolist()]
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in parts:
            new.writestr(name, change(name, content))
    return path


HONEST = {
    "args": argparse.Namespace(arch="lstm", lr=[0.1], betas=(0.9, 0.98)),
    "model": OrderedDict(w=torch.arange(12.0).view(3, 4).t(), h=torch.ones(2, dtype=torch.bfloat16), z=torch.zeros(0)),
    "state": [torch.tensor([True, False]), torch.tensor(3, dtype=torch.int8), {1: {2, 3}}, 2**70, None, "ü", b"\xff"],
    "numpy": [numpy.float64(1.5), numpy.int64(-3), numpy.bool_(True), numpy.arange(6).reshape(2, 3)],
}


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "pickles"])
def test_what_was_stored_is_read_and_can_be_stored_again(is_zip, tmp_path):
    path = write(tmp_path / "a.pt", HONEST, _use_new_zipfile_serialization=is_zip)
    for _ in range(2):
        found = read(path)
        assert found["args"] == HONEST["args"]
        assert all(torch.equal(found["model"][name], tensor) for name, tensor in HONEST["model"].items())
        assert found["model"]["w"].stride() == (1, 4) and found["state"][2:] == HONEST["state"][2:]
        assert found["numpy"][:3] == HONEST["numpy"][:3] and isinstance(found["numpy"][0], numpy.float64)
        assert numpy.array_equal(found["numpy"][3], HONEST["numpy"][3])
        path = write(tmp_path / "b.pt", found)
    assert torch.load(path, weights_only=True)["numpy"][3].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_metadata_of_a_state_and_tied_parameters_are_kept(tmp_path):
    layer = torch.nn.LSTM(3, 4)
    state = layer.state_dict()
    state["again"] = state["weight_ih_l0"]
    found = read(write(tmp_path / "a.pt", state))
    assert found._metadata == state._metadata and isinstance(found, OrderedDict)
    assert found["again"].data_ptr() == found["weight_ih_l0"].data_ptr()


NATIVE = (3, "<", None, None, None, -1, -1, 0)
HOSTILE_NUMPY = {
    "objects": numpy_array((1, (4,), numpy_dtype("O8", (3, "|", None, None, None, -1, -1, 63)), False, [1])),
    "fewer bytes": numpy_array((1, (1000,), numpy_dtype("f8", NATIVE), False, b"x" * 8)),
    "many numbers": numpy_array((1, (1 << 40,), numpy_dtype("f8", NATIVE), False, b"")),
    "negative": numpy_array((1, (-1, -8), numpy_dtype("f8", NATIVE), False, b"x" * 64)),
    "fields": numpy_array(
        (1, (1,), numpy_dtype("f8", (3, "|", None, ("a",), {"a": (numpy_dtype("f8"), 4096)}, 8, 1, 0)), False, b"x" * 8)
    ),
    "subarray": numpy_dtype("f8", (3, "|", (numpy_dtype("f8"), (1 << 30,)), None, None, -1, -1, 0)),
    "wide text": numpy_dtype("U1000000000"),
    "wide bytes": numpy_dtype("V8"),
    "list for bytes": numpy_array((1, (1,), numpy_dtype("f8", NATIVE), False, [1.0])),
    "no state": numpy_array(5),
    "shape of the first": Calls(numpy._core.multiarray._reconstruct, numpy.ndarray, (1 << 40,), b"d"),
    "scalar of objects": Calls(numpy._core.multiarray.scalar, numpy_dtype("O8"), b"12345678"),
    "scalar too short": Calls(numpy._core.multiarray.scalar, numpy_dtype("f8"), b""),
    "scalar of no dtype": Calls(numpy._core.multiarray.scalar, "f8", b"12345678"),
    "array's own dtype": Calls(numpy.dtype, {"names": ["a"], "formats": ["f8"], "offsets": [1 << 40]}),
}


@pytest.mark.parametrize("reader", [read, lambda path: torch.load(path, weights_only=True)], ids=["ours", "torch"])
@pytest.mark.parametrize("name", HOSTILE_NUMPY)
def test_numpys_classes_crash_nothing(name, reader, tmp_path):
    path = write(tmp_path / "a.pt", {"x": HOSTILE_NUMPY[name]})
    before = peak_memory()
    with pytest.raises(Exception, match="(?s)numpy's|no fairseq checkpoint needs|Unsupported|missing 1 required"):
        reader(path)
    assert peak_memory() < before + 50e6


def storage_of(count: int, key: str = "0"):
    """A persistent id of torch's."""
    return ("storage", torch.FloatStorage, key, "cpu", count)


class Writer(pickle._Pickler):
    """Pickles tuples that begin with `storage` as torch's storages."""

    def persistent_id(self, one):
        return one if isinstance(one, tuple) and one[:1] == ("storage",) else None


def pickled(content) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(content)
    return stream.getvalue()


def rebuild(storage, offset, size, stride):
    return Calls(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())


def write_pickle(path, content: bytes, data: bytes = bytes(16)):
    """A zip file as torch writes it, of a pickle and one storage."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", data)
        archive.writestr("archive/version", b"3\n")
    return path


HOSTILE_TENSORS = {
    "more numbers than bytes": rebuild(storage_of(1 << 30), 0, (1 << 30,), (1,)),
    "fewer numbers than bytes": rebuild(storage_of(1), 0, (1,), (1,)),
    "outside": rebuild(storage_of(4), 3, (2,), (1,)),
    "before": rebuild(storage_of(4), -1, (2,), (1,)),
    "one number for many": rebuild(storage_of(4), 0, (1 << 40,), (0,)),
    "negative size": rebuild(storage_of(4), 0, (-1,), (1,)),
    "negative stride": rebuild(storage_of(4), 0, (2,), (-1,)),
    "size no whole number": rebuild(storage_of(4), 0, (2.0,), (1,)),
    "more strides": rebuild(storage_of(4), 0, (2,), (1, 1)),
    "size a text": rebuild(storage_of(4), 0, "ab", "cd"),
    "no storage": rebuild(5, 0, (2,), (1,)),
    "a part that is missing": rebuild(storage_of(4, "1"), 0, (2,), (1,)),
    "many of the same": [rebuild(storage_of(4), 0, (4,), (1,)) for _ in range(400)],
    "a parameter of nothing": Calls(torch._utils._rebuild_parameter, 5, True, OrderedDict()),
    "module": Calls(torch._utils._rebuild_tensor_v2, ("storage", "x"), 0, (1,), (1,), False, OrderedDict()),
    "its state": Calls(
        torch._utils._rebuild_tensor_v2, storage_of(4), 0, (4,), (1,), False, OrderedDict(), state={"data": 5}
    ),
    "an ordered dictionary's methods": Calls(OrderedDict, state={"items": 5}),
    "code": Calls(os.system, "true"),
    "code by a name of torch's": Calls(torch.hub.load, "a", "b"),
}


@pytest.mark.parametrize("name", HOSTILE_TENSORS)
def test_tensors_hold_what_the_file_holds(name, tmp_path):
    path = write_pickle(tmp_path / "a.pt", pickled({"x": HOSTILE_TENSORS[name]}))
    before = peak_memory()
    with pytest.raises(StoredFileError):
        read(path)
    assert peak_memory() < before + 50e6


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02r\xff\xff\xff\x7f.",  # a place of the memory far away
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b".",  # an array of bytes
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
        b"\x80\x02\x8b\xff\xff\xff\x7f1.",  # a number of two billion bytes
        b"\x80\x02" + b"(" * 100 + b"t" * 200 + b".",
        b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        b"cposix\nsystem\n(S'true'\ntR.",
        b"\x80\x02cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x01s\x86b.",
        b"\x80\x02(cargparse\nNamespace\no.",
        b"\x80\x02P1\n.",
        b"",
        b"\x80",
        b".",
        b"\x80\x02}.x",
    ],
    ids=range(15),
)  # fmt: skip
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "pickles"])
def test_broken_and_hostile_pickles_end_in_an_error(content, is_zip, tmp_path):
    path = tmp_path / "a.pt"
    write_pickle(path, content) if is_zip else path.write_bytes(content)
    before = peak_memory()
    try:
        assert read(path) in ({}, []) or True
    except StoredFileError as error:
        assert len(str(error)) < 400 and "\n" not in str(error)
    assert peak_memory() < before + 100e6


def test_a_compressed_part_is_refused(tmp_path):
    path = rezip(write(tmp_path / "a.pt", {"x": torch.zeros(10_000_000)}), lambda _, raw: raw, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(Refused, match="larger than the file"):
        read(path)


def test_a_changed_number_is_found_by_its_checksum(tmp_path):
    path = write(tmp_path / "a.pt", {"x": torch.full((1000,), 0.123)})
    raw = bytearray(path.read_bytes())
    raw[raw.index(struct.pack("<f", 0.123)) + 400] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoredFileError, match="part '.*data/0' is damaged"):
        read(path)


def test_the_other_byte_order_is_refused(tmp_path):
    path = write(tmp_path / "a.pt", {"x": torch.zeros(2)})
    rezip(path, lambda name, raw: b"big" if name.endswith("byteorder") else raw)
    with pytest.raises(StoredFileError, match="byte order"):
        read(path)


def test_the_form_before_zip_takes_no_more_than_the_file(tmp_path):
    stream = io.BytesIO()
    for one in (0x1950A86A20F9469CFC6C, 1001, {}):
        stream.write(pickle.dumps(one, protocol=2))
    hostile = rebuild(("storage", torch.FloatStorage, "0", "cpu", 1 << 34, None), 0, (1 << 34,), (1,))
    (tmp_path / "a.pt").write_bytes(stream.getvalue() + pickled({"x": hostile}) + pickle.dumps(["0"], protocol=2))
    with pytest.raises(StoredFileError, match="shorter than its numbers"):
        read(tmp_path / "a.pt")
