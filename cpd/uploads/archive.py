"""The table of contents of a zip, believed only as far as it fits the file."""

from __future__ import annotations

import stat
import struct
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cpd.errors import CpdError
from cpd.uploads import limits
from cpd.uploads.tensors import short

_END = struct.Struct("<4s4H2LH")  # end of central directory (APPNOTE.TXT, section 4.3.16)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNIX = 3
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Entry:
    """A file in a zip: the parts of its name, and where it is."""

    name: str
    parts: tuple[str, ...]
    info: zipfile.ZipInfo


def contents(file: Path, error: type[CpdError]) -> list[Entry]:
    """Files of the zip, in its order; folders are left out.

    Raises:
        error: without the file's name: damaged, too many or too large, or names that lead elsewhere.
    """
    size = file.stat().st_size
    _check_end(file, size, error)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OverflowError, IndexError) as problem:
        raise error(f"is a damaged zip ({str(problem)[:100]}).") from problem
    if len(infos) > limits.FILES:
        raise error(f"holds {len(infos):,} files; at most {limits.FILES:,} are unpacked.")
    entries = [Entry(info.filename, _parts(info, error), info) for info in infos]
    files = [entry for entry in entries if not entry.info.is_dir()]
    _check_names(files, error)
    _check_sizes(files, size, error)
    return files


def _check_end(file: Path, size: int, error: type[CpdError]) -> None:
    """How much table there is, before all of it is read."""
    with file.open("rb") as opened:
        opened.seek(max(0, size - _END.size - 0xFFFF))
        tail = opened.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise error("is no zip, or was cut short: its table of contents is missing.")
    table = _END.unpack_from(tail, at)[5]
    if table > limits.CONTENTS_BYTES:
        raise error(f"has a table of contents of {table:,} bytes; at most {limits.CONTENTS_BYTES:,} are read.")


def _parts(info: zipfile.ZipInfo, error: type[CpdError]) -> tuple[str, ...]:
    name = getattr(info, "orig_filename", info.filename)  # before zipfile cut it at a NUL
    shown = short(name)
    if len(name) > limits.NAME_LENGTH or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise error(f"the name {shown} in it is too long or holds control characters.")
    if "\\" in name or ":" in name or name.startswith("/"):
        raise error(f"the name {shown} in it is an absolute path or has a backslash or colon; nothing is unpacked.")
    parts = tuple(name.rstrip("/").split("/"))
    if any(part in ("", ".", "..") for part in parts) or len(parts) > limits.DEPTH:
        raise error(f"the name {shown} in it leads outside its folder or too deep; nothing is unpacked.")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.create_system == _UNIX and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise error(f"{shown} in it is a link or a special file; only plain files are unpacked.")
    if stat.S_ISLNK(info.external_attr >> 16):  # whatever system it claims
        raise error(f"{shown} in it is a link or a special file; only plain files are unpacked.")
    return parts


def _check_names(files: list[Entry], error: type[CpdError]) -> None:
    seen: set[str] = set()
    for entry in files:
        key = unicodedata.normalize("NFC", entry.name).casefold()
        if key in seen:
            raise error(f"holds the name {short(entry.name)} twice.")
        seen.add(key)
    inner = {"/".join(e.parts[:n]).casefold() for e in files for n in range(1, len(e.parts))}
    both = next((entry.name for entry in files if entry.name.casefold() in inner), None)
    if both is not None:
        raise error(f"{short(both)} in it is both a file and a folder.")


def _check_sizes(files: list[Entry], size: int, error: type[CpdError]) -> None:
    total = 0
    for entry in files:
        info = entry.info
        if info.flag_bits & _ENCRYPTED:
            raise error(f"{short(entry.name)} in it is encrypted; make the zip without a password.")
        if info.compress_type not in _METHODS:
            raise error(f"{short(entry.name)} in it is compressed in an uncommon way; make the zip with plain deflate.")
        if info.file_size > limits.RATIO * info.compress_size + limits.MIB:
            raise error(f"{short(entry.name)} in it would unpack to {info.file_size:,} bytes from {info.compress_size:,}: a zip bomb.")  # fmt: skip
        total += info.file_size
    if total > limits.UNPACKED_BYTES:
        raise error(f"would unpack to {total:,} bytes; at most {limits.UNPACKED_BYTES:,} are.")
    at, before = 0, ""
    for entry in sorted(files, key=lambda entry: entry.info.header_offset):
        info = entry.info
        if info.header_offset < at or info.header_offset + info.compress_size > size:
            raise error(f"{short(entry.name)} in it overlaps {short(before)} or the end: a zip bomb, or damaged.")
        at, before = info.header_offset + 30 + info.compress_size, entry.name
