"""Archives in the layouts of ADE20K, Cityscapes and VOC: told apart by the code that reads folders of them.

The folders that a layout is known by stay, and so do the endings; everything between them becomes a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from cpd.errors import DataError
from cpd.tasks.segmentation.layouts import (
    CITY_IMAGE,
    LISTED,
    TABLE,
    Folder,
    Layout,
    Pair,
    kind_of,
    mask_layout,
    voc_layout,
)
from cpd.tasks.segmentation.masks import as_classes, check_numbers, check_size, numbers_of, read_mask, size_of
from cpd.tasks.segmentation.meaning import meaning
from cpd.uploads.archive import Entry
from cpd.uploads.place import Found, Place
from cpd.uploads.tensors import short

_AROUND = 6  # folders that may stand around a set, at the most
_DEEP = 2  # levels of folders that tell layouts apart
Read = Callable[[Entry], bytes]


class Contents:
    """A zip's table as a tree of names; see `cpd.tasks.segmentation.layouts.Tree`."""

    def __init__(self, entries: Mapping[str, Entry], read: Read) -> None:
        self.entries, self._read = entries, read
        self.told: set[str] = set()  # texts that were read
        deepest = {tuple(name.split("/")[:-1][:_DEEP]) for name in entries}
        self._folders = {"/".join(parts[:n]) for parts in deepest for n in range(1, len(parts) + 1)}

    def files(self, folder: str) -> Iterable[str]:
        return [name for name in self.entries if name.startswith(f"{folder}/")]

    def is_folder(self, name: str) -> bool:
        return name in self._folders

    def folders(self, name: str) -> Iterable[str]:
        return [each[len(name) + 1 :] for each in self._folders if each.startswith(f"{name}/")]

    def text(self, name: str) -> str | None:
        entry = self.entries.get(name)
        if entry is None:
            return None
        self.told.add(name)
        try:
            return self._read(entry).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.shown(name)} is no text.") from error

    def shown(self, name: str) -> str:
        return f"{short(name)} in it" if name else "it"


def scenes(entries: Sequence[Entry], images: Sequence[Entry], read: Read) -> Found | None:
    """Where everything goes; None where folders speak of none of these layouts.

    Args:
        images: those of `entries` that are.
    Raises:
        DataError: without the archive's name: the layout is known, and not all of it is there.
    """
    for off in range(_AROUND):
        around = images[0].parts[:off]
        names = {"/".join(e.parts[off:]): e for e in entries if e.parts[:off] == around and len(e.parts) > off}
        if any(e.parts[off].startswith("VOC20") for e in images if len(e.parts) > off + 1):
            names = {f"VOCdevkit/{name}": entry for name, entry in names.items()}  # zipped without the outermost folder
        tree = Contents(names, read)
        kind = kind_of(tree)
        if kind not in ("", "plain"):
            called = f"has the layout of {kind}, but"
            return _placed(voc_layout(called, tree) if kind == "VOC" else mask_layout(called, tree), tree)
        if any(len(e.parts) < off + 3 for e in images) or len({e.parts[off] for e in images}) > 1:
            return None
    return None


def _placed(layout: Layout, tree: Contents) -> Found:
    once: set[str] = set()
    for name in chain.from_iterable((*layout.train, *layout.val)):
        if name in once:
            raise DataError(f"lists {short(name)} twice.")
        once.add(name)
    texts: dict[str, str] = {}
    places: list[Place] = []
    for part, pairs in (("train", layout.train), ("val", layout.val)):
        numbers = range(len(places) // 2 + 1, len(places) // 2 + 1 + len(pairs))
        for number, (image, mask) in zip(numbers, pairs, strict=True):
            places += _two(layout, part, tree.entries[image], tree.entries[mask], number)
        if layout.kind.startswith("VOC"):
            texts[f"VOCdevkit/{layout.kind}/ImageSets/Segmentation/{part}.txt"] = "".join(f"{n:06d}\n" for n in numbers)
    if layout.kind == "ADE20K":
        texts |= {name: text for name in (LISTED, TABLE) if (text := tree.text(name)) is not None}
    source = "voc" if layout.kind.startswith("VOC") else "masks"
    left_out = len(tree.entries) - len(places) - len(tree.told)
    return Found(source, layout.kind, tuple(places), texts=texts, left_out=left_out)


def _two(layout: Layout, part: str, image: Entry, mask: Entry, number: int) -> tuple[Place, Place]:
    """An image and its mask, where the layout has them."""
    if layout.kind == "ADE20K":
        part = {"train": "training", "val": "validation"}[part]
        return Place(image, f"images/{part}", number), Place(mask, f"annotations/{part}", number, mask=True)
    if layout.kind == "Cityscapes":
        return (
            Place(image, f"leftImg8bit/{part}", number, CITY_IMAGE),
            Place(mask, f"gtFine/{part}", number, layout.mask_end, mask=True),
        )
    home = f"VOCdevkit/{layout.kind}"  # whose lists name files without their endings
    return (
        Place(image, f"{home}/JPEGImages", number, suffix=".jpg"),
        Place(mask, f"{home}/SegmentationClass", number, suffix=".png", mask=True),
    )


def check_scenes(found: Found, folder: Path, called: Mapping[Path, str]) -> tuple[int, int, tuple[str, ...]]:
    """What was unpacked, read as a run will read it: every mask of its image's size, and of no numbers but its classes'.

    Args:
        called: names in the archive of the files in `folder`.
    Returns:
        Images to train on, images held out, and the classes.
    Raises:
        DataError: without the archive's name.
    """
    try:
        tree = Folder(folder)
        layout = voc_layout("it", tree) if found.source == "voc" else mask_layout("it", tree)
        pairs: list[Pair] = [*layout.train, *layout.val]
        numbers = {}
        for image, mask in pairs:
            file = folder / mask
            pixels = read_mask(file)
            check_size(file, pixels.shape, size_of(folder / image))
            numbers[file] = numbers_of(pixels)
        means = meaning("it", layout, tree, lambda: {int(n) for n in np.concatenate([*numbers.values()])})
        for file, held in numbers.items():
            check_numbers(file, as_classes(held, means.renumber), len(means.classes))
        return len(layout.train), len(layout.val), means.classes
    except DataError as error:
        raise DataError(_as_called(str(error), folder, called)) from error


def _as_called(text: str, folder: Path, called: Mapping[Path, str]) -> str:
    head, colon, rest = text.partition(": ")
    if colon and Path(head) in called:
        return f"{short(called[Path(head)])} in it {rest}"
    return (rest if head == "it" else text).replace(f"{folder}/", "").replace(str(folder), "it")
