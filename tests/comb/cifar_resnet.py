"""The CIFAR ResNet of He et al. 2015, section 4.2, as a user's own file: parameter-free shortcuts (option A).

Depth 6n + 2: a 3x3 stem and three stages of n basic blocks with 16, 32 and 64 channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.stride, self.padding = stride, (outer - inner) // 2

    def shortcut(self, x: Tensor) -> Tensor:
        """Every second pixel, and zero channels on either side."""
        if self.stride == 1:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(inner: int, outer: int, blocks: int, stride: int) -> nn.Sequential:
        return nn.Sequential(Block(inner, outer, stride), *(Block(outer, outer, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def resnet20() -> tuple[nn.Module, Tensor]:
    return ResNet(3), torch.randn(2, 3, 32, 32)


def resnet56() -> tuple[nn.Module, Tensor]:
    return ResNet(9), torch.randn(2, 3, 32, 32)
