"""A file of torch.save as safetensors, without torch: its pickle is read as words and its numbers are copied."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from safetensors import TensorSpec, serialize_file

from cpd.errors import ModelError
from cpd.models.wrapped import state_dict_in
from cpd.uploads import limits
from cpd.uploads.archive import Entry, contents
from cpd.uploads.tensors import short
from cpd.uploads.words import OBJECTS, SIZES, Storage, View, read_words

_SAVED_BY_TORCH = 0x1950A86A20F9469CFC6C  # how torch.save began its files before it wrote zips (torch < 1.6)
_DTYPES = {
    "Double": ("float64", "<f8"), "Float": ("float32", "<f4"), "Half": ("float16", "<f2"), "BFloat16": ("bfloat16", "<u2"),
    "Long": ("int64", "<i8"), "Int": ("int32", "<i4"), "Short": ("int16", "<i2"), "Char": ("int8", "i1"),
    "Byte": ("uint8", "u1"), "Bool": ("bool", "u1"),
}  # fmt: skip
_BROKEN = (ValueError, EOFError, struct.error, IndexError, AttributeError, OverflowError)

Numbers = Callable[[Storage], bytes]  # of a storage, as they lie in the file


def convert(file: Path, target: Path) -> None:
    """Write the tensors of a state dict as safetensors. Their values are not looked at here.

    Raises:
        ModelError: not a state dict, damaged, or forged; the file's name may stand in it.
    """
    with file.open("rb") as opened:
        first = opened.read(4)
        opened.seek(0)
        if first.startswith(b"PK"):
            said, numbers = _zip(file, opened)
        elif first.startswith(b"\x80"):
            said, numbers = _before_zips(opened)
        else:
            raise ModelError("is no file of torch.save; save model.state_dict(), or safetensors.")
        tensors = state_dict_in(said, View, file)
        _check_size(tensors, file.stat().st_size)
        arrays = {name: _copied(view, numbers) for name, view in tensors.items()}  # held until all is written
        serialize_file({name: _described(array, tensors[name]) for name, array in arrays.items()}, target)


def _check_size(tensors: Mapping[str, View], size: int) -> None:
    if len(tensors) > limits.TENSORS:
        raise ModelError(f"holds {len(tensors):,} tensors; at most {limits.TENSORS:,} are read.")
    total = sum(view.bytes for view in tensors.values())
    if total > 4 * size:  # tied weights may count twice; a number repeated a billion times is no weight
        raise ModelError(f"claims {total:,} bytes of numbers in a file of {size:,}.")


def _copied(view: View, numbers: Numbers) -> np.ndarray[Any, Any]:
    """A tensor's numbers, one after the other; bfloat16 as the integers of its bits."""
    kind = np.dtype(_DTYPES[view.storage.kind][1])
    raw, count = numbers(view.storage), view.storage.count
    if len(raw) < count * kind.itemsize:
        raise ModelError(f"was cut short: a tensor claims {count:,} numbers and only {len(raw):,} bytes are there.")
    flat = np.frombuffer(raw, kind, count)
    if not view.bytes:
        return np.empty(view.shape, kind)
    steps = tuple(step * kind.itemsize for step in view.stride)
    # No view reaches beyond the count that its storage claims (checked as it was read), nor the count beyond the bytes.
    laid_out = np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, steps, writeable=False)
    return np.ascontiguousarray(laid_out)


def _described(array: np.ndarray[Any, Any], view: View) -> TensorSpec:
    name = _DTYPES[view.storage.kind][0]
    return TensorSpec(dtype=name, shape=list(view.shape), data_ptr=array.ctypes.data, data_len=array.nbytes)


def _zip(file: Path, opened: BinaryIO) -> tuple[Any, Numbers]:
    entries = contents(file, ModelError)
    pickles = [entry for entry in entries if entry.name.endswith("data.pkl")]
    if len(pickles) != 1:
        raise ModelError("is a zip, but not of torch.save; save model.state_dict().")
    packed = [entry for entry in entries if entry.info.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ModelError(f"{short(packed[0].name)} in it is compressed, which torch.save never does.")
    if any("constants.pkl" in entry.name or "/code/" in entry.name for entry in entries):
        raise ModelError("is a TorchScript archive, which holds code; save model.state_dict() instead.")
    if pickles[0].info.file_size > limits.PICKLE_BYTES:
        size = pickles[0].info.file_size
        raise ModelError(f"names its tensors in {size:,} bytes; at most {limits.PICKLE_BYTES:,} are read.")
    by_name = {entry.name: entry for entry in entries}
    folder = pickles[0].name.removesuffix("data.pkl")
    order = by_name.get(f"{folder}byteorder")
    if order is not None and _member(opened, order) != b"little":
        raise ModelError("was saved on a big-endian machine; save it again on this kind.")

    def numbers(storage: Storage) -> bytes:
        entry = by_name.get(f"{folder}data/{storage.key}")
        if entry is None:
            raise ModelError(f"lacks the numbers {short(storage.key)} that it names.")
        return _member(opened, entry)

    return read_words(_member(opened, pickles[0])), numbers


def _member(opened: BinaryIO, entry: Entry) -> bytes:
    try:
        with zipfile.ZipFile(opened) as archive:
            return archive.read(entry.info)
    except (zipfile.BadZipFile, *_BROKEN, NotImplementedError, OSError) as error:
        raise ModelError(f"is damaged ({str(error)[:100] or type(error).__name__}).") from error


def _before_zips(opened: BinaryIO) -> tuple[Any, Numbers]:
    """Five pickles (magic number, version, system, the object, the keys of its storages), then the storages in the
    order of the keys: 8 bytes of count, and the numbers."""
    magic = b"\x80\x02\x8a\x0a" + _SAVED_BY_TORCH.to_bytes(10, "little") + b"."
    if opened.read(len(magic)) != magic:
        raise ModelError(OBJECTS.format(""))
    _, system, said, keys = (read_words(cast(BinaryIO, _Bounded(opened))) for _ in range(4))
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise ModelError("was saved on a big-endian machine; save it again on this kind.")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ModelError("is damaged: the keys of its numbers are no list of texts.")
    kinds = _storages(said)
    places: dict[str, tuple[int, int]] = {}
    at = opened.tell()
    end = opened.seek(0, 2)
    for key in keys:
        opened.seek(at)
        count = int.from_bytes(opened.read(8), "little")
        storage = kinds.get(key)
        if storage is None or not storage.count <= count <= end - at or key in places:
            raise ModelError("is damaged: its storages are not those that it names.")
        places[key] = at + 8, count * SIZES[storage.kind]
        at += 8 + places[key][1]

    def numbers(storage: Storage) -> bytes:
        if storage.key not in places:
            raise ModelError(f"lacks the numbers {short(storage.key)} that it names.")
        place, _ = places[storage.key]
        opened.seek(place)
        return opened.read(storage.count * SIZES[storage.kind])

    return said, numbers


class _Bounded:
    """A stream of which one pickle may take so many bytes and no more."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self._left = source, limits.PICKLE_BYTES

    def read(self, size: int = -1) -> bytes:
        return self._take(self._source.read(self._left + 1 if size < 0 else min(size, self._left + 1)))

    def readline(self) -> bytes:
        return self._take(self._source.readline(self._left + 1))

    def tell(self) -> int:
        return self._source.tell()

    def _take(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise ModelError(f"names its tensors in more than {limits.PICKLE_BYTES:,} bytes, which are not read.")
        return piece


def _storages(said: Any) -> dict[str, Storage]:
    """Every storage below `said`, by key."""
    found: dict[str, Storage] = {}
    seen: set[int] = set()
    rest = [said]
    while rest:
        value = rest.pop()
        if isinstance(value, View):
            found[value.storage.key] = value.storage
        elif isinstance(value, Storage):
            found[value.key] = value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            rest.extend(value.values() if isinstance(value, dict) else value)
    return found
