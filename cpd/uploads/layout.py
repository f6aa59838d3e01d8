"""Which entries of an archive are images and masks, and the names that we give them.

    [train/ val/] CLASS / ... / image       becomes  [train/] CLASS / 000001.png     (imagefolder)
    [train/ val/] images|masks / ... / file becomes  images|masks / [train/] 000001.png     (masks)

A folder around all of it is taken off. Of names in the archive only the classes' stay, letters, digits and spaces of
them: they are what charts and tables will say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from cpd.errors import DataError
from cpd.uploads.archive import Entry
from cpd.uploads.tensors import short

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm"})
_ARCHIVES = frozenset(".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst .lz .jar .whl .npz .cab .iso".split())
_PARTS = {"train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
_PAIR = ("images", "masks")
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Place:
    """An entry, the folder of ours that it goes to, and its number there."""

    entry: Entry
    folder: str
    number: int


@dataclass(frozen=True)
class Layout:
    """What an archive holds.

    Attributes:
        source: "imagefolder" or "masks", as data sets are named.
        classes: names of class folders as they will be on disk.
        names: the entry classes.txt of masks, None where there is none.
        left_out: files that are neither.
    """

    source: str
    places: tuple[Place, ...]
    classes: tuple[str, ...]
    names: Entry | None
    left_out: int


def layout(entries: Sequence[Entry]) -> Layout:
    """Raises DataError, without the archive's name: nested archives, no images, or neither of the two layouts."""
    entries = [entry for entry in entries if not any(p in _JUNK or p.startswith(".") for p in entry.parts)]
    nested = next((entry for entry in entries if _suffix(entry) in _ARCHIVES), None)
    if nested is not None:
        raise DataError(f"{short(nested.name)} in it is an archive itself; put the images into one zip.")
    images = [entry for entry in entries if _suffix(entry) in IMAGES]
    if not images:
        raise DataError("holds no images; zip the folders of your classes, or images/ and masks/.")
    off = _around([entry.parts for entry in images])
    rows = [(entry, entry.parts[off:]) for entry in images]
    names = next((entry for entry in entries if entry.parts[off:] == ("classes.txt",)), None)
    left_out = len(entries) - len(images)
    if {"images", "masks"} <= {part for _, parts in rows for part in parts[:2]}:
        return _pairs(rows, names, left_out - (names is not None))
    return _classes(rows, left_out)


def _suffix(entry: Entry) -> str:
    return PurePosixPath(entry.parts[-1]).suffix.lower()


def _around(paths: Sequence[tuple[str, ...]]) -> int:
    """How many folders stand around everything."""
    off = 0
    while all(len(parts) > off + 2 for parts in paths) and len({parts[off] for parts in paths}) == 1:
        if paths[0][off].lower() in {*_PARTS, *_PAIR}:
            break
        off += 1
    return off


def _classes(rows: Sequence[tuple[Entry, tuple[str, ...]]], left_out: int) -> Layout:
    split = [parts[0].lower() in _PARTS for _, parts in rows]
    if any(split) and not all(split):
        alone = next(entry for (entry, _), inside in zip(rows, split, strict=True) if not inside)
        raise DataError(f"{short(alone.name)} in it lies outside train/ and val/, other images inside.")
    deep = 2 if all(split) else 1
    outside = next((entry for entry, parts in rows if len(parts) <= deep), None)
    if outside is not None:
        raise DataError(
            f"{short(outside.name)} in it lies in no class's folder; images go into a folder for each class."
        )
    labels = _labels(parts[deep - 1] for _, parts in rows)
    counts: dict[str, int] = {}
    places = []
    for entry, parts in rows:
        label = labels[_plain(parts[deep - 1])]
        folder = f"{_PARTS[parts[0].lower()]}/{label}" if deep == 2 else label
        counts[folder] = counts.get(folder, 0) + 1
        places.append(Place(entry, folder, counts[folder]))
    if len(labels) < 2:
        raise DataError("holds images of one class; two or more are needed, each in a folder of its own.")
    if deep == 2 and not any(place.folder.startswith("train/") for place in places):
        raise DataError("holds no images under train/.")
    return Layout("imagefolder", tuple(places), tuple(labels.values()), None, left_out)


def _pairs(rows: Sequence[tuple[Entry, tuple[str, ...]]], names: Entry | None, left_out: int) -> Layout:
    found: dict[str, dict[tuple[str, str], Entry]] = {"images": {}, "masks": {}}
    for entry, parts in rows:
        which = next((at for at, part in enumerate(parts[:2]) if part in _PAIR), None)
        if which is None or len(parts) <= which + 1:
            left_out += 1
            continue
        part = parts[0] if which == 1 else parts[1]
        split = _PARTS.get(part.lower(), "") if len(parts) > 2 else ""
        rest = parts[2:] if split else parts[which + 1 :]
        key = (split, str(PurePosixPath(*rest).with_suffix("")))
        if key in found[parts[which]]:
            raise DataError(f"holds two files named as {short(entry.name)} but for their endings.")
        found[parts[which]][key] = entry
    splits = {split for split, _ in found["images"]}
    if "" in splits and len(splits) > 1:
        raise DataError("holds images both inside and outside train/ and val/.")
    if "train" in splits and len(splits) < 2:
        raise DataError("holds train/ but neither val/ nor test/; leave train/ out and a tenth is held out.")
    places = []
    for number, (key, image) in enumerate(sorted(found["images"].items()), 1):
        mask = found["masks"].get(key)
        if mask is None:
            raise DataError(f"{short(image.name)} in it has no mask of the same name under masks/.")
        for kind, entry in (("images", image), ("masks", mask)):
            places.append(Place(entry, f"{kind}/{key[0]}".rstrip("/"), number))
    left_out += len(found["masks"]) - len(found["images"])
    return Layout("masks", tuple(places), (), names, left_out)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _labels(names: Iterable[str]) -> dict[str, str]:
    """Class in the archive -> folder on disk; each its own, and none that means something else there."""
    labels: dict[str, str] = {}
    taken = set(_PARTS)
    for name in sorted({_plain(name) for name in names}):
        base = re.sub(r"[^\w -]+", "_", name).strip()[:50] or "class"
        label, number = base, 2
        while label.casefold() in taken:
            label, number = f"{base}-{number}", number + 1
        taken.add(label.casefold())
        labels[name] = label
    return labels
