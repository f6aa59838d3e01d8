"""A network with every structure that the scan's shortcuts could trip over, and made-up data to judge it on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpd.measure.recalibrate import recalibrate

CLASSES = 5


class Block(nn.Module):
    """Residual, with a projection computed after the main branch, and everything in place that can be."""

    def __init__(self, inner: int, outer: int, groups: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, outer, 3, padding=1, groups=groups), nn.BatchNorm2d(outer)
        self.conv2, self.bn2 = nn.Conv2d(outer, outer, 3, padding=1), nn.BatchNorm2d(outer)
        self.project = nn.Sequential(nn.Conv2d(inner, outer, 1), nn.BatchNorm2d(outer)) if inner != outer else None
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.project is None else self.project(x)
        return self.act(y)


class Attention(nn.Module):
    """Self-attention over the pixels, whose channels come in blocks and whose values are tied to its keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, -1)
        return x + self.proj(y)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.block1, self.block2, self.block3 = Block(8, 8), Block(8, 12), Block(12, 12, groups=2)
        self.attention = Attention(12, 2)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.norm(self.stem(x)))
        x = self.block3(self.block2(F.max_pool2d(self.block1(x), 2)))
        x = self.attention(x.flatten(2).transpose(1, 2))
        out: Tensor = self.head(self.drop(x.mean(1)))
        return out


@dataclass(frozen=True, eq=False)
class MadeUp:
    """Images whose classes are what a dense network says of most of them."""

    images: Tensor
    targets: Tensor
    train: Tensor
    metric_name: str = "top1"
    name: str = "made-up"
    classes: tuple[str, ...] = tuple("abcde")

    @property
    def val_images(self) -> int:
        return len(self.targets)

    @property
    def train_images(self) -> int:
        return len(self.train)

    def val_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.images.split(batch_size), self.targets.split(batch_size), strict=True)

    def train_batches(self, batch_size: int, seed: int = 0, *_: int, augment: bool = True) -> Iterator:
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        for index in order.split(batch_size):
            yield self.train[index], torch.zeros(len(index), dtype=torch.long)

    def predict(self, module: nn.Module, images: Tensor) -> Tensor:
        """Two calls a batch, as where images are larger than the network's input."""
        half = len(images) // 2
        return torch.cat([module(images[:half]), module(images[half:])]) if half else module(images)

    def check(self, outputs: Tensor) -> None:
        assert outputs.shape[1] == CLASSES

    def metric(self):
        import cpd._torchvision  # noqa: F401  before torchmetrics, which imports torchvision

        from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

        if self.metric_name == "top1":
            return MulticlassAccuracy(num_classes=CLASSES, average="micro")
        return MulticlassJaccardIndex(num_classes=CLASSES)


@pytest.fixture(scope="session")
def net() -> nn.Module:
    torch.manual_seed(11)
    net = Net().double()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
    return net.eval()


@pytest.fixture(scope="session")
def inputs() -> tuple[Tensor, ...]:
    return (torch.zeros(2, 3, 8, 8, dtype=torch.double),)


@pytest.fixture(scope="session")
def comb(net, inputs):
    import cpd

    return cpd.comb(net, inputs)


@pytest.fixture(scope="session")
def task(net) -> MadeUp:
    """600 images, sorted by class, an eighth of them with a wrong one; 96 to take statistics from."""
    generator = torch.Generator().manual_seed(12)
    train = torch.randn(96, 3, 8, 8, generator=generator, dtype=torch.double)
    images = torch.randn(600, 3, 8, 8, generator=generator, dtype=torch.double)
    recalibrate(net, train.split(32))
    with torch.no_grad():
        outputs = net(images)
        targets = (outputs - outputs.mean(0)).argmax(1)
        net.head.bias -= outputs.mean(0)
    wrong = torch.rand(600, generator=generator) < 0.125
    targets[wrong] = torch.randint(0, CLASSES, (int(wrong.sum()),), generator=generator)
    order = targets.argsort()
    return MadeUp(images[order], targets[order], train)
