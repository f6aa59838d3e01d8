"""Example inputs: what a model is traced and timed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cpd.errors import ModelError

BATCH = 2
LARGE = 384 * 384  # pixels; a second image of that size costs seconds in every check and tells nothing new


def image_batch(channels: int, height: int, width: int) -> tuple[Tensor, ...]:
    """(2, channels, height, width) of normal noise, the same at every call; (1, ...) for large images."""
    generator = torch.Generator().manual_seed(0)
    batch = BATCH if height * width <= LARGE else 1
    return (torch.randn(batch, channels, height, width, generator=generator, device="cpu"),)


def is_batch_of_images(inputs: tuple[Tensor, ...]) -> bool:
    return len(inputs) == 1 and inputs[0].ndim == 4


def image_size(value: Any) -> tuple[int, int]:
    """(height, width) of a setting such as 32 or [32, 48].

    Raises:
        ModelError: neither.
    """
    sizes = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value, value]
    if len(sizes) != 2 or not all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sizes):
        raise ModelError(f"img_size={value!r}: give a positive whole number, or [height, width].")
    return sizes[0], sizes[1]


def first_channels(module: nn.Module) -> int:
    """Channels that the first convolution of a model reads; 3 where it has none."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels
    return 3


def as_batch(inputs: Any, spec: str) -> tuple[Tensor, ...]:
    """What a user's factory gave as example inputs: a tensor or several, a batch of 1 repeated to 2.

    Raises:
        ModelError: something else than tensors.
    """
    tensors = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs) if isinstance(inputs, (tuple, list)) else ()
    if not tensors or not all(isinstance(t, Tensor) and t.ndim for t in tensors):
        raise ModelError(f"{spec}: example inputs must be a tensor or a tuple of tensors with a batch axis.")
    if all(t.shape[0] == 1 for t in tensors):
        tensors = tuple(t.repeat(BATCH, *[1] * (t.ndim - 1)) for t in tensors)
    return tuple(t.float() if t.is_floating_point() else t for t in tensors)
