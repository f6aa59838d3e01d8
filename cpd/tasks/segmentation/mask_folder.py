"""`masks:DIR`: images and masks in folders, in ADE20K's layout, Cityscapes', or plain.

plain       images/ and masks/ with files of the same names; train/ and val/ inside either, or around both, or neither,
            and then a tenth is held out. Masks hold class numbers from 0, 255 for pixels that do not count; masks of 0
            and 255 alone are two classes. classes.txt names the classes, one a line.
ADE20K      images/{training,validation} and annotations/{training,validation}; 0 does not count, 1 is the first class.
            objectInfo150.txt names the classes where it is there.
Cityscapes  leftImg8bit/{train,val} and gtFine/{train,val}; *_labelTrainIds.png, else *_labelIds.png.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cpd.errors import DataError
from cpd.tasks import Progress
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.segmentation.moves import IGNORE
from cpd.tasks.segmentation.pairs import MOST_CLASSES, Pairs, Reader, Renumber, numbers_in, paired, sizes_of
from cpd.tasks.segmentation.scenes import scene_set
from cpd.tasks.segmentation.task import SegmentationTask

_HELD_OUT = 0.1  # of a set that brings no held-out one
_VAL = ("val", "validation", "valid", "test")  # the first of these that is there

# Cityscapes' table of labels: number in the file -> class that is trained on, and the classes' names in that order.
_CITY_CLASSES = tuple(
    "road,sidewalk,building,wall,fence,pole,traffic light,traffic sign,vegetation,terrain,sky,person,rider,car,truck,"
    "bus,train,motorcycle,bicycle".split(",")
)
_CITY_NUMBERS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@dataclass(frozen=True)
class Found:
    """What a folder holds: the pairs of both sets, the classes' names, and how numbers in masks are to be read."""

    train: Pairs
    val: Pairs
    classes: tuple[str, ...]
    renumber: Renumber | None = None


def mask_folder(
    place: str, shape: tuple[int, int, int], norm: Normalisation, progress: Progress | None = None
) -> SegmentationTask:
    """A task from folders of images and masks.

    Raises:
        DataError: no such folder, images without masks, masks that are none, or fewer than two classes.
    """
    name, root = f"masks:{place}", Path(place)
    if not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}.")
    if (root / "annotations" / "training").is_dir():
        found = _ade20k(name, root, progress)
    elif (root / "leftImg8bit").is_dir():
        found = _cityscapes(name, root)
    else:
        found = _plain(name, root, progress)
    return task_of(name, found, shape, norm, progress)


def task_of(
    name: str, found: Found, shape: tuple[int, int, int], norm: Normalisation, progress: Progress | None = None
) -> SegmentationTask:
    """The task of what was found."""
    train, val = (
        scene_set(
            Reader(pairs, len(found.classes), shape[0], found.renumber), sizes_of(pairs), shape, norm, progress=progress
        )
        for pairs in (found.train, found.val)
    )
    return SegmentationTask(name, found.classes, shape, train=train, val=val)


def _ade20k(name: str, root: Path, progress: Progress | None) -> Found:
    train, val = (
        paired(name, root / "images" / part, root / "annotations" / part) for part in ("training", "validation")
    )
    classes = _listed(root)
    table = root / "objectInfo150.txt"
    if not classes and table.is_file():
        rows = [line.split("\t") for line in table.read_text(errors="replace").splitlines()[1:] if line.strip()]
        classes = tuple(row[-1].split(",")[0].strip() for row in rows)
    if not classes:
        classes = tuple(f"class {n}" for n in range(1, max(numbers_in([*train, *val], progress)) + 1))
    return Found(train, val, _enough(name, classes), _from_one)


def _from_one(mask: np.ndarray) -> np.ndarray:
    """0 does not count, and the first class is 1."""
    return np.where(mask == 0, IGNORE, mask - 1)


def _cityscapes(name: str, root: Path) -> Found:
    ends = ("_gtFine_labelTrainIds", "_gtFine_labelIds")
    end = next((end for end in ends if next((root / "gtFine").rglob(f"*{end}.png"), None)), "")
    if not end:
        raise DataError(f"{name}: {root / 'gtFine'} holds no masks named *{ends[0]}.png or *{ends[1]}.png.")
    train, val = (
        paired(name, root / "leftImg8bit" / part, root / "gtFine" / part, "_leftImg8bit", end)
        for part in ("train", "val")
    )
    return Found(train, val, _CITY_CLASSES, None if end == ends[0] else _from_label_ids)


def _from_label_ids(mask: np.ndarray) -> np.ndarray:
    """Cityscapes' numbers of all labels to those that are trained on."""
    table = np.full(256, IGNORE)
    table[list(_CITY_NUMBERS)] = np.arange(len(_CITY_NUMBERS))
    found: np.ndarray = table[mask.clip(0, 255)]
    return found


def _plain(name: str, root: Path, progress: Progress | None) -> Found:
    part = next((part for part in _VAL if (root / part / "images").is_dir()), "")
    held = next((part for part in _VAL if (root / "images" / part).is_dir()), "")
    if part and (root / "train" / "images").is_dir():
        train, val = (paired(name, root / p / "images", root / p / "masks") for p in ("train", part))
    elif held and (root / "images" / "train").is_dir():
        train, val = (paired(name, root / "images" / p, root / "masks" / p) for p in ("train", held))
    elif (root / "images").is_dir():
        everything = paired(name, root / "images", root / "masks")
        order = np.random.default_rng(0).permutation(len(everything))
        count = int(np.ceil(len(order) * _HELD_OUT))
        train, val = ([everything[i] for i in sorted(part)] for part in (order[count:], order[:count]))
        if not train:
            raise DataError(f"{name}: has one image; one to train on and one to judge by are needed.")
    else:
        raise DataError(
            f"{name}: {root} holds no folder images/ beside masks/, no images/training beside annotations/training "
            "(ADE20K), and no leftImg8bit/ beside gtFine/ (Cityscapes)."
        )
    classes = _listed(root)
    if classes:
        return Found(train, val, _enough(name, classes))
    numbers = numbers_in([*train, *val], progress)
    if numbers == {0, IGNORE}:  # black and white, as most tools paint a mask of one thing
        return Found(train, val, ("background", "foreground"), _black_and_white)
    counted = numbers - {IGNORE}
    if counted and max(counted) >= MOST_CLASSES:
        raise DataError(
            f"{name}: masks hold the number {max(counted)}; at most {MOST_CLASSES} classes, 0 to {MOST_CLASSES - 1}, can be."
        )
    return Found(train, val, _enough(name, tuple(f"class {n}" for n in range(max(counted, default=-1) + 1))))


def _black_and_white(mask: np.ndarray) -> np.ndarray:
    return (mask > 0).astype(np.int64)


def _listed(root: Path) -> tuple[str, ...]:
    """Names from classes.txt, one a line; none where there is no such file."""
    file = root / "classes.txt"
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error}).") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) < len(names):
        raise DataError(f"{file}: names a class twice.")
    return names


def _enough(name: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(f"{name}: {len(classes)} classes; from 2 to {MOST_CLASSES} are needed.")
    return classes
