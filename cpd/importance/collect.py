"""What observers say, batch after batch, as score tables."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cpd.importance.observer import Batch, Observer
from cpd.importance.scores import FloatArray, ScoreTable


class Collector:
    """The running mean of one observer's scores.

    Args:
        parts: shares of the batches that are also kept apart; batch b goes to part b modulo `parts`.
    """

    def __init__(self, criterion: str, observer: Observer, parts: int = 1) -> None:
        self.criterion, self.observer = criterion, observer
        self.subject = observer.subject
        self.batches = 0
        self._totals: list[Tensor] = []
        self._parts = parts

    def add(self, batch: Batch | None, tick: Callable[[], None] = lambda: None) -> None:
        seen = self.observer.observe(batch, tick)
        self.batches += batch is not None
        if len(self._totals) < self._parts:
            self._totals.append(seen)
        else:
            self._totals[(self.batches - 1) % self._parts] += seen

    def table(self, seconds: float = 0.0) -> ScoreTable:
        """The scores so far; dead units score 0, groups of which nothing was said the mean of all others."""
        count = max(self.batches, 1)
        groups, silent = self._by_group(torch.stack(self._totals).sum(0) / count)
        parts = []
        for number, total in enumerate(self._totals if len(self._totals) > 1 else ()):
            seen = len(range(number, self.batches, self._parts))
            parts.append(self._by_group(total / seen)[0])
        return ScoreTable(
            criterion=self.criterion,
            model=self.subject.record.model,
            groups=groups,
            layers=self.observer.layers(),
            batches=self.batches,
            seconds=seconds,
            parts=tuple(parts),
            silent=silent,
        )

    def _by_group(self, units: Tensor) -> tuple[dict[str, FloatArray], tuple[str, ...]]:
        record = self.subject.record
        values = units.numpy().copy()
        neutral = float(units[~units.isnan()].mean()) if bool((~units.isnan()).any()) else 1.0
        groups: dict[str, FloatArray] = {}
        silent = []
        for group in record.groups:
            first = record.first_unit[group.name]
            row = values[first : first + group.width]
            left = self.subject.left(group.name)
            if bool((row[left] != row[left]).any()):
                silent.append(group.name)
                row[:] = neutral
            dead = [unit for unit in range(group.width) if unit not in set(left)]
            row[dead] = 0.0
            groups[group.name] = row
        return groups, tuple(silent)
