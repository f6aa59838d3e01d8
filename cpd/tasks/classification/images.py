"""Where pixels come from: memory where they fit, else files decoded ahead of the model by a few threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from cpd.errors import DataError
from cpd.measure.machine import usable_cores
from cpd.tasks import Progress
from cpd.tasks.classification.augment import flip_and_shift
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.classification.task import Images

MEMORY_BYTES = 2 << 30  # of one set of images; beyond it they are decoded as they are needed
_READ_AHEAD = 3  # batches

Open = Callable[[int], Image.Image]  # number of an image -> the image; raises OSError, ValueError or DataError


class MemoryImages:
    """Images as bytes in memory, at the model's size."""

    def __init__(self, pixels: Tensor, labels: Tensor, norm: Normalisation) -> None:
        self._pixels = pixels  # (N, C, H, W) uint8
        self._norm = norm
        self.labels = labels

    def fetch(self, index: Tensor, draws: Tensor | None) -> Tensor:
        images = self._norm.apply(self._pixels[index])
        return images if draws is None else flip_and_shift(images, draws)

    def ahead(self, order: list[Tensor], draws: list[Tensor | None]) -> Iterator[Tensor]:
        return map(self.fetch, order, draws)


class FileImages:
    """Images decoded when they are asked for, a few batches ahead."""

    def __init__(self, open_image: Open, labels: Tensor, shape: tuple[int, int, int], norm: Normalisation) -> None:
        self._open = open_image
        self._shape = shape
        self._norm = norm
        self.labels = labels

    def fetch(self, index: Tensor, draws: Tensor | None) -> Tensor:
        with ThreadPoolExecutor(usable_cores()) as pool:
            return self._finish(self._submit(pool, index, draws), draws)

    def ahead(self, order: list[Tensor], draws: list[Tensor | None]) -> Iterator[Tensor]:
        with ThreadPoolExecutor(usable_cores()) as pool:
            waiting: list[tuple[list[Future[Tensor]], Tensor | None]] = []
            todo = iter(zip(order, draws, strict=True))
            try:
                while True:
                    for index, own in itertools.islice(todo, _READ_AHEAD - len(waiting)):
                        waiting.append((self._submit(pool, index, own), own))
                    if not waiting:
                        return
                    yield self._finish(*waiting.pop(0))
            finally:  # the caller may stop early
                for futures, _ in waiting:
                    for future in futures:
                        future.cancel()

    def _submit(self, pool: ThreadPoolExecutor, index: Tensor, draws: Tensor | None) -> list[Future[Tensor]]:
        rows: Sequence[list[float] | None] = [None] * len(index) if draws is None else draws[:, :4].tolist()
        return [pool.submit(self._one, number, row) for number, row in zip(index.tolist(), rows, strict=True)]

    def _one(self, number: int, draw: list[float] | None) -> Tensor:
        return fit(opened(self._open, number), self._shape, draw)

    def _finish(self, futures: list[Future[Tensor]], draws: Tensor | None) -> Tensor:
        images = self._norm.apply(torch.stack([future.result() for future in futures]))
        if draws is None:
            return images
        flip = draws[:, 4] < 0.5
        return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


def image_set(
    open_image: Open,
    labels: Tensor,
    shape: tuple[int, int, int],
    norm: Normalisation,
    progress: Progress | None = None,
) -> Images:
    """Images in memory where they fit there at the model's size, else from their files."""
    channels, height, width = shape
    if len(labels) * channels * height * width > MEMORY_BYTES:
        return FileImages(open_image, labels, shape, norm)
    pixels = torch.empty(len(labels), *shape, dtype=torch.uint8)
    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, image in enumerate(pool.map(lambda i: fit(opened(open_image, i), shape), range(len(labels)))):
            pixels[done] = image
            if progress and (done % 256 == 255 or done + 1 == len(labels)):
                progress(done + 1, len(labels))
    return MemoryImages(pixels, labels, norm)


def opened(open_image: Open, number: int) -> Image.Image:
    """Image `number`, its bytes decoded.

    Raises:
        DataError: it cannot be decoded.
    """
    try:
        image = open_image(number)
        image.load()
        return image
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"image {number} cannot be read ({str(error)[:160]}); remove it or mend it.") from error


def fit(image: Image.Image, shape: tuple[int, int, int], draw: Sequence[float] | None = None) -> Tensor:
    """(C, H, W) uint8: the middle of the image, or with four numbers in 0..1 a random part of it, at the model's size.

    The random part holds 35..100 % of the area at an aspect of 3/4..4/3 (Szegedy et al. 2014, arXiv:1409.4842, with
    the milder lower bound that small budgets do better with).
    """
    channels, height, width = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if draw is None:
        aspect = width / height
        crop_w, crop_h = min(image.width, image.height * aspect), min(image.height, image.width / aspect)
        left, top = (image.width - crop_w) / 2, (image.height - crop_h) / 2
    else:
        area = image.width * image.height * (0.35 + 0.65 * draw[0])
        aspect = (3 / 4) ** (1 - 2 * draw[1]) * width / height
        crop_w, crop_h = min(image.width, (area * aspect) ** 0.5), min(image.height, (area / aspect) ** 0.5)
        left, top = (image.width - crop_w) * draw[2], (image.height - crop_h) * draw[3]
    box = (left, top, left + crop_w, top + crop_h)
    whole = image.size == (width, height) and draw is None
    small = image if whole else image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    pixels = torch.from_numpy(np.array(small).reshape(height, width, -1)).permute(2, 0, 1)
    return pixels if channels in (1, 3) else pixels[:1].expand(channels, -1, -1)


def pair(
    name: str,
    classes: tuple[str, ...],
    train: tuple[Open, Tensor],
    held: tuple[Open, Tensor] | None,
) -> tuple[tuple[Open, Tensor], tuple[Open, Tensor]]:
    """The two sets, the second split off the first where the data brings none.

    Raises:
        DataError: too little to train on or to judge by.
    """
    from cpd.tasks.classification.split import stratified

    if held is None:
        open_image, labels = train
        kept, out = stratified(labels, 0.1)
        train, held = (_part(open_image, kept), labels[kept]), (_part(open_image, out), labels[out])
    if len(classes) < 2 or not len(train[1]) or not len(held[1]):
        raise DataError(
            f"{name}: {len(classes)} classes, {len(train[1])} images to train on and {len(held[1])} to judge by; "
            "at least two classes with two images each are needed."
        )
    return train, held


def _part(open_image: Open, index: Tensor) -> Open:
    numbers = index.tolist()
    return lambda i: open_image(numbers[i])
