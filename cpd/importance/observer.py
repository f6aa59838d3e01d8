"""The second kind of criterion: one that looks at the model itself, not at one number per weight.

Distances between filters, activations and attributions are no sums over weights. An observer is given the model once,
sees one batch after another (or none, where it needs no data) and says what each unit is worth on that batch; the mean
over batches is the score. Everything else, parts, dead units and tables, is in collect.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cpd.comb.record import CombRecord
from cpd.importance.scores import LayerScores
from cpd.prune.cost import CostModel, Keep
from cpd.prune.index import Positions, kept_positions

if TYPE_CHECKING:
    from cpd.comb.comb import Comb

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is scored; the model is in eval mode.

    Attributes:
        keep: kept units per group of a student, None for the dense model.
        loss: of (model output, targets), mean over the batch.
        comb: of the model's architecture; None where no criterion asked for it.
    """

    model: nn.Module
    record: CombRecord
    keep: Keep | None
    loss: Callable[[Any, Tensor], Tensor]
    comb: Comb | None = None

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    @property
    def units(self) -> int:
        return len(self.record.unit_atoms)

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters(remove_duplicate=False))

    @cached_property
    def living(self) -> Positions:
        """Dense positions of every tensor that a student still has; empty for the dense model."""
        return kept_positions(self.record, self.keep) if self.keep else {}

    @cached_property
    def _left(self) -> dict[str, list[int]]:
        record, rows = self.record, self.record.unit_atoms
        alive = ~CostModel(record).dead(self.keep or {})
        result = {}
        for group in record.groups:
            first = record.first_unit[group.name]
            result[group.name] = [u for u in range(group.width) if alive[rows.row(first + u)].any()]
        return result

    def left(self, group: str) -> list[int]:
        """Units that the group still has; a channel goes with its head, whatever `keep` says of the channel itself."""
        return self._left[group]


class Observer:
    """A criterion that looks at the model.

    Attributes:
        steps: how many steps of progress one batch is.
    """

    steps: int = 1

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._layers: dict[str, tuple[str, Tensor, int]] = {}

    def observe(self, batch: Batch | None, tick: Callable[[], None]) -> Tensor:
        """(units,) float64 on the CPU: what each unit is worth on this batch, 0 or more; NaN where nothing is said of it.

        Args:
            batch: None for a criterion that needs no data, which is asked once.
            tick: to be called after each step; it may raise to end the scoring.
        """
        raise NotImplementedError

    def note(self, tensor: str, values: Tensor) -> None:
        """Count a layer's scores alone, (living positions of its tensor's first axis,), for one batch."""
        module = tensor.rpartition(".")[0]
        _, total, count = self._layers.get(module, (tensor, torch.zeros(len(values), dtype=torch.float64), 0))
        self._layers[module] = (tensor, total + values.detach().cpu().double(), count + 1)

    def layers(self) -> dict[str, LayerScores]:
        """What `note` was given, mean over batches; a layer that is used twice counts twice."""
        return {module: LayerScores(tensor, (total / n).numpy()) for module, (tensor, total, n) in self._layers.items()}

    def silent(self) -> Tensor:
        """(units,) NaN: nothing said yet."""
        return torch.full((self.subject.units,), float("nan"), dtype=torch.float64)
