"""Which images come when: every batch is a function of seed, epoch and its number, so a resumed run sees the same."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def epoch_order(
    images: int,
    steps: int,
    batch_size: int,
    seed: int = 0,
    epoch: int = 0,
    start: int = 0,
    augment: bool = True,
    rank: int = 0,
    world: int = 1,
) -> tuple[list[Tensor], list[Generator | None]]:
    """Indices of the batches `start`, ..., `steps - 1` of one epoch, and a generator for the changes of each.

    Args:
        rank, world: of `world` processes the `rank`-th gets its own share of every batch.
    """
    shuffled = torch.randperm(images, generator=generator(seed, epoch, -1))
    order = [part[rank::world] for part in shuffled.split(batch_size)[:steps]][start:]
    return order, [generator(seed, epoch, start + i, rank) if augment else None for i in range(len(order))]


def generator(*key: int) -> Generator:
    """A generator of its own for every key, independent of any state."""
    mixed = 0
    for part in key:
        # splitmix64's odd constant spreads neighbouring keys over the whole range
        mixed = ((mixed ^ (part & 0xFFFFFFFF)) * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & 0x7FFFFFFFFFFFFFFF
    return Generator().manual_seed(mixed)
