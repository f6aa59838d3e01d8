"""Ratios by a rule of one parameter: where people begin before they edit by hand.

Every rule says in which order all units of all groups would go, and a single strength between 0 (nothing) and 1
(everything) says how far. A target is met by halving the range of strengths. None of them looks at costs on its way, as
the solver does (`solve.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.latency import LatencyModel
from cpd.prune.order import FloatArray, clusters, score_values
from cpd.prune.plan import Constraints, Plan, Scores, plan_ratios
from cpd.prune.predict import AccuracyModel
from cpd.prune.solve import SHARES, check_target

PRESETS = {
    "uniform": "the same ratio for every group",
    "importance": "one threshold for the scores of all units, each group's brought to mean 1",
    "alike": "one threshold for each set of groups of the same shape, which all lose the same share together",
    "sensitivity": "every group down to where cutting it alone costs as much as cutting any other",
}

_HALVINGS = 24


@dataclass(frozen=True)
class Preset:
    """What a rule asks for.

    Attributes:
        ratios: requested pruning ratio (0..1) of every group that is free.
        strength: how far the rule went, 0..1: about the share of the free groups' units that go.
        reached: amount of the target's quantity that is left, None where there was no target.
        met: whether the target is; True where there was none.
    """

    ratios: dict[str, float]
    strength: float
    reached: float | None = None
    met: bool = True


def preset(
    name: str,
    record: CombRecord,
    scores: Scores,
    *,
    ratio: float | None = None,
    target: Mapping[str, float] | None = None,
    constraints: Constraints = Constraints(),
    fixed: Mapping[str, float] | None = None,
    accuracy: AccuracyModel | None = None,
    latency: LatencyModel | None = None,
    scaled: bool = True,
) -> Preset:
    """Ratios by rule `name`, for a strength or for a target.

    Args:
        ratio: share of the free groups' units that go; give this or
        target: e.g. {"macs": 0.5}, of the whole model.
        fixed: hand-set ratios of groups that the rule leaves alone.
        accuracy: needed by "sensitivity".
        latency: needed by a target of `latency_ms`.
        scaled: whether each group's scores are brought to mean 1 before groups are compared; else they are compared as
            they are, which is right for scores that were made comparable.
    Raises:
        PlanError: an unknown rule, both or neither of ratio and target, or something missing.
    """
    if (ratio is None) == (target is None):
        raise PlanError("give a preset either a ratio or a target such as macs=0.5.")
    rule = _rule(name, record, scores, frozenset(fixed or ()), accuracy, scaled)
    if ratio is not None:
        if not 0 <= ratio <= 1:
            raise PlanError(f"ratio {ratio:g} is outside 0..1.")
        return Preset(rule(ratio), ratio)
    amount, limit = _amount(record, dict(target or {}), latency)

    def left(strength: float) -> float:
        return amount(plan_ratios(record, {**rule(strength), **(fixed or {})}, scores, constraints))

    low, high = 0.0, 1.0  # too little, enough
    if left(low) <= limit:
        return Preset(rule(low), low, left(low))
    if left(high) > limit:
        return Preset(rule(high), high, left(high), False)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if left(middle) <= limit else (middle, high)
    return Preset(rule(high), high, left(high))


def _amount(
    record: CombRecord, target: Mapping[str, float], latency: LatencyModel | None
) -> tuple[Callable[[Plan], float], float]:
    quantity, limit = check_target(target)
    if quantity in SHARES:
        costs = CostModel(record)
        return lambda plan: costs.price(plan.keep).share_of(costs.dense)[quantity], limit
    if latency is None:
        raise PlanError(f"target {quantity} needs the operators' times on this machine; profile the model first.")
    return lambda plan: latency.estimate(plan.keep).value, limit


def _rule(
    name: str,
    record: CombRecord,
    scores: Scores,
    fixed: frozenset[str],
    accuracy: AccuracyModel | None,
    scaled: bool,
) -> Callable[[float], dict[str, float]]:
    """Strength -> ratios."""
    groups = record.by_name
    free = [names for names in clusters(record.groups) if groups[names[0]].prunable and not fixed & set(names)]
    if name == "uniform":
        return lambda strength: {n: strength for names in free for n in names}
    if name == "sensitivity":
        if accuracy is None:
            raise PlanError("this preset needs measured sensitivities; scan the model first.")
        curves = accuracy.curves
        # Unit k that leaves takes the network to where k are gone.
        rows = {names: np.max([curves[n].drop[-2::-1] for n in names], axis=0) for names in free}
    elif name in ("importance", "alike"):
        rows = {names: np.mean([_ascending(groups[n], scores, scaled) for n in names], axis=0) for names in free}
    else:
        raise PlanError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}.")
    sets: dict[object, list[tuple[str, ...]]] = {}
    for names in free:
        sets.setdefault(_shape(groups[names[0]]) if name == "alike" else None, []).append(names)

    ordered = [(members, *_in_order([rows[names] for names in members])) for members in sets.values()]

    def ratios(strength: float) -> dict[str, float]:
        found = {}
        for members, owner, widths in ordered:
            gone = np.bincount(owner[: int(round(strength * len(owner)))], minlength=len(members))
            for names, share in zip(members, gone / widths, strict=True):
                found.update(dict.fromkeys(names, float(share)))
        return found

    return ratios


def _in_order(rows: list[FloatArray]) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """(units,) whose units go, one after another, and (groups,) how many each has.

    Of units that rank alike those of the least cut group go first, so that where nothing is known all go at one pace.
    """
    widths = np.array([len(row) for row in rows], np.float64)
    owner = np.concatenate([np.full(len(row), i) for i, row in enumerate(rows)])
    place = np.concatenate([np.arange(len(row)) / len(row) for row in rows])
    return owner[np.lexsort((place, np.concatenate(rows)))], widths


def _ascending(group: Group, scores: Scores, scaled: bool) -> FloatArray:
    """Scores in the order in which units go, their mean 1 where groups differ in what they sum over."""
    values = np.sort(score_values(group, scores))
    return values / max(float(np.abs(values).mean()), 1e-30) if scaled else values


def _shape(group: Group) -> tuple[object, ...]:
    """What makes groups alike: as many units, and as many positions of as many tensors to each of them."""
    return group.width, group.step, tuple(sorted((piece.axis, piece.index.shape[1]) for piece in group.slices))
