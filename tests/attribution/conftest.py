"""Small real networks on real digits: one of convolutions, one of tokens with a class token, one that segments."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

import cpd
from cpd.comb.comb import Comb
from cpd.prune.plan import uniform_plan
from cpd.tasks import load_task
from cpd.tasks.task import Task


class Convolutions(nn.Module):
    """The last spatial activation has 4 x 4 cells; ReLUs work in place, as they mostly do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(self.stem(x)).mean((2, 3)))
        return out


class Tokens(nn.Module):
    """One block of attention over a class token and 4 x 4 patches; only the class token is read at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 24, 2, stride=2)
        self.cls = nn.Parameter(torch.randn(1, 1, 24))
        self.position = nn.Parameter(0.3 * torch.randn(1, 17, 24))
        self.norm1, self.norm2 = nn.LayerNorm(24), nn.LayerNorm(24)
        self.q, self.k, self.v, self.proj = (nn.Linear(24, 24) for _ in range(4))
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        y = self.norm1(x)
        q, k, v = self.q(y), self.k(y), self.v(y)
        x = x + self.proj((q @ k.transpose(1, 2) / 24**0.5).softmax(-1) @ v)
        out: Tensor = self.head(self.norm2(x)[:, 0])
        return out


class Scenes(nn.Module):
    """Three classes for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


@dataclass(frozen=True)
class Case:
    """A network, its comb, the same network as a graph, and one of half its widths."""

    eager: nn.Module
    comb: Comb
    dense: GraphModule
    pruned: GraphModule


def case(kind: type[nn.Module]) -> Case:
    torch.manual_seed(1)
    eager = kind().double().eval()
    for module in eager.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    comb = cpd.comb(eager, (torch.zeros(2, 1, 8, 8, dtype=torch.double),))
    networks = [cpd.prune(eager, comb, uniform_plan(comb.record, ratio)).eval() for ratio in (0.0, 0.5)]
    return Case(eager, comb, *networks)


@pytest.fixture(scope="session")
def convolutions() -> Case:
    return case(Convolutions)


@pytest.fixture(scope="session")
def tokens() -> Case:
    return case(Tokens)


@pytest.fixture(scope="session")
def scenes() -> Case:
    return case(Scenes)


@pytest.fixture(scope="session")
def task() -> Task:
    return load_task("digits", (1, 8, 8))


@pytest.fixture
def image(task: Task) -> Tensor:
    images, _ = next(iter(task.val_batches(1)))
    return images.double()
