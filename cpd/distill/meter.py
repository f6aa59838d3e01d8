"""Means of what every step adds, read off the device only when they are logged."""

from __future__ import annotations

import math
import time

from torch import Tensor

from cpd.errors import RunError


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

    def read(self, step: int) -> dict[str, float]:
        """Means since the last reading, under the names that runs record.

        Raises:
            RunError: a loss is not a number any more.
        """
        values = {name: float(total) / self._steps for name, total in self._sums.items()}
        if any(not math.isfinite(value) for value in values.values()):
            raise RunError(f"the loss is no longer finite at step {step}; lower lr (now {self._rate:g}).")
        values |= {"train/lr": self._rate, "train/images_per_s": self._images / (time.perf_counter() - self._since)}
        self._sums, self._steps, self._images = {}, 0, 0
        self.restart_clock()
        return values
