"""Which entries of an archive are images and masks, and the names that we give them.

    [train/ val/] CLASS / ... / image       becomes  [train/] CLASS / 000001.png     (imagefolder)
    [train/ val/] images|masks / ... / file becomes  images|masks / [train/] 000001.png     (masks)
    ADE20K, Cityscapes, VOC                 see scenes.py

A folder around all of it is taken off. Of names in the archive only the classes' stay, letters, digits and spaces of
them: they are what charts and tables will say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from cpd.errors import DataError
from cpd.tasks.files import IMAGES
from cpd.tasks.segmentation.layouts import LOOKED_FOR
from cpd.uploads.archive import Entry
from cpd.uploads.place import Found, Place
from cpd.uploads.scenes import Read, scenes
from cpd.uploads.tensors import short

_ARCHIVES = frozenset(".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst .lz .jar .whl .npz .cab .iso".split())
_PARTS = {"train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
_PAIR = ("images", "masks")
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_HALVES = frozenset({"annotations", "gtFine", "leftImg8bit", "JPEGImages", "SegmentationClass"})
WANTED = f"a folder of images for each class, {LOOKED_FOR}"


def layout(entries: Sequence[Entry], read: Read) -> Found:
    """Raises DataError, without the archive's name: nested archives, no images, or none of the layouts.

    Args:
        read: gives the bytes of an entry.
    """
    entries = [entry for entry in entries if not any(p in _JUNK or p.startswith(".") for p in entry.parts)]
    nested = next((entry for entry in entries if _suffix(entry) in _ARCHIVES), None)
    if nested is not None:
        raise DataError(f"{short(nested.name)} in it is an archive itself; put the images into one zip.")
    images = [entry for entry in entries if _suffix(entry) in IMAGES]
    if not images:
        raise DataError(f"holds no images; looked for {WANTED}.")
    found = scenes(entries, images, read)
    if found is not None:
        return found
    off = _around([entry.parts for entry in images])
    rows = [(entry, entry.parts[off:]) for entry in images]
    names = next((entry for entry in entries if entry.parts[off:] == ("classes.txt",)), None)
    left_out = len(entries) - len(images)
    if {"images", "masks"} <= {part for _, parts in rows for part in parts[:2]}:
        return _pairs(rows, names, left_out - (names is not None))
    half = next((part for entry in images for part in entry.parts[:-1] if part in _HALVES), None)
    if half is not None:
        raise DataError(f"holds a folder {half}/, but not a whole set to segment; looked for {WANTED}.")
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


def _classes(rows: Sequence[tuple[Entry, tuple[str, ...]]], left_out: int) -> Found:
    split = [parts[0].lower() in _PARTS for _, parts in rows]
    if any(split) and not all(split):
        alone = next(entry for (entry, _), inside in zip(rows, split, strict=True) if not inside)
        raise DataError(f"{short(alone.name)} in it lies outside train/ and val/, other images inside.")
    deep = 2 if all(split) else 1
    outside = next((entry for entry, parts in rows if len(parts) <= deep), None)
    if outside is not None:
        raise DataError(f"{short(outside.name)} in it lies in no class's folder; looked for {WANTED}.")
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
    return Found("imagefolder", "class folders", tuple(places), tuple(labels.values()), left_out=left_out)


def _pairs(rows: Sequence[tuple[Entry, tuple[str, ...]]], names: Entry | None, left_out: int) -> Found:
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
            places.append(Place(entry, f"{kind}/{key[0]}".rstrip("/"), number, mask=kind == "masks"))
    left_out += len(found["masks"]) - len(found["images"])
    return Found("masks", "images/ beside masks/", tuple(places), names=names, left_out=left_out)


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
