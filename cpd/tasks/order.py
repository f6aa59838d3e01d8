"""Which images come when, and how each is changed: functions of seed, epoch and the image's number alone.

So a resumed run sees the same, and so do several processes that share the batches of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    from cpd.tasks.task import Batch

DRAWS = 8  # numbers in 0..1 for the random changes of one image


class Shuffled:
    """The training half of a task: batches in a new order every epoch. A task says how many images there are, and how
    they are shown."""

    @property
    def train_images(self) -> int:
        raise NotImplementedError

    def shown(self, order: list[Tensor], draws: list[Tensor | None]) -> Iterator[Batch]:
        """Training images by number, batch after batch, with their targets.

        Args:
            order: numbers of each batch, (B,) int64.
            draws: (B, DRAWS) numbers in 0..1 for their changes; None for none.
        """
        raise NotImplementedError

    def steps(self, batch_size: int) -> int:
        """See `cpd.tasks.task.Task`."""
        return max(1, self.train_images // batch_size)

    def train_batches(
        self,
        batch_size: int,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        augment: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """See `cpd.tasks.task.Task`."""
        order = list(self.train_numbers(batch_size, seed, epoch, start, rank, world))
        return self.shown(order, epoch_draws(order, self.train_images, seed, epoch) if augment else [None] * len(order))

    def train_numbers(
        self, batch_size: int, seed: int = 0, epoch: int = 0, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[Tensor]:
        """See `cpd.tasks.task.Numbered`."""
        shuffled = torch.randperm(self.train_images, generator=generator(seed, epoch, -1))
        return (share(batch, rank, world) for batch in shuffled.split(batch_size)[start : self.steps(batch_size)])

    def train_unchanged(self, batch_size: int) -> Iterator[Tensor]:
        """See `cpd.tasks.task.Numbered`."""
        order = list(torch.arange(self.train_images).split(batch_size))
        return (images for images, _ in self.shown(order, [None] * len(order)))


def epoch_draws(order: list[Tensor], images: int, seed: int, epoch: int) -> list[Tensor | None]:
    """(B, DRAWS) numbers in 0..1 for each batch, an image's own wherever it is shown in this epoch."""
    draws = torch.rand(images, DRAWS, generator=generator(seed, epoch, -2))
    return [draws[numbers] for numbers in order]


def share(batch: Tensor, rank: int, world: int) -> Tensor:
    """The `rank`-th of `world` equal shares: one of every `world` neighbours, in the second half counted from the other
    end. So an image and its partner at the other end of the batch, with which mixup mixes it, are in one share, and equal
    parts of the shares make up equal parts of the batch."""
    if world == 1:
        return batch
    place = torch.arange(0, len(batch), world) + rank
    later = torch.arange(len(place)) >= (len(place) + 1) // 2
    place[later] += world - 1 - 2 * rank
    return batch[place[place < len(batch)]]


def generator(*key: int) -> Generator:
    """A generator of its own for every key, independent of any state."""
    mixed = 0
    for part in key:
        # splitmix64's odd constant spreads neighbouring keys over the whole range
        mixed = ((mixed ^ (part & 0xFFFFFFFF)) * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & 0x7FFFFFFFFFFFFFFF
    return Generator().manual_seed(mixed)
