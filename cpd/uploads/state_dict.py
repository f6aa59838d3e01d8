"""A file of torch.save: what its pickle names is read as a list of words first, and only tensors get as far as torch."""

from __future__ import annotations

import pickletools
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from cpd.errors import ModelError
from cpd.uploads import limits
from cpd.uploads.archive import Entry, contents
from cpd.uploads.tensors import short

_SAVED_BY_TORCH = 0x1950A86A20F9469CFC6C  # how torch.save began its files before it wrote zips (torch < 1.6)
_PICKLES_BEFORE = 5  # magic number, version, system, the object, the keys of its storages
_KINDS = "Double Float Half BFloat16 Long Int Short Char Byte Bool".split()
_DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
# What a state dict is made of; each of them makes tensors and nothing else.
NAMES = frozenset(
    {"collections OrderedDict", "torch Size", "torch device"}
    | {f"torch._utils {name}" for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")}
    | {f"torch {kind}Storage" for kind in _KINDS}
    | {f"torch {dtype}" for dtype in _DTYPES}
    | {"torch.storage UntypedStorage", "torch.storage TypedStorage"}
)
_BY_NAME = (
    "STACK_GLOBAL",
    "INST",
    "OBJ",
    "NEWOBJ",
    "NEWOBJ_EX",
    "EXT1",
    "EXT2",
    "EXT4",
    "PERSID",
)  # other ways to call
_BROKEN = (ValueError, EOFError, struct.error, IndexError, AttributeError, OverflowError)


def scan(file: Path) -> None:
    """Refuse a file that names anything but tensors, or is not whole; nothing in it is loaded.

    Raises:
        ModelError: without the file's name.
    """
    with file.open("rb") as opened:
        first = opened.read(4)
        opened.seek(0)
        if first.startswith(b"PK"):
            _scan_zip(file, opened)
        elif first.startswith(b"\x80"):
            _scan_old(opened)
        else:
            raise ModelError("is no file of torch.save; save model.state_dict(), or safetensors.")


def convert(file: Path, target: Path) -> None:
    """The tensors of a scanned file as safetensors. Imports torch; for the checker's process only.

    Raises:
        ModelError: not a state dict, or values that are not finite.
    """
    import torch
    from safetensors.torch import save_file

    from cpd.models.weights import read_tensors

    tensors = read_tensors(file)
    size = file.stat().st_size
    if len(tensors) > limits.TENSORS:
        raise ModelError(f"holds {len(tensors):,} tensors; at most {limits.TENSORS:,} are read.")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise ModelError(f"{short(name)} is no plain tensor; save a float state dict.")
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    if total > 4 * size:  # tied weights may count twice; a number repeated a billion times is no weight
        raise ModelError(f"claims {total:,} bytes of numbers in a file of {size:,}.")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{short(name)} holds values that are not finite (NaN or infinity); the file is damaged or its training diverged.")  # fmt: skip
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, target)


def _scan_zip(file: Path, opened: BinaryIO) -> None:
    entries = contents(file, ModelError)
    pickles = [entry for entry in entries if entry.name.endswith("data.pkl")]
    if len(pickles) != 1:
        raise ModelError("is a zip, but not of torch.save; save model.state_dict().")
    packed = [entry for entry in entries if entry.info.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ModelError(f"{short(packed[0].name)} in it is compressed, which torch.save never does.")
    if any("constants.pkl" in entry.name or "/code/" in entry.name for entry in entries):
        raise ModelError("is a TorchScript archive, which holds code; save model.state_dict() instead.")
    _scan_words(_member(opened, pickles[0]))


def _member(opened: BinaryIO, entry: Entry) -> bytes:
    if entry.info.file_size > limits.PICKLE_BYTES:
        raise ModelError(f"names its tensors in {entry.info.file_size:,} bytes; at most {limits.PICKLE_BYTES:,} are read.")  # fmt: skip
    try:
        with zipfile.ZipFile(opened) as archive:
            return archive.read(entry.info)
    except (zipfile.BadZipFile, *_BROKEN, NotImplementedError, OSError) as error:
        raise ModelError(f"is damaged ({str(error)[:100] or type(error).__name__}).") from error


def _scan_old(opened: BinaryIO) -> None:
    head = opened.read(limits.PICKLE_BYTES)
    magic = b"\x80\x02\x8a\x0a" + _SAVED_BY_TORCH.to_bytes(10, "little") + b"."
    if not head.startswith(magic):
        raise ModelError("holds pickled objects, which could run code, and is not opened; save model.state_dict() with torch.save.")  # fmt: skip
    import io

    stream = io.BytesIO(head)
    for _ in range(_PICKLES_BEFORE):
        _scan_words(stream)


def _scan_words(source: bytes | BinaryIO) -> None:
    """Every operation of one pickle as text: no operation is carried out."""
    try:
        for operation, argument, _ in pickletools.genops(source):
            if operation.name == "GLOBAL" and argument not in NAMES:
                raise ModelError(f"holds pickled objects ({short(argument)}), which could run code, and is not opened; save model.state_dict() instead.")  # fmt: skip
            if operation.name in _BY_NAME:
                raise ModelError("holds pickled objects, which could run code, and is not opened; save model.state_dict() instead.")  # fmt: skip
    except _BROKEN as error:
        raise ModelError(f"is damaged: {str(error)[:100] or type(error).__name__}.") from error
