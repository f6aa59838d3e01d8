"""The metric on a few held-out images, always the same: what decides whether a cut may stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from cpd.measure.accuracy import accuracy
from cpd.tasks.task import Batch, Task

_BATCH = 16  # the images are taken in runs of this many, spread over the whole set: data is often sorted by class


class Probe:
    """A task with fewer held-out images. They are read once and stay in memory.

    What is decided by them is decided on held-out images: with a corridor, the accuracy at the end is of a network
    that was, to that extent, chosen by it.
    """

    def __init__(self, task: Task, images: int, device: torch.device) -> None:
        self._task, self._device = task, device
        self.val_images = min(images, task.val_images)
        self._batches: list[Batch] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def metric_of(self, module: nn.Module) -> float:
        """0..1."""
        few: Any = self
        return accuracy(module, few, self._device)

    def val_batches(self, batch_size: int) -> Iterator[Batch]:
        if self._batches is None:
            self._batches = list(self._chosen())
        yield from self._batches

    def _chosen(self) -> Iterator[Batch]:
        wanted, seen, taken = self.val_images, 0, 0
        for images, targets in self._task.val_batches(_BATCH):
            seen += len(targets)
            if taken * self._task.val_images < wanted * seen and taken < wanted:
                count = min(len(targets), wanted - taken)
                taken += count
                yield images[:count], targets[:count]
