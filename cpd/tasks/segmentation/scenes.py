"""Where images and masks come from: memory where they fit, else files decoded ahead of the model by a few threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from cpd.measure.machine import usable_cores
from cpd.tasks import Progress
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.segmentation.masks import IGNORE
from cpd.tasks.segmentation.moves import Moves, moved

MEMORY_BYTES = 1 << 30  # of one set; beyond it scenes are decoded as they are needed
_READ_AHEAD = 3  # batches

Read = Callable[[int], tuple[Tensor, Tensor]]  # number of a scene -> (C, h, w) and (h, w), uint8; raises DataError
Fetched = tuple[Tensor, Tensor]

__all__ = ["IGNORE", "FileScenes", "MemoryScenes", "Moves", "Scenes", "scene_set"]


class Scenes(Protocol):
    """Images with a mask each, of any size, that can be fetched in any order."""

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """(height, width) of every scene as it is."""
        ...

    def ahead(self, order: list[Tensor], draws: list[Tensor | None], whole: bool) -> Iterator[Fetched]:
        """One batch after another: images (B, C, H, W) float32, normalised, and masks (B, H, W) int64.

        Args:
            draws: (B, cpd.tasks.order.DRAWS) numbers in 0..1 for each batch's random changes; None for none.
            whole: as they are, all of a batch being of one size; else a part each, of the model's size.
        """
        ...


class MemoryScenes:
    """Scenes as bytes in memory."""

    def __init__(
        self, images: list[Tensor], masks: list[Tensor], size: tuple[int, int], norm: Normalisation, moves: Moves
    ) -> None:
        self._images, self._masks = images, masks  # (C, h, w) and (h, w), uint8
        self._size, self._norm, self._moves = size, norm, moves
        self.sizes = [(int(m.shape[0]), int(m.shape[1])) for m in masks]

    def ahead(self, order: list[Tensor], draws: list[Tensor | None], whole: bool) -> Iterator[Fetched]:
        for index, own in zip(order, draws, strict=True):
            scenes = [(self._images[i], self._masks[i]) for i in index.tolist()]
            if not whole:
                size = self._size
                scenes = [moved(*s, size, self._moves, row) for s, row in zip(scenes, rows(index, own), strict=True)]
            yield finished(scenes, self._norm)


class FileScenes:
    """Scenes decoded when they are asked for, a few batches ahead."""

    def __init__(
        self, read: Read, sizes: list[tuple[int, int]], size: tuple[int, int], norm: Normalisation, moves: Moves
    ) -> None:
        self._read, self._size, self._norm, self._moves = read, size, norm, moves
        self.sizes = sizes

    def ahead(self, order: list[Tensor], draws: list[Tensor | None], whole: bool) -> Iterator[Fetched]:
        with ThreadPoolExecutor(usable_cores()) as pool:
            waiting: list[list[Future[Fetched]]] = []
            todo = iter(zip(order, draws, strict=True))
            try:
                while True:
                    for index, own in itertools.islice(todo, _READ_AHEAD - len(waiting)):
                        pairs = zip(index.tolist(), rows(index, own), strict=True)
                        waiting.append([pool.submit(self._one, i, row, whole) for i, row in pairs])
                    if not waiting:
                        return
                    yield finished([future.result() for future in waiting.pop(0)], self._norm)
            finally:  # the caller may stop early
                for futures in waiting:
                    for future in futures:
                        future.cancel()

    def _one(self, number: int, draw: Sequence[float] | None, whole: bool) -> Fetched:
        image, mask = self._read(number)
        return (image, mask) if whole else moved(image, mask, self._size, self._moves, draw)


def scene_set(
    read: Read,
    sizes: list[tuple[int, int]],
    shape: tuple[int, int, int],
    norm: Normalisation,
    moves: Moves = Moves(),
    progress: Progress | None = None,
) -> Scenes:
    """Scenes in memory where they fit there, else from their files.

    Raises:
        DataError: one of those read into memory cannot be.
    """
    size = (shape[1], shape[2])
    if sum(h * w for h, w in sizes) * (shape[0] + 1) > MEMORY_BYTES:
        return FileScenes(read, sizes, size, norm, moves)
    images: list[Tensor] = []
    masks: list[Tensor] = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for image, mask in pool.map(read, range(len(sizes))):
            images.append(image)
            masks.append(mask)
            if progress and (len(masks) % 64 == 0 or len(masks) == len(sizes)):
                progress(len(masks), len(sizes))
    return MemoryScenes(images, masks, size, norm, moves)


def rows(index: Tensor, draws: Tensor | None) -> Sequence[Sequence[float] | None]:
    """The numbers for the changes of every scene of a batch."""
    if draws is None:
        return [None] * len(index)
    found: list[Sequence[float]] = draws.tolist()
    return found


def finished(scenes: Sequence[Fetched], norm: Normalisation) -> Fetched:
    images = torch.stack([image for image, _ in scenes])
    return norm.apply(images), torch.stack([mask for _, mask in scenes]).long()
