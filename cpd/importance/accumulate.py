"""The running totals of criteria over batches, on a dense model or on a student that training has already cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cpd.comb.record import CombRecord
from cpd.importance.criterion import Criterion, Totals
from cpd.importance.reduce import Reducer, activation_memory
from cpd.importance.registry import CRITERIA, check_criteria
from cpd.importance.scores import FloatArray, LayerScores, ScoreTable
from cpd.prune.cost import Keep


class Accumulator:
    """Totals of some criteria for one model.

    Args:
        module: the dense model, or a student that keeps `keep`.
        criteria: of those that put a number on every weight (`Entry.per_weight`).
        keep: kept units per group; None for the dense model.
        parts: shares of the batches that are also kept apart; batch b goes to part b modulo `parts`.
    """

    def __init__(
        self,
        record: CombRecord,
        module: nn.Module,
        criteria: Sequence[str],
        keep: Keep | None = None,
        seed: int = 0,
        parts: int = 1,
    ) -> None:
        self.record, self.keep, self.seed, self.parts = record, keep, seed, parts
        self.criteria: tuple[Criterion, ...] = tuple(CRITERIA[name].load() for name in check_criteria(criteria))
        self.parameters = dict(module.named_parameters(remove_duplicate=False))
        device = next((p.device for p in self.parameters.values()), torch.device("cpu"))
        self.reducer = Reducer(record, device, keep)
        self.batches = 0
        self._units = {c.name: torch.zeros(parts, self.reducer.units, device=device) for c in self.criteria}
        self._flat: dict[str, Tensor] = {}
        factors = {c.name: c.factors(record, keep) for c in self.criteria}
        self._factors = {
            name: torch.as_tensor(row, dtype=torch.float32, device=device)
            for name, row in factors.items()
            if row is not None
        }

    @torch.no_grad()
    def add(self, gradients: Mapping[str, Tensor] | None = None, scale: float = 1.0) -> None:
        """Count one batch; gradients default to each parameter's `.grad`, a missing one to zero.

        Args:
            gradients: what the criteria read: of second derivatives their diagonal (`hessian.diagonal`).
            scale: what the loss was multiplied by, e.g. a gradient scaler's factor; gradients are divided by it.
        """
        self.batches += 1
        for criterion in self.criteria:
            if not criterion.needs_data and self.batches > 1:
                continue

            def quantity(name: str, criterion: Criterion = criterion) -> Tensor:
                weight = self.parameters[name]
                if not criterion.needs_data:
                    return criterion.quantity(weight, None)
                gradient = weight.grad if gradients is None else gradients.get(name)
                gradient = torch.zeros_like(weight) if gradient is None else gradient
                return criterion.quantity(weight, gradient / scale if scale != 1.0 else gradient)

            flat = self.reducer.flat(quantity)
            rows = criterion.of_slice(self.reducer.per_slice(flat))
            if criterion.name in self._factors:
                rows = rows * self._factors[criterion.name]
            part = (self.batches - 1) % self.parts
            self._units[criterion.name][part] += criterion.of_unit(self.reducer.per_unit(rows))
            alone = criterion.of_unit(criterion.of_slice(flat))
            self._flat[criterion.name] = self._flat[criterion.name] + alone if criterion.name in self._flat else alone

    def tables(self, seconds: float = 0.0) -> dict[str, ScoreTable]:
        """The scores so far; dead units score 0."""
        memory = activation_memory(self.record, self.keep)
        first = (*self.record.first_unit.values(), self.reducer.units)
        result: dict[str, ScoreTable] = {}
        for criterion in self.criteria:
            batches = self.batches if criterion.needs_data else min(self.batches, 1)
            totals = self._units[criterion.name].double().cpu()

            def scores(total: Tensor, seen: int, criterion: Criterion = criterion) -> dict[str, FloatArray]:
                about = Totals(max(seen, 1), self.reducer.slices_of_unit, memory, self.seed, first)
                return self.reducer.by_group(criterion.finish(total, about))

            apart = range(min(self.parts, batches)) if self.parts > 1 and batches > 1 else range(0)
            result[criterion.name] = ScoreTable(
                criterion=criterion.name,
                model=self.record.model,
                groups=scores(totals.sum(0), batches),
                layers=self._layers(criterion, max(batches, 1)),
                batches=batches if criterion.needs_data else 0,
                seconds=seconds,
                parts=tuple(scores(totals[p], len(range(p, batches, self.parts))) for p in apart),
            )
        return result

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs, as tensors."""
        return {"batches": torch.tensor(self.batches)} | {f"units.{k}": v.clone() for k, v in self._units.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.batches = int(state["batches"])
        for name, total in self._units.items():
            total.copy_(state[f"units.{name}"])

    def _layers(self, criterion: Criterion, batches: int) -> dict[str, LayerScores]:
        if criterion.name not in self._flat:
            return {}
        flat = self._flat[criterion.name].double().cpu()
        layers: dict[str, LayerScores] = {}
        for number, (tensor, where) in enumerate(self.reducer.layers.items()):
            one = torch.ones(len(where), dtype=torch.float64)
            about = Totals(batches, one, one, self.seed + 1 + number, (0, len(where)))
            module = tensor.rpartition(".")[0]
            layers[module] = LayerScores(tensor, criterion.finish(flat[where], about).numpy())
        return layers
