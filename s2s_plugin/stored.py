"""Reading what `torch.save` wrote: tensors, numbers, strings and the containers of them, built here and nothing else.

A file is a pickle, which names functions to call, and the bytes of the tensors. Here a name stands for a function of
this module or is refused, every size is compared with what the file holds before memory is taken, and the checksum that
the file has of each of its parts is compared with the part. Both forms are read: the zip file of torch 1.6 and newer,
and the plain pickles of before.
"""

import io
import math
import os
import pickle
import re
import struct
import zipfile
import zlib
from argparse import Namespace
from collections import OrderedDict
from typing import BinaryIO

import numpy
import torch
from torch import Tensor

MOST_BYTES_OF_PICKLE = 64 << 20
MOST_ALIASES = 8
"""By how much the tensors of a storage may together be larger than it: a tied embedding has two or three names."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


class StoredFileError(ValueError):
    """A file that is broken or holds what is not built; the message says what, without the file's name."""


class Refused(StoredFileError):
    """A file that is whole and holds more than tensors and settings."""


class Storage:
    """The bytes that tensors share, what numbers they are, and how many bytes tensors have asked for."""

    def __init__(self, data: torch.UntypedStorage, dtype: torch.dtype):
        self.data, self.dtype, self.asked = data, dtype, 0


class StoredDtype:
    """numpy's dtype of one number, as a pickle describes it."""

    def __init__(self, name: str, align=False, copy=True):
        if not isinstance(name, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]", name):
            raise Refused("it holds numpy's data of a kind that no checkpoint needs")
        self.numpy = numpy.dtype(name)

    def __setstate__(self, state) -> None:
        if not isinstance(state, tuple) or len(state) != 8 or state[1] not in ("<", ">", "|", "=", None):
            raise Refused("it holds numpy's data of a kind that no checkpoint needs")
        if state[2:5] != (None, None, None):
            raise Refused("it holds numpy's data of a kind that no checkpoint needs")
        self.numpy = self.numpy.newbyteorder(state[1] or "|")


class StoredArray(numpy.ndarray):
    """numpy's array as a pickle builds it: first empty, then with its numbers. It is stored as numpy's own."""

    def __setstate__(self, state) -> None:
        try:
            version, shape, dtype, is_fortran, raw = state
            fits = (
                isinstance(dtype, StoredDtype)
                and isinstance(raw, bytes)
                and isinstance(shape, tuple)
                and len(shape) <= 32
                and all(type(size) is int and size >= 0 for size in shape)
                and len(raw) == math.prod(shape) * dtype.numpy.itemsize
            )
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise Refused("it holds an array of numpy's that is none")
        super().__setstate__((1, shape, dtype.numpy, bool(is_fortran), raw))

    def __reduce__(self):
        return numpy.array(self, subok=False).__reduce__()


def array(kind, shape, code) -> StoredArray:
    """numpy's `_reconstruct`, of an empty array."""
    if kind is not numpy.ndarray or shape != (0,) or code not in (b"b", "b"):
        raise Refused("it holds an array of numpy's that is none")
    return numpy.ndarray.__new__(StoredArray, (0,), dtype="int8")


def scalar(dtype: StoredDtype, raw: bytes):
    """A number of numpy's."""
    if not isinstance(dtype, StoredDtype) or not isinstance(raw, bytes) or len(raw) != dtype.numpy.itemsize:
        raise Refused("it holds a number of numpy's that is none")
    return numpy.frombuffer(raw, dtype.numpy)[0]


def encode(text: str, encoding: str) -> bytes:
    """Bytes, which the pickles of torch hold as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("it holds text in an encoding that no checkpoint needs")
    return text.encode("latin1")


def tensor(storage: Storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None) -> Tensor:
    """A tensor of what its storage holds, no number of it twice."""
    sizes = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (-1,)
    if not isinstance(storage, Storage) or not all(type(number) is int and 0 <= number < 1 << 62 for number in sizes):
        raise Refused("it holds a tensor without numbers")
    wanted = math.prod(size) * storage.dtype.itemsize
    if len(size) != len(stride) or wanted > storage.data.nbytes():
        raise Refused("it holds a tensor that is larger than its numbers")
    storage.asked += wanted
    if storage.asked > MOST_ALIASES * storage.data.nbytes() + 4096:
        raise Refused("its tensors share their numbers more often than those of a model")
    try:
        return torch.empty(0, dtype=storage.dtype).set_(storage.data, offset, size, stride)
    except RuntimeError:
        raise Refused("it holds a tensor that lies outside its numbers") from None


def parameter(data: Tensor, requires_grad=True, hooks=None) -> torch.nn.Parameter:
    """A parameter."""
    if not isinstance(data, Tensor):
        raise Refused("it holds a parameter without numbers")
    return torch.nn.Parameter(data, bool(requires_grad) and data.is_floating_point())


NUMPY = {
    f"{module}.{name}": function
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name, function in (("scalar", scalar), ("_reconstruct", array))
} | {"numpy.dtype": StoredDtype, "numpy.ndarray": numpy.ndarray}
"""What stands for the names of numpy's, here and in `torch.load(weights_only=True)`."""

NAMES = {
    "argparse.Namespace": Namespace,
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "_codecs.encode": encode,
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_parameter": parameter,
    "torch.Size": torch.Size,
    **{f"torch.{name}": dtype for name, dtype in DTYPES.items()},
    **NUMPY,
}
CALLED = (OrderedDict, set, encode, tensor, parameter, torch.Size, scalar, array, StoredDtype)


class Unpickler(pickle._Unpickler):
    """Python's own, in Python, of which the instructions that call something go through this class.

    Args:
        file: of the pickle.   storage: of a persistent id, gives the `Storage`.
    """

    dispatch = {
        code: function
        for code, function in pickle._Unpickler.dispatch.items()
        if bytes([code]) not in (
            pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEWOBJ_EX, pickle.PERSID,
            pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
        )
    }  # fmt: skip

    def __init__(self, file: BinaryIO, storage):
        super().__init__(file, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str):
        full = f"{module}.{name}"
        if full not in NAMES:
            if re.fullmatch(r"torch\.(bfloat16|u?int\d+|float\d+|bool)", full):
                return getattr(torch, name)
            raise Refused(f"loading it would call {full[:100]}, which no fairseq checkpoint needs")
        return NAMES[full]

    def persistent_load(self, pid):
        return self.storage(pid)

    def load_reduce(self):
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not any(function is one for one in CALLED) or not isinstance(arguments, tuple):
            raise Refused(f"loading it would call {str(function)[:60]}, which no fairseq checkpoint needs")
        self.stack[-1] = function(*arguments)

    def load_newobj(self):
        arguments = self.stack.pop()
        kind = self.stack.pop()
        if not any(kind is one for one in (Namespace, OrderedDict)) or arguments != ():
            raise Refused(f"loading it would make {str(kind)[:60]}, which no fairseq checkpoint needs")
        self.append(kind())

    def load_build(self):
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, StoredDtype | StoredArray):
            made.__setstate__(state)
        elif type(made) is Namespace and isinstance(state, dict) and all(type(name) is str for name in state):
            vars(made).update(state)
        elif type(made) is OrderedDict and isinstance(state, dict) and set(state) <= {"_metadata"}:
            vars(made).update(state)
        else:
            raise Refused(f"it changes {type(made).__name__}, which no fairseq checkpoint needs")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build


def read(file: str | os.PathLike | BinaryIO):
    """What `torch.save` wrote.

    Args:
        file: a path, or an open file of bytes.

    Returns:
        The same, with tensors on the CPU.

    Raises:
        Refused: the file holds what is not built.
        StoredFileError: it is empty, truncated, damaged, or something else.
        OSError: it cannot be opened.
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return read(opened)
    try:
        start = file.read(4)
        file.seek(0)
        return _read_zip(file) if start == b"PK\x03\x04" else _read_pickles(file)
    except (StoredFileError, OSError):
        raise
    except RecursionError:
        raise Refused("it holds more levels than a checkpoint has") from None
    except Exception as error:  # a broken pickle fails in any way
        raise StoredFileError(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from None


def _read_zip(file: BinaryIO):
    try:
        records = {entry.filename.partition("/")[2]: entry for entry in zipfile.ZipFile(file).infolist()}
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise StoredFileError(str(error)) from None
    length = file.seek(0, os.SEEK_END)
    if sum(entry.file_size for entry in records.values()) > length:
        raise Refused("its parts are larger than the file")
    storages: dict[str, Storage] = {}

    def storage(pid) -> Storage:
        try:
            kind, dtype, key, _location, count = pid
        except (TypeError, ValueError):
            kind, dtype, key, count = None, None, None, 0
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(key) is not str or type(count) is not int:
            raise Refused("it holds numbers of an unknown kind")
        if key not in storages:
            if f"data/{key}" not in records:
                raise StoredFileError(f"part data/{key[:30]} is missing")
            data = _bytes_of(file, records[f"data/{key}"])
            if len(data) != count * dtype.itemsize:
                raise StoredFileError(f"part data/{key[:30]} has {len(data)} bytes for {count} numbers")
            storages[key] = Storage(_as_storage(data), dtype)
        return storages[key]

    if "byteorder" in records and bytes(_bytes_of(file, records["byteorder"])) != b"little":
        raise StoredFileError("it was written on a machine of the other byte order")
    if "data.pkl" not in records:
        raise StoredFileError("part data.pkl is missing")
    if records["data.pkl"].file_size > MOST_BYTES_OF_PICKLE:
        raise Refused(f"its part data.pkl has {records['data.pkl'].file_size} bytes")
    return Unpickler(io.BytesIO(_bytes_of(file, records["data.pkl"])), storage).load()


def _bytes_of(file: BinaryIO, entry: zipfile.ZipInfo) -> bytearray:
    """A part of a zip file, which torch stores as it is."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise Refused(f"its part {entry.filename[:60]!r} is compressed, which torch does not do")
    file.seek(entry.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise StoredFileError(f"part {entry.filename[:60]!r} is not where it should be")
    file.seek(sum(struct.unpack("<HH", header[26:])), os.SEEK_CUR)
    data = bytearray(entry.file_size)
    if file.readinto(data) != len(data) or zlib.crc32(data) != entry.CRC:
        raise StoredFileError(f"part {entry.filename[:60]!r} is damaged")
    return data


def _as_storage(data: bytearray) -> torch.UntypedStorage:
    if not data:
        return torch.UntypedStorage(0)
    return torch.frombuffer(data, dtype=torch.uint8).untyped_storage()


def _read_pickles(file: BinaryIO):
    """The form of torch before 1.6: five pickles, then the numbers of each storage after their count."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    if length == 0:
        raise StoredFileError("it is empty")
    storages: dict[str, Storage] = {}

    def storage(pid) -> Storage:
        try:
            kind, dtype, key, _location, count, view = pid
        except (TypeError, ValueError):
            kind, dtype, key, count, view = None, None, None, 0, None
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(key) is not str or view is not None:
            raise Refused("it holds numbers of an unknown kind")
        if key not in storages:
            held = sum(one.data.nbytes() for one in storages.values())
            if type(count) is not int or not 0 <= count * dtype.itemsize <= length - held:
                raise StoredFileError("it is shorter than its numbers")
            storages[key] = Storage(torch.UntypedStorage(count * dtype.itemsize), dtype)
        return storages[key]

    def load():
        return Unpickler(file, storage).load()

    if load() != LEGACY_MAGIC:
        raise StoredFileError("it does not begin as a file of torch's")
    load(), load()  # the version and the machine
    found, keys = load(), load()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise StoredFileError("its list of numbers is broken")
    for key in keys:
        data = storages[key].data
        (count,) = struct.unpack("<q", file.read(8))
        if count * storages[key].dtype.itemsize != data.nbytes():
            raise StoredFileError("its numbers are not as many as it says")
        raw = file.read(data.nbytes())
        if len(raw) != data.nbytes():
            raise StoredFileError("it is truncated")
        if raw:
            data.copy_(torch.frombuffer(bytearray(raw), dtype=torch.uint8).untyped_storage())
    return found
