"""How images and masks may lie in folders, told by names alone: one code for a folder and for an archive's table. No torch.

plain       images/ and masks/ with files of the same names; train/ and val/ inside either, or around both, or neither,
            and then a tenth is held out
ADE20K      images/{training,validation} and annotations/{training,validation}
Cityscapes  leftImg8bit/{train,val} and gtFine/{train,val}; *_labelTrainIds.png, else *_labelIds.png
VOC         VOCdevkit/VOC2012 (or another year, the newest) with its lists, JPEGImages and SegmentationClass
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from cpd.errors import DataError
from cpd.tasks.files import IMAGES

MASKS = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".webp"})
CITY_ENDS = ("_gtFine_labelTrainIds", "_gtFine_labelIds")  # the first of these that is there
CITY_IMAGE = "_leftImg8bit"
TABLE, LISTED = "objectInfo150.txt", "classes.txt"  # texts that name classes
LOOKED_FOR = (
    "images/ beside masks/, images/training beside annotations/training (ADE20K), leftImg8bit/ beside gtFine/ "
    "(Cityscapes) or VOCdevkit/VOC2012"
)
_HELD_OUT = 0.1  # of a set that brings no held-out one
_VAL = ("val", "validation", "valid", "test")  # the first of these that is there
_YEAR = re.compile(r"VOC(20[0-9][0-9])")

Pair = tuple[str, str]  # names of an image and its mask in a tree


class Tree(Protocol):
    """Names of files with "/" between their parts, and the texts among them."""

    def files(self, folder: str) -> Iterable[str]:
        """Those below `folder`, however deep."""
        ...

    def is_folder(self, name: str) -> bool: ...

    def folders(self, name: str) -> Iterable[str]:
        """Names of the folders right in it."""
        ...

    def text(self, name: str) -> str | None:
        """None where there is no such file. Raises DataError where it is no text."""
        ...

    def shown(self, name: str) -> str:
        """How a file or folder is called in messages."""
        ...


class Folder:
    """A folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def files(self, folder: str) -> Iterable[str]:
        return (p.relative_to(self.root).as_posix() for p in (self.root / folder).rglob("*") if p.suffix)

    def is_folder(self, name: str) -> bool:
        return (self.root / name).is_dir()

    def folders(self, name: str) -> Iterable[str]:
        place = self.root / name
        return [p.name for p in place.iterdir() if p.is_dir()] if place.is_dir() else []

    def text(self, name: str) -> str | None:
        file = self.root / name
        try:
            return file.read_text(encoding="utf-8") if file.is_file() else None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: cannot be read as text ({error}).") from error

    def shown(self, name: str) -> str:
        return str(self.root / name)


@dataclass(frozen=True)
class Layout:
    """What lies where.

    Attributes:
        kind: "plain", "ADE20K", "Cityscapes", or "VOC2012" and so on.
        train, val: images with their masks, in the order of their names (of VOC's lists).
        mask_end: how the stems of Cityscapes' masks end.
    """

    kind: str
    train: tuple[Pair, ...]
    val: tuple[Pair, ...]
    mask_end: str = ""


def kind_of(tree: Tree) -> str:
    """The layout that its folders speak of; "" for none."""
    if _years(tree):
        return "VOC"
    if tree.is_folder("annotations/training"):
        return "ADE20K"
    if tree.is_folder("leftImg8bit"):
        return "Cityscapes"
    inside = ("images", *(f"{part}/images" for part in _VAL))
    return "plain" if any(tree.is_folder(name) for name in inside) else ""


def mask_layout(name: str, tree: Tree) -> Layout:
    """Any of the layouts but VOC's.

    Args:
        name: of the data, for errors.
    Raises:
        DataError: none of them, no images, or images without masks.
    """
    if tree.is_folder("annotations/training"):
        train, val = (paired(name, tree, f"images/{p}", f"annotations/{p}") for p in ("training", "validation"))
        return Layout("ADE20K", train, val)
    if tree.is_folder("leftImg8bit"):
        masks = [PurePosixPath(file) for file in tree.files("gtFine")]
        end = next((e for e in CITY_ENDS if any(m.stem.endswith(e) and m.suffix == ".png" for m in masks)), "")
        if not end:
            raise DataError(
                f"{name}: {tree.shown('gtFine')} holds no masks named *{CITY_ENDS[0]}.png or *{CITY_ENDS[1]}.png."
            )
        train, val = (paired(name, tree, f"leftImg8bit/{p}", f"gtFine/{p}", CITY_IMAGE, end) for p in ("train", "val"))
        return Layout("Cityscapes", train, val, end)
    return _plain(name, tree)


def _plain(name: str, tree: Tree) -> Layout:
    part = next((part for part in _VAL if tree.is_folder(f"{part}/images")), "")
    held = next((part for part in _VAL if tree.is_folder(f"images/{part}")), "")
    if part and tree.is_folder("train/images"):
        train, val = (paired(name, tree, f"{p}/images", f"{p}/masks") for p in ("train", part))
        return Layout("plain", train, val)
    if held and tree.is_folder("images/train"):
        train, val = (paired(name, tree, f"images/{p}", f"masks/{p}") for p in ("train", held))
        return Layout("plain", train, val)
    if not tree.is_folder("images"):
        raise DataError(
            f"{name}: {tree.shown('')} holds no folder images/ beside masks/, no images/training beside "
            "annotations/training (ADE20K), and no leftImg8bit/ beside gtFine/ (Cityscapes)."
        )
    everything = paired(name, tree, "images", "masks")
    order = np.random.default_rng(0).permutation(len(everything))
    count = int(np.ceil(len(order) * _HELD_OUT))
    train, val = (tuple(everything[i] for i in sorted(part)) for part in (order[count:], order[:count]))
    if not train:
        raise DataError(f"{name}: has one image; one to train on and one to judge by are needed.")
    return Layout("plain", train, val)


def voc_layout(name: str, tree: Tree) -> Layout:
    """VOC's, as torchvision reads it: lists of names under ImageSets/Segmentation.

    Raises:
        DataError: there is no VOC, or not all of it.
    """
    years = _years(tree)
    if not years:
        raise DataError(f"{name}: holds no VOCdevkit/VOC2012 or another year; unpack the VOC archive there.")
    home = f"VOCdevkit/VOC{years[-1]}"
    there = {file for folder in ("JPEGImages", "SegmentationClass") for file in tree.files(f"{home}/{folder}")}
    parts = []
    for part in ("train", "val"):
        list_ = f"{home}/ImageSets/Segmentation/{part}.txt"
        text = tree.text(list_)
        if text is None:
            raise _incomplete(name, years[-1], tree.shown(list_))
        names = [line.strip() for line in text.splitlines() if line.strip()]
        pairs = [(f"{home}/JPEGImages/{each}.jpg", f"{home}/SegmentationClass/{each}.png") for each in names]
        missing = next((file for pair in pairs for file in pair if file not in there), None)
        if missing is not None:
            raise _incomplete(name, years[-1], tree.shown(missing))
        if not pairs:
            raise _incomplete(name, years[-1], "a list is empty")
        parts.append(tuple(pairs))
    return Layout(f"VOC{years[-1]}", parts[0], parts[1])


def _years(tree: Tree) -> list[str]:
    return sorted(found[1] for folder in tree.folders("VOCdevkit") if (found := _YEAR.fullmatch(folder)))


def _incomplete(name: str, year: str, what: str) -> DataError:
    return DataError(f"{name}: VOC{year} is not all there ({what}); VOC's own archive has it.")


def paired(name: str, tree: Tree, images: str, masks: str, image_end: str = "", mask_end: str = "") -> tuple[Pair, ...]:
    """Images of a folder and everything below it with the mask of the same relative name, in order of their names.

    Args:
        name: of the data, for errors.
        image_end, mask_end: how the stems of the two end apart, "_leftImg8bit" and "_gtFine_labelIds", say.

    Raises:
        DataError: no images, or images without masks.
    """
    found = _keyed(tree, images, IMAGES, image_end)
    known = _keyed(tree, masks, MASKS, mask_end)
    if not found:
        raise DataError(f"{name}: there are no images in {tree.shown(images)}.")
    alone = [key for key in found if key not in known]
    if alone:
        lossy = _keyed(tree, masks, frozenset({".jpg", ".jpeg"}), mask_end)
        if lossy:
            first = tree.shown(next(iter(lossy.values())))
            raise DataError(f"{first}: a mask as JPEG has lost its class numbers; save masks as PNG.")
        image = PurePosixPath(found[alone[0]]).name
        wanted = tree.shown(f"{masks}/{alone[0]}{mask_end}.png")
        raise DataError(f"{name}: {len(alone)} of {len(found)} images have no mask; {image} needs {wanted}.")
    return tuple((file, known[key]) for key, file in sorted(found.items()))


def _keyed(tree: Tree, folder: str, suffixes: frozenset[str], end: str) -> dict[str, str]:
    """Name below the folder, without suffix and `end` -> file."""
    found = {}
    for file in tree.files(folder):
        path = PurePosixPath(file)
        if path.suffix.lower() in suffixes and path.stem.endswith(end) and not path.name.startswith("."):
            key = path.relative_to(folder).with_name(path.stem.removesuffix(end) or "_")
            found[str(key)] = file
    return found
