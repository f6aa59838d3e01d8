"""Masks as numbers: read, counted, and held against the classes that there are. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from cpd.errors import DataError
from cpd.measure.machine import usable_cores
from cpd.tasks import Progress

IGNORE = 255  # in a mask: this pixel counts neither for the loss nor for the metric
MOST_CLASSES = IGNORE
BROKEN = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)

IntArray = npt.NDArray[np.integer[Any]]
Renumber = Callable[[IntArray], IntArray]  # numbers in a mask's file -> numbers of classes, IGNORE for none
Pairs = Sequence[tuple[Path, Path]]


def read_mask(file: Path) -> IntArray:
    """(h, w) the numbers as they are in the file. Raises DataError: unreadable, or a picture instead of numbers."""
    try:
        with Image.open(file) as opened:
            mode = opened.mode
            mask = np.array(opened)  # a palette's numbers, not its colours
    except BROKEN as error:
        raise DataError(f"{file}: cannot be read as a mask ({str(error)[:120]}); remove it or mend it.") from error
    if mask.ndim != 2 or mask.dtype.kind not in "biu":
        raise DataError(f"{file}: is a picture ({mode}), not a mask; each pixel needs the number of its class.")
    return mask.astype(np.int64)


def numbers_of(mask: IntArray) -> IntArray:
    """The numbers that occur in a mask, ascending."""
    if mask.size and mask.min() >= 0 and mask.max() < 1 << 16:  # counted, which is many times as fast as sorted
        return np.flatnonzero(np.bincount(mask.ravel()))
    return np.unique(mask)


def size_of(file: Path) -> tuple[int, int]:
    """(height, width) of an image, from the head of its file. Raises DataError."""
    try:
        with Image.open(file) as opened:
            return opened.height, opened.width
    except BROKEN as error:
        raise DataError(f"{file}: cannot be read as an image ({str(error)[:120]}); remove it or mend it.") from error


def sizes_of(pairs: Pairs) -> list[tuple[int, int]]:
    """(height, width) of every image. Raises DataError."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(lambda pair: size_of(pair[0]), pairs))


def numbers_in(pairs: Pairs, progress: Progress | None = None) -> set[int]:
    """All numbers that occur in the masks. Raises DataError."""
    found: set[int] = set()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, numbers in enumerate(pool.map(lambda pair: numbers_of(read_mask(pair[1])), pairs), 1):
            found.update(int(n) for n in numbers)
            if progress and (done % 64 == 0 or done == len(pairs)):
                progress(done, len(pairs))
    return found


def check_size(file: Path, mask: Sequence[int], image: Sequence[int]) -> None:
    """Raises DataError where a mask (h, w) is not of its image's size."""
    if tuple(mask) != tuple(image):
        raise DataError(
            f"{file}: is {mask[1]}x{mask[0]} pixels and its image {image[1]}x{image[0]}; "
            "a mask needs a number for every pixel."
        )


def check_numbers(file: Path, numbers: IntArray, classes: int) -> None:
    """Raises DataError where one of a mask's numbers, as classes, is none of `classes` and not to be ignored."""
    wrong = numbers[(numbers >= classes) & (numbers != IGNORE)]
    if wrong.size:
        raise DataError(
            f"{file}: holds the number {wrong.flat[0]}, and there are {classes} classes, 0 to {classes - 1} "
            f"({IGNORE} for pixels that do not count)."
        )


def as_classes(numbers: Iterable[int], renumber: Renumber | None) -> IntArray:
    """Numbers that stand in masks as the classes that they mean."""
    array = np.array(sorted(numbers), np.int64)
    return array if renumber is None else renumber(array)
