"""Making scores of different groups comparable: within each group first, then by what a unit saves (no torch).

Groups differ in what their scores sum over, so raw scores say little across groups. With s_u the score of unit u of a
group of w units:

    within   none   s_u
             max    s_u / max_v s_v
             sum    s_u / sum_v s_v                       the unit's share of its group
             mean   s_u / mean_v s_v                      1 for the average unit of every group
             l2     s_u / sqrt(sum_v s_v^2)               Molchanov et al. 2017, arXiv:1611.06440, section 2.2
             rank   (r_u + 1/2) / w                       r_u: units that score less; ties share the mean

    per      unit         as it is
             macs         / MACs that go with the group's next unit
             params       / parameters that go with it
             latency_ms   / milliseconds a unit saves, on average while the group goes to half its width

A saving is that of the dense network, shared equally by the units that must leave together (one of every block, in the
group and in those tied to it). Time falls in stairs, so a single unit mostly saves nothing or a whole stair: half the
group is taken instead. In a score per saving only the savings' proportions matter; they are relative to the mean over
groups, so that `per` changes what groups are worth beside one another and not the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cpd.comb.group import Group
from cpd.errors import PlanError
from cpd.importance.stability import ranks
from cpd.prune.cost import CostModel, Keep
from cpd.prune.estimate import Estimate

FloatArray = npt.NDArray[np.float64]
Scores = Mapping[str, FloatArray]

_FLOOR = 1e-3  # least saving of a unit, beside the mean over groups: nothing is worth infinitely much


class Latency(Protocol):
    """A latency model: milliseconds of the network that keeps `keep`."""

    def estimate(self, keep: Keep) -> Estimate: ...


@dataclass(frozen=True)
class Choice:
    """One way to normalise, as screens name it."""

    name: str
    title: str
    help: str


WITHIN: dict[str, Choice] = {
    c.name: c
    for c in (
        Choice("none", "As scored", "Raw scores: groups that sum over more weights score more."),
        Choice("max", "Share of the best unit", "Every group's best unit scores 1."),
        Choice("sum", "Share of the group", "Every group's scores sum to 1: units of wide groups score little."),
        Choice("mean", "Beside the average unit", "Every group's average unit scores 1."),
        Choice("l2", "Length one", "Every group's scores have Euclidean length 1 (Molchanov et al. 2017)."),
        Choice("rank", "Rank in the group", "Only the order within a group counts: 0 to 1 from worst to best."),
    )
}
PER: dict[str, Choice] = {
    c.name: c
    for c in (
        Choice("unit", "Per unit", "What a unit saves is left out of account."),
        Choice("macs", "Per MAC saved", "Divided by the MACs that go with the group's next unit."),
        Choice("params", "Per parameter saved", "Divided by the parameters that go with the group's next unit."),
        Choice(
            "latency_ms", "Per millisecond saved", "Divided by the estimated time a unit saves, on average over half the group."
        ),
    )
}  # fmt: skip


def _over(total: Callable[[FloatArray], float]) -> Callable[[FloatArray], FloatArray]:
    def scale(values: FloatArray) -> FloatArray:
        size = total(values)
        return values / size if size > 0 else np.zeros_like(values)

    return scale


_WITHIN: dict[str, Callable[[FloatArray], FloatArray]] = {
    "none": lambda values: values,
    "max": _over(lambda values: float(values.max(initial=0.0))),
    "sum": _over(lambda values: float(values.sum())),
    "mean": _over(lambda values: float(values.sum()) / max(len(values), 1)),
    "l2": _over(lambda values: float(np.sqrt(np.square(values).sum()))),
    "rank": lambda values: (ranks(values) + 0.5) / max(len(values), 1),
}


def normalise(
    scores: Scores,
    within: str = "none",
    per: str = "unit",
    costs: CostModel | None = None,
    latency: Latency | None = None,
) -> dict[str, FloatArray]:
    """Scores that can be compared between groups; the order within a group never changes.

    Args:
        scores: (width,) per group, 0 or more.
        within: a name of `WITHIN`. A group that scores 0 everywhere stays at 0 (by rank, all share the middle).
        per: a name of `PER`.
        costs: of the comb; needed for all but `per="unit"`.
        latency: needed for `per="latency_ms"`.
    Returns:
        The same groups; with a saving without those that are locked, which save nothing.
    Raises:
        PlanError: an unknown name, or what it needs is not there.
    """
    for chosen, known in ((within, WITHIN), (per, PER)):
        if chosen not in known:
            raise PlanError(f"scores cannot be normalised by {chosen!r}; there are {', '.join(known)}.")
    result = {name: _WITHIN[within](np.asarray(values, np.float64)) for name, values in scores.items()}
    if per == "unit":
        return result
    if costs is None or (per == "latency_ms" and latency is None):
        what = "the comb's costs" if costs is None else "a latency model; measure this device's operators first"
        raise PlanError(f"scores per {per} need {what}.")
    saved = savings(costs, per, latency)
    mean = float(np.mean([saved[name] for name in result if name in saved] or [0.0]))
    worth = {name: max(value / mean, _FLOOR) if mean > 0 else 1.0 for name, value in saved.items()}
    return {name: values / worth[name] for name, values in result.items() if name in worth}


def savings(costs: CostModel, per: str, latency: Latency | None = None) -> dict[str, float]:
    """What one unit of every prunable group saves: MACs, parameters or milliseconds; see the top of this file."""
    result = {}
    dense = latency.estimate({}).value if per == "latency_ms" and latency is not None else 0.0
    for group in costs.record.groups:
        if not group.prunable:
            continue
        together = [group, *(costs.record.by_name[name] for name in group.tied)]
        count = _half(group) if per == "latency_ms" else min(group.step, group.width - 1)
        keep = {g.name: _without(g, count) for g in together}
        gone = sum(g.width - len(keep[g.name]) for g in together)
        if not gone:
            result[group.name] = 0.0
        elif per == "latency_ms":
            assert latency is not None
            result[group.name] = (dense - latency.estimate(keep).value) / gone
        else:
            after = costs.price(keep)
            parameters = costs.dense.parameters - after.parameters
            result[group.name] = (parameters if per == "params" else costs.dense.macs - after.macs) / gone
    return result


def _half(group: Group) -> int:
    """Units that leave when a group goes to half its width, equally many of every block."""
    return max(1, group.width // 2 // group.step) * group.step


def _without(group: Group, count: int) -> tuple[int, ...]:
    """The group without its last `count` units, equally many of every block."""
    count = min(count // group.step * group.step, group.width - group.step)
    blocks = np.asarray(group.blocks if group.blocks is not None else np.zeros(group.width, np.int64))
    gone: set[int] = set()
    if count > 0:
        for block in np.unique(blocks):
            gone.update(np.flatnonzero(blocks == block)[-(count // group.step) :].tolist())
    return tuple(unit for unit in range(group.width) if unit not in gone)
