"""Checkpoints that survive a kill, a power cut or a full disk at any moment, and never hold a pickle.

    step-0000000120-<digest>.safetensors   every tensor, bit for bit, any dtype
    step-0000000120.json                   everything else, and the checksum of both

The JSON file is written last and names its tensors: a checkpoint exists once it is there. The last two are kept, so an
unreadable one leaves the one before.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpd.errors import StorageError
from cpd.files import TEMPORARY, make_folder, replacing, storage_error, sync_folder, write_json

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
KEPT = 2

_MANIFEST = re.compile(r"step-(\d{10,})\.json")
_TENSORS = re.compile(r"step-(\d{10,})-[0-9a-f]+\.safetensors")
_NAMES = {  # torch dtype -> safetensors dtype
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "complex64": "C64",
}  # fmt: skip


@dataclass(frozen=True)
class Restored:
    """A checkpoint read back; `skipped` says in words which newer ones could not be read, and why."""

    step: int
    state: Any
    skipped: tuple[str, ...] = ()


def save_checkpoint(folder: Path, state: Any, step: int) -> None:
    """Write `state` as the checkpoint of `step` and drop all but the last two.

    Args:
        state: nested dicts, lists and tuples of tensors, numpy arrays, numbers, text, None; restored exactly.
    Raises:
        StorageError: disk full, read-only, ...; the checkpoints before this one are untouched.
        TypeError: something in `state` cannot be saved; names where it is.
    """
    make_folder(folder)
    tensors: dict[str, Tensor] = {}
    tree = _pack(state, "state", tensors)
    digest, name = _write_tensors(folder, f"step-{step:010d}", tensors)
    manifest = {"schema": SCHEMA, "step": step, "tensors": name, "sha256": digest, "state": tree}
    write_json(folder / f"step-{step:010d}.json", manifest | {"check": _check(manifest)})
    clean(folder)


def load_checkpoint(folder: Path) -> Restored | None:
    """The newest readable checkpoint, None where there is none.

    Files that a killed writer left are removed on the way.
    """
    clean(folder)
    skipped: list[str] = []
    for step, path in reversed(_manifests(folder)):
        try:
            return Restored(step, _read(folder, path), tuple(skipped))
        except (OSError, StorageError, ValueError, KeyError, TypeError, AttributeError) as error:
            skipped.append(f"the checkpoint of step {step} is unreadable ({error})")
    return Restored(0, None, tuple(skipped)) if skipped else None


def clean(folder: Path) -> None:
    """Delete temporary files, tensors that no manifest names, and all but the last two checkpoints."""
    if not folder.is_dir():
        return
    manifests = _manifests(folder)
    for _, path in manifests[:-KEPT]:
        path.unlink(missing_ok=True)
    named = {step: _tensors_of(path) for step, path in manifests[-KEPT:]}
    for path in folder.iterdir():
        match = _TENSORS.fullmatch(path.name)
        # None: a manifest that cannot be read just now may still name its tensors later.
        left_over = match is not None and named.get(int(match[1]), "") not in (path.name, None)
        if left_over or path.name.startswith(TEMPORARY):
            path.unlink(missing_ok=True)
    try:
        sync_folder(folder)
    except OSError as error:
        raise storage_error(error, folder) from error


def _manifests(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) ascending."""
    if not folder.is_dir():
        return []
    found = ((_MANIFEST.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def _tensors_of(path: Path) -> str | None:
    """Name of the tensors file, None where the manifest is damaged."""
    try:
        return str(_manifest(path)["tensors"])
    except (OSError, StorageError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _manifest(path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(path.read_text())
    if manifest.pop("check") != _check(manifest):
        raise StorageError(f"{path.name}: checksum differs")
    return manifest


def _check(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read(folder: Path, path: Path) -> Any:
    manifest = _manifest(path)
    if manifest["schema"] != SCHEMA:
        raise StorageError(f"{path.name}: schema {manifest['schema']}, this version reads {SCHEMA}")
    if Path(manifest["tensors"]).name != manifest["tensors"]:
        raise StorageError(f"{path.name}: names tensors outside its folder")
    data = (folder / manifest["tensors"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise StorageError(f"{manifest['tensors']}: checksum differs")
    return _unpack(manifest["state"], _parse(data, manifest["tensors"]))


def _parse(data: bytes, name: str) -> dict[str, Tensor]:
    if int.from_bytes(data[:8], "little") == len(data) - 8 and not json.loads(data[8:]):
        return {}  # no tensors, no torch
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except SafetensorError as error:
        raise StorageError(f"{name}: {error}") from error
    return tensors


def _write_tensors(folder: Path, stem: str, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """Write the safetensors format, a tensor at a time; (sha256, file name).

    Done here and not by the safetensors package, because a checkpoint must not need its size again in memory, must
    accept tensors that share memory, and must report a full disk as such.
    """
    # Widest elements first, as the format's own writer does: every tensor then starts at a multiple of its element size.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _NAMES:
            raise TypeError(f"{name}: tensors of dtype {dtype} cannot be saved in a checkpoint")
        header[name] = {"dtype": _NAMES[dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = folder / stem
    digest = hashlib.sha256()
    temporary = folder / f"{TEMPORARY}{stem}.safetensors"
    with replacing(temporary) as file:
        for piece in _pieces(len(text).to_bytes(8, "little") + text, [tensors[name] for name in order]):
            digest.update(piece)
            file.write(piece)
    # Named after its content: a second save of one step never overwrites tensors that a manifest points to.
    path = folder / f"{stem}-{digest.hexdigest()[:12]}.safetensors"
    try:
        temporary.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise storage_error(error, path) from error
    return digest.hexdigest(), path.name


def _pieces(head: bytes, tensors: list[Tensor]) -> Iterator[bytes | memoryview]:
    yield head
    for tensor in tensors:
        if tensor.numel():
            import torch

            flat = tensor.detach().cpu().contiguous().reshape(-1)
            yield memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]


def _pack(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON; tensors go to `tensors` under their path, marks beginning with "$" stand for what JSON lacks."""
    # What was never imported cannot be in `value`; a job without tensors need not wait for torch.
    torch: Any = sys.modules.get("torch")
    np: Any = sys.modules.get("numpy")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if torch is not None and isinstance(value, torch.Tensor):
        tensors[where] = value
        return {"$tensor": where}
    if np is not None and isinstance(value, np.ndarray):
        import torch

        tensors[where] = torch.from_numpy(np.ascontiguousarray(value)).reshape(value.shape)
        return {"$array": where}
    if isinstance(value, tuple):
        return {"$tuple": [_pack(item, f"{where}/{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [_pack(item, f"{where}/{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
        if plain:
            return {key: _pack(item, f"{where}/{key}", tensors) for key, item in value.items()}
        rows = enumerate(value.items())
        return {
            "$items": [[_pack(k, f"{where}/#{i}", tensors), _pack(v, f"{where}/{k}", tensors)] for i, (k, v) in rows]
        }
    raise TypeError(f"{where}: {type(value).__name__} cannot be saved in a checkpoint; use tensors, numbers and text")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        mark, content = next(iter(value.items()))
        if mark == "$tensor":
            return tensors[content]
        if mark == "$array":
            return tensors[content].numpy()
        if mark == "$tuple":
            return tuple(_unpack(item, tensors) for item in content)
        if mark == "$float":
            return float(content)
        if mark == "$items":
            return {_unpack(k, tensors): _unpack(v, tensors) for k, v in content}
    return {key: _unpack(item, tensors) for key, item in value.items()}
