"""A convolutional network for the digits that trains in seconds, for tests and benchmarks that need any real one.

Its specification is SPEC; images are 32 pixels wide where nothing else is said.
"""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, 10),
        )  # fmt: skip


class Linear(nn.Sequential):
    """Another architecture with the same answers, for images 16 pixels wide."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(768, 10))


SPEC, LINEAR = f"{__file__}:Net", f"{__file__}:Linear"
example_inputs = (torch.zeros(2, 3, 32, 32),)
