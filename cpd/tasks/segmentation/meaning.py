"""What the numbers in the masks of a layout mean: the classes' names, and how numbers in files become classes. No torch.

plain       class numbers from 0, 255 for pixels that do not count; masks of 0 and 255 alone are two classes;
            classes.txt names the classes, one a line
ADE20K      0 does not count, 1 is the first class; objectInfo150.txt names the classes where it is there
Cityscapes  the 19 classes that are trained on, from either kind of label
VOC         20 classes and the background; 255, the outlines, does not count
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cpd.errors import DataError
from cpd.tasks.segmentation.layouts import CITY_ENDS, LISTED, TABLE, Layout, Tree
from cpd.tasks.segmentation.masks import IGNORE, MOST_CLASSES, IntArray, Renumber

# Cityscapes' table of labels: number in the file -> class that is trained on, and the classes' names in that order.
_CITY_CLASSES = tuple(
    "road,sidewalk,building,wall,fence,pole,traffic light,traffic sign,vegetation,terrain,sky,person,rider,car,truck,"
    "bus,train,motorcycle,bicycle".split(",")
)
_CITY_NUMBERS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_VOC_CLASSES = tuple(
    "background,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,"
    "pottedplant,sheep,sofa,train,tvmonitor".split(",")
)


@dataclass(frozen=True)
class Meaning:
    """The classes' names, and how numbers in masks are to be read (None: as they are)."""

    classes: tuple[str, ...]
    renumber: Renumber | None = None


def meaning(name: str, layout: Layout, tree: Tree, numbers: Callable[[], set[int]]) -> Meaning:
    """Args:
        name: of the data, for errors.
        numbers: tells all numbers that occur in the masks; asked only where nothing names the classes.
    Raises:
        DataError: fewer than two classes, or too many, or a class named twice.
    """
    if layout.kind.startswith("VOC"):
        return Meaning(_VOC_CLASSES)
    if layout.kind == "Cityscapes":
        return Meaning(_CITY_CLASSES, None if layout.mask_end == CITY_ENDS[0] else _from_label_ids)
    classes = _listed(tree)
    if layout.kind == "ADE20K":
        classes = classes or _from_table(tree) or tuple(f"class {n}" for n in range(1, max(numbers()) + 1))
        return Meaning(_enough(name, classes), _from_one)
    if classes:
        return Meaning(_enough(name, classes))
    found = numbers()
    if found == {0, IGNORE}:  # black and white, as most tools paint a mask of one thing
        return Meaning(("background", "foreground"), _black_and_white)
    counted = found - {IGNORE}
    if counted and max(counted) >= MOST_CLASSES:
        raise DataError(
            f"{name}: masks hold the number {max(counted)}; at most {MOST_CLASSES} classes, 0 to {MOST_CLASSES - 1}, can be."
        )
    return Meaning(_enough(name, tuple(f"class {n}" for n in range(max(counted, default=-1) + 1))))


def _from_one(mask: IntArray) -> IntArray:
    """0 does not count, and the first class is 1."""
    return np.where(mask == 0, IGNORE, mask - 1)


def _from_label_ids(mask: IntArray) -> IntArray:
    """Cityscapes' numbers of all labels to those that are trained on."""
    table = np.full(256, IGNORE)
    table[list(_CITY_NUMBERS)] = np.arange(len(_CITY_NUMBERS))
    found: IntArray = table[mask.clip(0, 255)]
    return found


def _black_and_white(mask: IntArray) -> IntArray:
    return (mask > 0).astype(np.int64)


def _listed(tree: Tree) -> tuple[str, ...]:
    """Names from classes.txt, one a line; none where there is no such file."""
    lines = (tree.text(LISTED) or "").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) < len(names):
        raise DataError(f"{tree.shown(LISTED)}: names a class twice.")
    return names


def _from_table(tree: Tree) -> tuple[str, ...]:
    """The last column of ADE20K's own table, the first of each class's names."""
    rows = [line.split("\t") for line in (tree.text(TABLE) or "").splitlines()[1:] if line.strip()]
    return tuple(row[-1].split(",")[0].strip() for row in rows)


def _enough(name: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(f"{name}: {len(classes)} classes; from 2 to {MOST_CLASSES} are needed.")
    return classes
