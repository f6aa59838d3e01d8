"""The verb: score every unit of every group by several criteria in one pass over the data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cpd.comb.record import CombRecord
from cpd.errors import DataError, PlanError
from cpd.importance.accumulate import Accumulator
from cpd.importance.collect import Collector
from cpd.importance.observer import Batch, Subject
from cpd.importance.registry import CRITERIA, check_criteria, unfit
from cpd.importance.scores import ScoreTable
from cpd.prune.cost import Keep

if TYPE_CHECKING:
    from cpd.comb.comb import Comb

PARTS = 4  # shares of the batches that are kept apart, to tell how stable the order of units is

Loss = Callable[[Any, Tensor], Tensor]


def score(
    model: nn.Module,
    record: CombRecord,
    data: Iterable[Batch] | None,
    criteria: Sequence[str] = ("l2", "taylor", "fisher"),
    batches: int = 8,
    seed: int = 0,
    keep: Keep | None = None,
    loss: Loss = functional.cross_entropy,
    progress: Callable[[int, int], None] | None = None,
    comb: Comb | None = None,
) -> dict[str, ScoreTable]:
    """Scores of a model as it is evaluated (eval mode: batch norm uses its running statistics).

    Args:
        model: the dense model, or a student that keeps `keep`; left as it was, gradients included.
        data: (images, targets) batches; may be None when no criterion needs data.
        batches: how many of them to use.
        loss: of (model output, targets), mean over the batch.
        progress: called with (steps done, steps in all); raises to end the scoring. A batch is a step for a criterion
            of one pass, and as many as layers are looked at for integrated gradients.
        comb: whose record `record` is, for criteria that look at activations; combed from the first batch when it is
            needed and not given, which a student cannot do.
    Raises:
        PlanError: an unknown criterion, or one that has nothing to say of this model.
        DataError: a criterion needs data and there is none.
    """
    names = check_criteria(criteria)
    for name in names:
        if why := unfit(name, record):
            raise PlanError(f"{name}: nothing to score in this model, {why}; choose another criterion.")
    needy = [name for name in names if CRITERIA[name].needs_data]
    if data is None and needy:
        raise DataError(f"{', '.join(needy)}: these criteria need data; name a data set.")
    start = time.perf_counter()
    modes = {module: module.training for module in model.modules()}
    frozen = [p for p in model.parameters() if not p.requires_grad]
    try:
        model.eval()
        for parameter in frozen:
            parameter.requires_grad_(True)
        work = _Work(model, record, names, seed, keep, loss, comb)
        work.without_data()
        if needy:
            assert data is not None
            for number, batch in enumerate(islice(data, batches)):
                work.with_batch(batch, number, batches, progress)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, training in modes.items():
            module.training = training
    if needy and not work.batches:
        raise DataError("the data set gave no batch to score with; check that it holds images.")
    if progress:
        progress(work.steps * max(batches, 1), work.steps * max(batches, 1))
    found = work.tables(time.perf_counter() - start)
    return {name: found[name] for name in names}


class _Work:
    """All criteria of one call, each kind with the pass that it needs, so that every batch is read once."""

    def __init__(
        self,
        model: nn.Module,
        record: CombRecord,
        names: Sequence[str],
        seed: int,
        keep: Keep | None,
        loss: Loss,
        comb: Comb | None,
    ) -> None:
        self.model, self.record, self.loss, self.seed = model, record, loss, seed
        self.batches = 0
        self._names, self._keep, self._comb = names, keep, comb
        self._sums = {
            reads: Accumulator(record, model, some, keep, seed, PARTS if reads != "weights" else 1)
            for reads in ("weights", "gradients", "curvature")
            if (some := [name for name in names if CRITERIA[name].reads == reads])
        }
        self._observers: dict[str, Collector] = {}

    @property
    def steps(self) -> int:
        """Steps of progress that one batch takes."""
        observers = sum(c.observer.steps for n, c in self._observers.items() if CRITERIA[n].needs_data)
        return max(1, ("gradients" in self._sums) + ("curvature" in self._sums) + observers)

    def without_data(self) -> None:
        if "weights" in self._sums:
            self._sums["weights"].add({})
        self._observe([name for name in self._names if CRITERIA[name].reads == "structure"])
        for collector in self._observers.values():
            collector.add(None)

    def with_batch(self, batch: Batch, number: int, batches: int, progress: Callable[[int, int], None] | None) -> None:
        if not self.batches:
            if self._comb is None and any(CRITERIA[name].needs_comb for name in self._names):
                self._comb = self._combed(batch[0])
            self._observe([name for name in self._names if CRITERIA[name].needs_comb])
        done = number * self.steps

        def tick() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, batches * self.steps)

        if progress:
            progress(done, batches * self.steps)
        if "gradients" in self._sums:
            self._sums["gradients"].add(_gradients(self.model, *batch, self.loss))
            tick()
        if "curvature" in self._sums:
            from cpd.importance.hessian import diagonal

            generator = torch.Generator().manual_seed(self.seed * 65_537 + number)
            self._sums["curvature"].add(diagonal(self.model, *batch, self.loss, generator))
            tick()
        for name, collector in self._observers.items():
            if CRITERIA[name].needs_data:
                collector.add(batch, tick)
        self.batches += 1

    def tables(self, seconds: float) -> dict[str, ScoreTable]:
        found = {name: collector.table(seconds) for name, collector in self._observers.items()}
        for sums in self._sums.values():
            found |= sums.tables(seconds)
        return found

    def _observe(self, names: Sequence[str]) -> None:
        subject = Subject(self.model, self.record, self._keep, self.loss, self._comb)
        for name in names:
            collector = Collector(name, CRITERIA[name].observe(subject), PARTS if CRITERIA[name].needs_data else 1)
            self._observers[name] = collector

    def _combed(self, images: Tensor) -> Comb:
        from cpd.comb.comb import comb

        if self._keep:
            raise PlanError("activations of a model that is already cut need the comb of the dense one; pass it on.")
        found = comb(self.model, (images[:2].to(next(self.model.parameters()).device),))
        same = [(g.name, g.width) for g in found.groups] == [(g.name, g.width) for g in self.record.groups]
        if found.model != self.record.model or not same:
            raise PlanError("these groups are those of another comb of the model; comb it again, then score.")
        return found.with_groups(self.record.groups)


def _gradients(model: nn.Module, images: Tensor, targets: Tensor, loss: Loss) -> dict[str, Tensor]:
    """Gradient of the batch's loss for every parameter that it depends on; `.grad` is not touched."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    device = next(iter(parameters.values())).device
    with torch.enable_grad():
        value = loss(model(images.to(device)), targets.to(device))
        found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return {name: g for name, g in zip(parameters, found, strict=True) if g is not None}
