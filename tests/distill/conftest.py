"""A small real network on the real digits at 8x8, combed by the real comb, and a recorder that remembers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cpd
from cpd.comb.comb import Comb
from cpd.tasks import load_task
from cpd.tasks.task import Task


class SmallNet(nn.Module):
    """Residual, batch norm, dropout and a flatten: what a cut has to carry along."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 16, 3, padding=1)
        )
        self.pool, self.dropout = nn.AvgPool2d(4), nn.Dropout(0.1)
        self.hidden, self.head = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        x = torch.relu(self.hidden(self.dropout(self.pool(x).flatten(1))))
        out: Tensor = self.head(x)
        return out


class Memory:
    """Keeps what it is told; stops once, before the step after `stop_at`."""

    def __init__(self, stop_at: int = -1) -> None:
        self.metrics: dict[tuple[int, str], float] = {}
        self.events: list[tuple[int, str, str, dict[str, Any]]] = []
        self.saved: list[tuple[int, Any]] = []
        self.places: dict[int, dict[str, Any]] = {}
        self.stop_at, self.asked, self.done = stop_at, 0, (0, 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.metrics |= {(step, name): value for name, value in values.items()}

    def event(self, step: int, kind: str, text: str, **data: Any) -> None:
        self.events.append((step, kind, text, data))

    def progress(self, step: int, total: int) -> None:
        self.done = (step, total)

    def should_stop(self) -> bool:
        stop = self.done[0] == self.stop_at
        if stop:
            self.stop_at = -1
        return stop

    def save(self, state: Any, step: int, note: Mapping[str, Any] | None = None) -> None:
        self.saved.append((step, copy.deepcopy(state)))
        if note is not None:
            self.places[step] = dict(note)

    def load(self) -> Any | None:
        return copy.deepcopy(self.saved[-1][1]) if self.saved else None

    def of(self, kind: str) -> list[tuple[int, dict[str, Any]]]:
        return [(step, data) for step, k, _, data in self.events if k == kind]


@pytest.fixture(scope="session")
def task() -> Task:
    return load_task("digits", (1, 8, 8))


@pytest.fixture
def inputs() -> tuple[Tensor, ...]:
    return (torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return SmallNet().eval()


@pytest.fixture
def comb(model: nn.Module, inputs: tuple[Tensor, ...]) -> Comb:
    made: Comb = cpd.comb(model, inputs)
    return made


@pytest.fixture
def memory() -> type[Memory]:
    return Memory
