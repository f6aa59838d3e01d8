"""Activation statistics: how much of a unit the rest of the network gets to see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from cpd.importance.observer import Batch, Observer, Subject
from cpd.importance.taps import Tap, graph_of, read, written


class Activation(Observer):
    """Mean absolute activation of the unit where it is read, over images and positions.

    A unit's value is taken where the next convolution, linear layer or attention sums over it, behind norms and
    nonlinearities: a channel that never fires scores 0 whatever its weights are. Positions of a unit count alike (space,
    tokens, the channels of a head), and so do the operators that read it. A group that nothing sums over is taken where
    it is written. Scores per layer are mean absolute outputs of the operator itself, before norm and nonlinearity.
    Source: mean activation as in Molchanov et al. 2017, arXiv:1611.06440, section 2.2, there of one feature map.
    """

    name = "activation"
    title = "Mean absolute activation"
    needs_data = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        assert subject.comb is not None
        module, nodes = graph_of(subject)
        self._read, self._written = read(subject.comb, subject.keep), written(subject.comb, subject.keep)
        wanted: dict[Node, list[Tap]] = defaultdict(list)
        for tap in [*self._read, *self._written]:
            wanted[nodes[tap.node]].append(tap)
        self._reader = _Reader(module, wanted)

    @torch.no_grad()
    def observe(self, batch: Batch | None, tick: Callable[[], None]) -> Tensor:
        assert batch is not None
        means = self._reader.means(batch[0].to(self.subject.device))
        for tap in self._written:
            if tap.weight.endswith("weight") and len(tap.axes) == 1:
                self.note(tap.weight, means[tap])
        seen = self._per_unit(self._read, means)
        tick()
        return torch.where(seen.isnan(), self._per_unit(self._written, means), seen)

    def _per_unit(self, taps: list[Tap], means: dict[Tap, Tensor]) -> Tensor:
        """(units,) mean over a unit's positions on a value, then over the values that show it; NaN where none does."""
        units = self.subject.units
        total, count = (torch.zeros(units, dtype=torch.float64) for _ in range(2))
        for _, same in groupby(taps, key=lambda tap: tap.node):
            sums, owned = (torch.zeros(units, dtype=torch.float64) for _ in range(2))
            for tap in same:  # a head is seen on the axis of heads and on that of their channels
                sums += tap.per_unit(means[tap], units)
                owned += tap.owned(units)
            total += sums / owned.clamp_min(1)
            count += owned > 0
        return torch.where(count > 0, total / count.clamp_min(1), float("nan"))


class _Reader(Interpreter):
    """Runs a graph and keeps of tapped values only the mean size at each of their positions."""

    def __init__(self, module: Any, wanted: dict[Node, list[Tap]]) -> None:
        super().__init__(module, garbage_collect_values=True)
        self._wanted = wanted
        self._means: dict[Tap, Tensor] = {}

    def means(self, images: Tensor) -> dict[Tap, Tensor]:
        """Per tap (positions,) mean absolute values, float64 on the CPU."""
        self._means = {}
        self.run(images)
        return self._means

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        for tap in self._wanted.get(n, ()):
            rows = tap.flat(value.abs()).float()
            self._means[tap] = rows.flatten(0, -2).mean(0).cpu().double()
        return value
