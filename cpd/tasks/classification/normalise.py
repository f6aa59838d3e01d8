"""Mean and standard deviation that a model's inputs are normalised with."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Normalisation:
    """Per channel, of pixels in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) uint8 -> float32, normalised."""
        mean = torch.tensor(self.mean).view(-1, 1, 1) * 255
        std = torch.tensor(self.std).view(-1, 1, 1) * 255
        return (pixels.float() - mean) / std


def normalisation(spec: str, channels: int) -> Normalisation:
    """What timm says of its model, ImageNet's for any other; the average over the channels for other than three.

    Args:
        spec: SPEC of a model, or a bundle, which knows the SPEC that it was cut from.
    """
    mean, std = _of_spec(spec)
    if channels != len(mean):
        mean, std = (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
    return Normalisation(tuple(mean), tuple(std))


def _of_spec(spec: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if spec and not spec.startswith(("timm:", "smp:")) and Path(spec).exists():
        from cpd.models.bundle import bundle_file
        from cpd.models.header import read_header

        head = read_header(bundle_file(Path(spec)))
        spec = head.spec if head else ""
    if not spec.startswith("timm:"):
        return _IMAGENET

    import cpd._torchvision  # noqa: F401  before timm, which imports torchvision

    config = importlib.import_module("timm").get_pretrained_cfg(spec.removeprefix("timm:"))
    return (tuple(config.mean), tuple(config.std)) if config else _IMAGENET
