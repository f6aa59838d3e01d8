"""The images of a scan: some of the held-out ones, in a random order, and some to take statistics from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from cpd.errors import DataError
from cpd.sensitivity.interval import IntArray
from cpd.tasks.task import Batch, Task

EVALUATED = 32  # images a batch: after each, a scan asks whether more are needed
CALIBRATED = 128  # images a batch of statistics


def held_out(
    task: Task,
    images: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    size: int = EVALUATED,
) -> tuple[Batch, ...]:
    """`images` of the held-out images, or all of them for 0, as batches of `size` in a random order.

    Data sets are often sorted by class: what is evaluated first must stand for the rest.
    """
    total = task.val_images
    wanted = np.random.default_rng(seed).permutation(total)[: images or total]
    place = {int(index): i for i, index in enumerate(wanted)}
    found: list[tuple[Tensor, Tensor] | None] = [None] * len(wanted)
    start, last = 0, int(wanted.max(initial=-1))
    for pictures, targets in task.val_batches(CALIBRATED):
        for i in range(len(targets)):
            if start + i in place:
                found[place[start + i]] = (pictures[i].clone(), targets[i].clone())
        start += len(targets)
        if progress:
            progress(min(start, last + 1), last + 1)
        if start > last:
            break
    rows = [row for row in found if row is not None]
    if not rows:
        raise DataError(f"{task.name}: there are no held-out images to evaluate on.")
    batches: list[Batch] = []
    alike: list[tuple[Tensor, Tensor]] = []
    for row in rows:
        if alike and (len(alike) == size or row[0].shape != alike[0][0].shape or row[1].shape != alike[0][1].shape):
            batches.append(_stacked(alike))
            alike = []
        alike.append(row)
    return (*batches, _stacked(alike))


def reordered(batches: Sequence[Batch], order: IntArray, size: int) -> tuple[Batch, ...] | None:
    """The same images in another order, in batches of `size`; None where they are not all alike in shape."""
    rows = [row for images, targets in batches for row in zip(images, targets, strict=True)]
    if len({(row[0].shape, row[1].shape) for row in rows}) != 1:
        return None
    ranked = [rows[int(i)] for i in order]
    return tuple(_stacked(ranked[start : start + size]) for start in range(0, len(ranked), size))


def calibration(task: Task, images: int, seed: int) -> tuple[Tensor, ...]:
    """About so many training images, unchanged by augmentation, in batches of equal size."""
    size = min(CALIBRATED, task.train_images)
    batches = task.train_batches(size, seed, augment=False)
    return tuple(pictures for pictures, _ in islice(batches, max(1, images // size)))


def _stacked(rows: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    return torch.stack([images for images, _ in rows]), torch.stack([targets for _, targets in rows])
