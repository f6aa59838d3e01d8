"""Means of what every step adds, read off the device only when they are logged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from cpd.errors import Diverged


class Meter:
    """Losses, learning rate and speed since the last reading."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps, self._images, self._rate = 0, 0, 0.0
        self._since = time.perf_counter()

    def add(self, name: str, value: Tensor) -> None:
        """A step's value, or a part of it; stays on the device, because reading a number off a GPU makes it wait."""
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def step(self, images: int, rate: float) -> None:
        self._steps, self._images, self._rate = self._steps + 1, self._images + images, rate

    def restart_clock(self) -> None:
        """After a pause that is not training: an evaluation, a checkpoint."""
        self._since = time.perf_counter()

    def share(self, means: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> None:
        """Where several processes add: `means` over all of them. Before a check or a reading, so that all see the same."""
        self._sums = means(self._sums)

    def check(self, step: int) -> None:
        """Raises Diverged: a loss since the last reading is not a number."""
        if any(not math.isfinite(float(total)) for total in self._sums.values()):
            raise Diverged(f"The loss is no longer finite at step {step}; lower lr (now {self._rate:g}).")

    def read(self, step: int) -> dict[str, float]:
        """Means since the last reading, under the names that runs record.

        Raises:
            Diverged: a loss is not a number any more.
        """
        self.check(step)
        values = {name: float(total) / self._steps for name, total in self._sums.items()}
        values |= {"train/lr": self._rate, "train/images_per_s": self._images / (time.perf_counter() - self._since)}
        self._sums, self._steps, self._images = {}, 0, 0
        self.restart_clock()
        return values

    def state(self) -> dict[str, Any]:
        """What has been added since the last reading, for a checkpoint."""
        return {"sums": {name: total.detach().clone() for name, total in self._sums.items()}, "steps": self._steps}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """The clock starts anew: the speed shown is that of the images seen since."""
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
        self._steps, self._images = int(state["steps"]), 0
        self.restart_clock()
