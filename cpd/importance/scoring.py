"""The verb: score every unit of every group by several criteria in one pass over the data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cpd.comb.record import CombRecord
from cpd.errors import DataError
from cpd.importance.accumulate import Accumulator
from cpd.importance.registry import CRITERIA, check_criteria
from cpd.importance.scores import ScoreTable
from cpd.prune.cost import Keep

Batch = tuple[Tensor, Tensor]


def score(
    model: nn.Module,
    record: CombRecord,
    data: Iterable[Batch] | None,
    criteria: Sequence[str] = ("l2", "taylor", "fisher"),
    batches: int = 8,
    seed: int = 0,
    keep: Keep | None = None,
    loss: Callable[[Any, Tensor], Tensor] = functional.cross_entropy,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, ScoreTable]:
    """Scores of a model as it is evaluated (eval mode: batch norm uses its running statistics).

    Args:
        model: the dense model, or a student that keeps `keep`; left as it was, gradients included.
        data: (images, targets) batches; may be None when no criterion needs data.
        batches: how many of them to use.
        loss: of (model output, targets), mean over the batch.
        progress: called with (batches done, batches in all).
    Raises:
        PlanError: an unknown criterion.
        DataError: a criterion needs data and there is none.
    """
    names = check_criteria(criteria)
    if data is None and any(CRITERIA[name].needs_data for name in names):
        raise DataError(
            f"{', '.join(n for n in names if CRITERIA[n].needs_data)}: these criteria need data; name a data set."
        )
    start = time.perf_counter()
    totals = Accumulator(record, model, names, keep, seed)
    if not any(CRITERIA[name].needs_data for name in names):
        totals.add({})
        return totals.tables(time.perf_counter() - start)

    assert data is not None
    modes = {module: module.training for module in model.modules()}
    frozen = [p for p in model.parameters() if not p.requires_grad]
    try:
        model.eval()
        for parameter in frozen:
            parameter.requires_grad_(True)
        for done, (images, targets) in enumerate(islice(data, batches)):
            if progress:
                progress(done, batches)
            totals.add(_gradients(model, images, targets, loss))
        if progress:
            progress(batches, batches)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, training in modes.items():
            module.training = training
    if totals.batches == 0:
        raise DataError("the data set gave no batch to score with; check that it holds images.")
    return totals.tables(time.perf_counter() - start)


def _gradients(
    model: nn.Module, images: Tensor, targets: Tensor, loss: Callable[[Any, Tensor], Tensor]
) -> dict[str, Tensor]:
    """Gradient of the batch's loss for every parameter that it depends on; `.grad` is not touched."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    device = next(iter(parameters.values())).device
    with torch.enable_grad():
        value = loss(model(images.to(device)), targets.to(device))
        found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return {name: g for name, g in zip(parameters, found, strict=True) if g is not None}
