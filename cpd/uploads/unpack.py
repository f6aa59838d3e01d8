"""An archive of images into a folder: every file decoded once, and written under a number."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpd.errors import DataError
from cpd.files import make_folder
from cpd.uploads import limits
from cpd.uploads.archive import Entry, contents
from cpd.uploads.layout import layout
from cpd.uploads.picture import check_picture
from cpd.uploads.place import Found
from cpd.uploads.scenes import check_scenes
from cpd.uploads.tensors import short


def unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Fill `folder`, which exists and is empty; what was found, as plain numbers and names.

    Raises:
        DataError: without the archive's name.
    """
    entries = contents(file, DataError)
    called: dict[Path, str] = {}
    with zipfile.ZipFile(file) as archive:
        found = layout(entries, lambda entry: _read(archive, entry, limits.TEXT_BYTES))
        for place in found.places:
            data = _read(archive, place.entry, limits.ONE_FILE_BYTES)
            try:
                suffix = check_picture(data)
            except DataError as error:
                raise DataError(f"{short(place.entry.name)} in it {error}") from error
            if place.mask and suffix == ".jpg":
                raise DataError(f"{short(place.entry.name)} in it is a mask as JPEG, which has lost its class numbers; save masks as PNG.")  # fmt: skip
            target = make_folder(folder / place.folder) / f"{place.number:06d}{place.end}{place.suffix or suffix}"
            target.write_bytes(data)
            called[target] = place.entry.name
        if found.names is not None:
            _write_names(_read(archive, found.names, limits.TEXT_BYTES), folder)
    for name, text in found.texts.items():
        target = folder / name
        make_folder(target.parent)
        target.write_text(_clean(text), encoding="utf-8")
    return _facts(found, folder, called)


def _read(archive: zipfile.ZipFile, entry: Entry, most: int) -> bytes:
    if entry.info.file_size > most:
        raise DataError(f"{short(entry.name)} in it has {entry.info.file_size:,} bytes; at most {most:,} are taken.")
    try:
        with archive.open(entry.info) as opened:
            return opened.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{short(entry.name)} in it is damaged ({str(error)[:100] or type(error).__name__})."
        ) from error


def _write_names(data: bytes, folder: Path) -> None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("its classes.txt is no text.") from error
    (folder / "classes.txt").write_text(_clean(text), encoding="utf-8")


def _clean(text: str) -> str:
    """Lines of what can be printed, none of them long or empty."""
    lines = ("".join(c for c in line if c.isprintable() or c == "\t")[:200].strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def _facts(found: Found, folder: Path, called: Mapping[Path, str]) -> dict[str, Any]:
    images, train, val, classes = len(found.places), 0, 0, found.classes
    if found.source != "imagefolder":
        train, val, classes = check_scenes(found, folder, called)
        images = train + val
    return {
        "source": found.source,
        "kind": found.kind,
        "images": images,
        "train": train,
        "val": val,
        "classes": list(classes),
        "left_out": found.left_out,
    }
