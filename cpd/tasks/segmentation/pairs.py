"""Images and masks found in folders, paired by name, and read with every mistake in them named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from cpd.errors import DataError
from cpd.measure.machine import usable_cores
from cpd.tasks import Progress
from cpd.tasks.classification.image_folder import SUFFIXES
from cpd.tasks.segmentation.moves import IGNORE

MASK_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".webp"})
MOST_CLASSES = IGNORE
_BROKEN = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)

Renumber = Callable[[np.ndarray], np.ndarray]  # numbers in a mask's file -> numbers of classes, IGNORE for none
Pairs = Sequence[tuple[Path, Path]]


def paired(name: str, images: Path, masks: Path, image_end: str = "", mask_end: str = "") -> list[tuple[Path, Path]]:
    """Images of a folder and everything below it with the mask of the same relative name, in order of their names.

    Args:
        name: of the data, for errors.
        image_end, mask_end: how the stems of the two end apart, "_leftImg8bit" and "_gtFine_labelIds", say.

    Raises:
        DataError: no images, or images without masks.
    """
    found = _files(images, SUFFIXES, image_end)
    known = _files(masks, MASK_SUFFIXES, mask_end)
    if not found:
        raise DataError(f"{name}: there are no images in {images}.")
    alone = [path for key, path in found.items() if key not in known]
    if alone:
        lossy = _files(masks, frozenset({".jpg", ".jpeg"}), mask_end)
        if lossy:
            raise DataError(
                f"{next(iter(lossy.values()))}: a mask as JPEG has lost its class numbers; save masks as PNG."
            )
        wanted = (
            masks / alone[0].relative_to(images).parent / (alone[0].stem.removesuffix(image_end) + mask_end + ".png")
        )
        raise DataError(f"{name}: {len(alone)} of {len(found)} images have no mask; {alone[0].name} needs {wanted}.")
    return [(path, known[key]) for key, path in sorted(found.items())]


def _files(root: Path, suffixes: frozenset[str], end: str) -> dict[str, Path]:
    """Relative name without suffix and `end` -> file."""
    if not root.is_dir():
        return {}
    files = (path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.stem.endswith(end))
    return {
        str(p.relative_to(root).with_name(p.stem.removesuffix(end))): p for p in files if not p.name.startswith(".")
    }


@dataclass(frozen=True)
class Reader:
    """Reads pair after pair.

    Attributes:
        classes: how many there are; a mask may hold no other numbers.
        channels: of the model's images.
    """

    pairs: Pairs
    classes: int
    channels: int
    renumber: Renumber | None = None

    def __call__(self, number: int) -> tuple[Tensor, Tensor]:
        """Image (C, h, w) and mask (h, w), both uint8.

        Raises:
            DataError: one of the files cannot be read, or they do not fit each other or the classes.
        """
        image_file, mask_file = self.pairs[number]
        image = read_image(image_file, self.channels)
        mask = read_mask(mask_file)
        if mask.shape != image.shape[1:]:
            raise DataError(
                f"{mask_file}: is {mask.shape[1]}x{mask.shape[0]} pixels and its image {image.shape[2]}x{image.shape[1]}; "
                "a mask needs a number for every pixel."
            )
        if self.renumber is not None:
            mask = self.renumber(mask)
        wrong = mask[(mask >= self.classes) & (mask != IGNORE)]
        if wrong.size:
            raise DataError(
                f"{mask_file}: holds the number {wrong[0]}, and there are {self.classes} classes, 0 to {self.classes - 1} "
                f"({IGNORE} for pixels that do not count)."
            )
        return image, torch.from_numpy(mask.astype(np.uint8))


def read_image(file: Path, channels: int) -> Tensor:
    """(C, h, w) uint8. Raises DataError."""
    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except _BROKEN as error:
        raise DataError(f"{file}: cannot be read as an image ({str(error)[:120]}); remove it or mend it.") from error
    pixels = torch.from_numpy(np.array(image).reshape(image.height, image.width, -1)).permute(2, 0, 1).contiguous()
    return pixels if channels in (1, 3) else pixels[:1].expand(channels, -1, -1)


def read_mask(file: Path) -> np.ndarray:
    """(h, w) the numbers as they are in the file. Raises DataError: unreadable, or a picture instead of numbers."""
    try:
        with Image.open(file) as opened:
            mode = opened.mode
            mask = np.array(opened)  # a palette's numbers, not its colours
    except _BROKEN as error:
        raise DataError(f"{file}: cannot be read as a mask ({str(error)[:120]}); remove it or mend it.") from error
    if mask.ndim != 2 or mask.dtype.kind not in "biu":
        raise DataError(f"{file}: is a picture ({mode}), not a mask; each pixel needs the number of its class.")
    return mask.astype(np.int64)


def sizes_of(pairs: Pairs) -> list[tuple[int, int]]:
    """(height, width) of every image, from the heads of the files. Raises DataError."""

    def size(pair: tuple[Path, Path]) -> tuple[int, int]:
        try:
            with Image.open(pair[0]) as opened:
                return opened.height, opened.width
        except _BROKEN as error:
            raise DataError(
                f"{pair[0]}: cannot be read as an image ({str(error)[:120]}); remove it or mend it."
            ) from error

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(size, pairs))


def numbers_in(pairs: Pairs, progress: Progress | None = None) -> set[int]:
    """All numbers that occur in the masks. Raises DataError."""
    found: set[int] = set()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, numbers in enumerate(pool.map(lambda pair: np.unique(read_mask(pair[1])), pairs), 1):
            found.update(int(n) for n in numbers)
            if progress and (done % 64 == 0 or done == len(pairs)):
                progress(done, len(pairs))
    return found
