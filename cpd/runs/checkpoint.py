"""Checkpoints that survive a kill, a power cut or a full disk at any moment, and never hold a pickle.

    step-0000000120-<digest>.safetensors   every tensor, bit for bit, any dtype
    step-0000000120.json                   everything else, and the checksum of both

The JSON file is written last and names its tensors: a checkpoint exists once it is there. The last two are kept, so an
unreadable one leaves the one before. One that was saved with a note is a place to go back to, step-0000000120.noted.json:
up to eight of these stay beside the last two.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
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
NOTED = 8

_MANIFEST = re.compile(r"step-(\d{10,})(\.noted)?\.json")
_TENSORS = re.compile(r"step-(\d{10,})-[0-9a-f]+\.safetensors")
_UNREADABLE = (OSError, StorageError, ValueError, KeyError, TypeError, AttributeError)
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


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is there.

    Attributes:
        note: what to say of it; empty unless it is a place to go back to.
        bytes: of its tensors.
    """

    step: int
    note: Mapping[str, Any]
    bytes: int
    manifest: Path
    tensors: Path


def save_checkpoint(folder: Path, state: Any, step: int, note: Mapping[str, Any] | None = None) -> None:
    """Write `state` as the checkpoint of `step` and drop all but the last two and those with a note.

    Args:
        state: nested dicts, lists and tuples of tensors, numpy arrays, numbers, text, None; restored exactly.
        note: makes it a place to go back to: plain values that say what it is.
    Raises:
        StorageError: disk full, read-only, ...; the checkpoints before this one are untouched.
        TypeError: something in `state` cannot be saved; names where it is.
    """
    make_folder(folder)
    tensors: dict[str, Tensor] = {}
    tree = _pack(state, "state", tensors)
    digest, name = _write_tensors(folder, f"step-{step:010d}", tensors)
    manifest = {"schema": SCHEMA, "step": step, "tensors": name, "sha256": digest, "state": tree}
    if note is not None:
        manifest["note"] = dict(note)
    path = folder / f"step-{step:010d}{'.noted' if note is not None else ''}.json"
    write_json(path, manifest | {"check": _check(manifest)})
    clean(folder)


def load_checkpoint(folder: Path) -> Restored | None:
    """The newest readable checkpoint, None where there is none.

    Files that a killed writer left are removed on the way.
    """
    clean(folder)
    return newest(folder)


def newest(folder: Path) -> Restored | None:
    """`load_checkpoint` for who may only read."""
    skipped: list[str] = []
    for step, path in reversed(_manifests(folder)):
        try:
            return Restored(step, _read(folder, path), tuple(skipped))
        except _UNREADABLE as error:
            skipped.append(f"the checkpoint of step {step} is unreadable ({error})")
    return Restored(0, None, tuple(skipped)) if skipped else None


def list_checkpoints(folder: Path) -> list[Saved]:
    """The checkpoints whose description is intact, oldest first."""
    found: list[Saved] = []
    for step, path in _manifests(folder):
        try:
            manifest = _manifest(path)
            tensors = folder / Path(manifest["tensors"]).name
            found.append(Saved(step, manifest.get("note", {}), tensors.stat().st_size, path, tensors))
        except _UNREADABLE:
            continue
    return found


def copy_checkpoint(saved: Saved, folder: Path) -> None:
    """Put a checkpoint of one run into the folder of another; on one disk it takes no further space.

    Raises:
        StorageError: it is gone meanwhile, or cannot be written.
    """
    make_folder(folder)
    for path in (saved.tensors, saved.manifest):  # the one that makes it exist last
        try:
            try:
                os.link(path, folder / path.name)
            except OSError:  # another disk, or one without hard links
                with replacing(folder / path.name) as file, open(path, "rb") as source:
                    shutil.copyfileobj(source, file)
        except OSError as error:
            raise storage_error(error, path, "copy this checkpoint") from error
    sync_folder(folder)


def clean(folder: Path) -> None:
    """Delete temporary files, tensors that no manifest names, and checkpoints that are neither new nor noted."""
    if not folder.is_dir():
        return
    manifests = _manifests(folder)
    noted = [row for row in manifests if row[1].name.endswith(".noted.json")]
    stay = {path for _, path in (*manifests[-KEPT:], *_spread(noted))}
    for _, path in manifests:
        if path not in stay:
            path.unlink(missing_ok=True)
    named = {_tensors_of(path) for path in stay}
    damaged = {step for step, path in manifests if path in stay and _tensors_of(path) is None}
    for path in folder.iterdir():
        match = _TENSORS.fullmatch(path.name)
        # A manifest that cannot be read just now may still name its tensors later.
        left_over = match is not None and path.name not in named and int(match[1]) not in damaged
        if left_over or path.name.startswith(TEMPORARY):
            path.unlink(missing_ok=True)
    try:
        sync_folder(folder)
    except OSError as error:
        raise storage_error(error, folder) from error


def _spread(noted: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """At most NOTED of them: the first, the last, and between them those that lie farthest apart."""
    noted = list(noted)
    while len(noted) > NOTED:
        gaps = [noted[i + 1][0] - noted[i - 1][0] for i in range(1, len(noted) - 1)]
        del noted[1 + gaps.index(min(gaps))]
    return noted


def _manifests(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) ascending; of two at one step the one without a note is the later."""
    if not folder.is_dir():
        return []
    found = ((_MANIFEST.fullmatch(path.name), path) for path in folder.iterdir())
    rows = sorted((int(match[1]), match[2] is None, path) for match, path in found if match)
    return [(step, path) for step, _, path in rows]


def _tensors_of(path: Path) -> str | None:
    """Name of the tensors file, None where the manifest is damaged."""
    try:
        return str(_manifest(path)["tensors"])
    except _UNREADABLE:
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
