"""An archive of images into a folder: every file decoded once, and written under a number."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

from cpd.errors import DataError
from cpd.files import make_folder
from cpd.uploads import limits
from cpd.uploads.archive import Entry, contents
from cpd.uploads.layout import Layout, layout
from cpd.uploads.picture import check_picture
from cpd.uploads.tensors import short

_TEXT_BYTES = 1 << 16


def unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Fill `folder`, which exists and is empty; what was found, as plain numbers and names.

    Raises:
        DataError: without the archive's name.
    """
    found = layout(contents(file, DataError))
    with zipfile.ZipFile(file) as archive:
        for place in found.places:
            data = _read(archive, place.entry, limits.ONE_FILE_BYTES)
            try:
                suffix = check_picture(data)
            except DataError as error:
                raise DataError(f"{short(place.entry.name)} in it {error}") from error
            if place.folder.startswith("masks") and found.source == "masks" and suffix == ".jpg":
                raise DataError(f"{short(place.entry.name)} in it is a mask as JPEG, which has lost its class numbers; save masks as PNG.")  # fmt: skip
            target = make_folder(folder / place.folder) / f"{place.number:06d}{suffix}"
            target.write_bytes(data)
        if found.names is not None:
            _write_names(_read(archive, found.names, _TEXT_BYTES), folder)
    return _facts(found)


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
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError("its classes.txt is no text.") from error
    kept = ["".join(c for c in line if c.isprintable())[:80] for line in lines if line]
    (folder / "classes.txt").write_text("\n".join(kept) + "\n", encoding="utf-8")


def _facts(found: Layout) -> dict[str, Any]:
    images = sum(not place.folder.startswith("masks") or found.source != "masks" for place in found.places)
    return {"source": found.source, "images": images, "classes": list(found.classes), "left_out": found.left_out}
