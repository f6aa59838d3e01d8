"""A safetensors file read byte by byte, so that a forged header meets no parser but Python's own.

Layout: 8 bytes n (little endian), n bytes of JSON {name: {dtype, shape, data_offsets}}, then the numbers, without holes.
Source: the format's description at github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cpd.errors import ModelError
from cpd.models.fit import Shapes
from cpd.uploads import limits

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}  # fmt: skip
_FLOATS: Mapping[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_CHUNK = 1 << 20  # numbers looked at together
_BF16_EXPONENT = 0x7F80


def check_safetensors(file: Path) -> Mapping[str, str]:
    """What the file says of itself beside its tensors (metadata), everything in it checked.

    Raises:
        ModelError: without the file's name: damaged, forged, or with values that are not finite.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = _header(opened.read(8), size, opened.read)
        start = opened.tell()
        metadata = _metadata(head.pop("__metadata__", {}))
        rows = list(_rows(head))
        _no_holes(rows, size - start)
        if size > start:
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as view:
                for name, dtype, begin, end in rows:
                    if not _finite(view, dtype, start + begin, start + end):
                        raise ModelError(f"{short(name)} holds values that are not finite (NaN or infinity); the file is damaged or its training diverged.")  # fmt: skip
    return metadata


def shapes_in(file: Path) -> Shapes:
    """Name -> shape of the tensors of a file that `check_safetensors` let pass."""
    with file.open("rb") as opened:
        head = _header(opened.read(8), file.stat().st_size, opened.read)
    return {name: tuple(row["shape"]) for name, row in head.items() if name != "__metadata__"}


def short(name: object) -> str:
    """A name out of a file, fit for one line."""
    return ascii(name)[:80]


def _header(first: bytes, size: int, read: Any) -> dict[str, Any]:
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length < 2 or length > size - 8:
        raise ModelError(f"is no safetensors file, or was cut short: its header claims {length:,} bytes of {size:,}.")
    if length > limits.HEADER_BYTES:
        raise ModelError(f"its header has {length:,} bytes; at most {limits.HEADER_BYTES:,} are read.")
    raw = read(length)
    if not raw.startswith(b"{"):
        raise ModelError("is no safetensors file: its header is not JSON.")
    try:
        head = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_doubles, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"its header is damaged ({str(error)[:100]}).") from error
    if not isinstance(head, dict):
        raise ModelError("its header is no table of tensors.")
    return head


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands in it twice")
    return table


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _metadata(found: Any) -> Mapping[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ModelError("its header's metadata is not text.")
    return found


def _rows(head: Mapping[str, Any]) -> Iterator[tuple[str, str, int, int]]:
    """(name, dtype, begin, end) of every tensor, bytes counted from the end of the header."""
    if not head:
        raise ModelError("holds no tensors.")
    if len(head) > limits.TENSORS:
        raise ModelError(f"holds {len(head):,} tensors; at most {limits.TENSORS:,} are read.")
    for name, entry in head.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ModelError(f"its header describes no tensor at {short(name)}.")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _BYTES:
            raise ModelError(f"{short(name)} is of type {short(dtype)}; weights come as {', '.join(_BYTES)}.")
        if not _whole(shape) or len(shape) > limits.DIMENSIONS or not _whole(offsets) or len(offsets) != 2:
            raise ModelError(f"its header is forged: the shape or place of {short(name)} is not made of whole numbers.")
        begin, end = offsets
        if end - begin != math.prod(shape) * _BYTES[dtype]:
            raise ModelError(f"its header is forged: {short(name)} has another size than its shape says.")
        yield name, dtype, begin, end


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)


def _no_holes(rows: list[tuple[str, str, int, int]], size: int) -> None:
    at = 0
    for name, _, begin, end in sorted(rows, key=lambda row: (row[2], row[3])):
        if begin != at:
            raise ModelError(f"its header is forged: {short(name)} overlaps another tensor or leaves a hole before it.")
        at = end
    if at != size:
        raise ModelError(f"was cut short or added to: its header speaks of {at:,} bytes of numbers, it holds {size:,}.")


def _finite(view: mmap.mmap, dtype: str, begin: int, end: int) -> bool:
    if dtype not in _FLOATS and dtype != "BF16":
        return True
    kind: np.dtype[Any] = _FLOATS.get(dtype, np.dtype("<u2"))
    for at in range(begin, end, _CHUNK * kind.itemsize):
        part = np.frombuffer(view[at : min(end, at + _CHUNK * kind.itemsize)], kind)
        good = (part & _BF16_EXPONENT) != _BF16_EXPONENT if dtype == "BF16" else np.isfinite(part)
        if not good.all():
            return False
    return True
