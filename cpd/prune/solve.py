"""Plans that meet a target: chunks leave in the order of `order.py` until it is met; where sensitivities were measured,
the plan is then improved by exchanges (`exchange.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.damage import damages
from cpd.prune.exchange import improve
from cpd.prune.latency import LatencyModel
from cpd.prune.living import Living
from cpd.prune.order import clusters, downwards, score_values
from cpd.prune.plan import Constraints, GroupPlan, Plan, Scores, legal_widths, plan_ratios
from cpd.prune.predict import AccuracyModel
from cpd.prune.quantity import Milliseconds, Quantity, Share

SHARES = ("macs", "params")
TARGETS = (*SHARES, "latency_ms")
LATENCIES = ("latency", "latency_ms")  # measured while a run goes on: a share of the dense model's, or milliseconds
RUN_TARGETS = (*SHARES, *LATENCIES)


def check_target(target: Mapping[str, float], known: Sequence[str] = TARGETS) -> tuple[str, float]:
    """The one (name, value) of a target such as {"macs": 0.25}: a share, or milliseconds.

    Raises:
        PlanError: unknown name, more than one, or a value that cannot be.
    """
    if len(target) != 1 or next(iter(target)) not in known:
        extra = "; solve a plan for it first" if set(target) & set(TARGETS) - set(known) else ""
        extra = "; a run can be told so, a plan cannot" if "latency" in set(target) - set(known) else extra
        raise PlanError(f"target {dict(target)}: name one of {', '.join(known)}, e.g. macs=0.25 for a quarter{extra}.")
    name, value = next(iter(target.items()))
    shares = (*SHARES, "latency")
    if name in shares and not 0 < value <= 1:
        raise PlanError(f"target {name}={value:g} is outside 0..1: give the share of the dense model that stays.")
    if name not in shares and not 0 < value < float("inf"):
        raise PlanError(f"target {name}={value:g}: give milliseconds above 0.")
    return name, float(value)


def plan_for_target(
    record: CombRecord,
    scores: Scores,
    target: Mapping[str, float],
    constraints: Constraints = Constraints(),
    fixed: Mapping[str, float] | None = None,
    criterion: str = "",
    chunks: int = 16,
    *,
    accuracy: AccuracyModel | None = None,
    latency: LatencyModel | None = None,
    floor: float = 0.0,
) -> Plan:
    """A plan that takes at most `target`: a share of the dense model's MACs or parameters, or milliseconds a pass.

    Args:
        fixed: hand-set ratios; those groups are granted first and not touched again.
        chunks: a group goes in about this many steps from full to empty.
        accuracy: what cuts cost, as it was measured; without it scores alone decide.
        latency: what a pass takes; needed for `latency_ms`.
        floor: predicted accuracy (0..1) before training below which the plan must not fall; needs `accuracy`.
    Returns:
        The plan; `shortfall` says where the target cannot be met what can, and why.
    Raises:
        PlanError: a target that makes no sense, or one that needs what was not measured.
    """
    name, limit = check_target(target)
    if floor and accuracy is None:
        raise PlanError("an accuracy floor needs measured sensitivities; scan the model first.")
    if not 0 <= floor < 1:
        raise PlanError(f"floor {floor:g} is outside 0..1: give the least accuracy, e.g. 0.9.")
    costs = CostModel(record)
    meter = _meter(name, costs, latency)
    start = plan_ratios(record, fixed or {}, scores, constraints, criterion)
    search = _Search(
        record, costs, meter, scores, start.keep, constraints, frozenset(fixed or ()), chunks, accuracy, floor
    )
    search.run(limit)
    counts, reached = search.living.counts, search.amount
    rows = []
    for row in start.groups:
        if fixed and row.group in fixed:
            rows.append(row)
        else:
            left = search.living.keep(row.group)
            rows.append(GroupPlan(row.group, row.width, left, 1 - counts[row.group] / row.width))
    shortfall = ""
    if reached > limit:
        # The nearest that can be met is said rounded up, so that asking for it is met.
        digits = 10.0 ** (4 if name in SHARES else 3)
        nearest = np.ceil(reached * digits) / digits
        shortfall = (
            f"{name}={limit:g} cannot be met; the nearest that can is {name}={nearest:g}, {meter.words(reached - limit)} "
            f"above the target: {search.why}, {len(fixed or ())} set by hand, {sum(not g.prunable for g in record.groups)} locked."
        )
    return replace(start, groups=tuple(rows), target=dict(target), shortfall=shortfall)


def _meter(name: str, costs: CostModel, latency: LatencyModel | None) -> Quantity:
    if name in SHARES:
        return Share(costs, name)
    if latency is None:
        raise PlanError(f"target {name} needs the operators' times on this machine; profile the model first.")
    return Milliseconds(latency)


class _Search:
    """A network on paper on its way to a target."""

    def __init__(
        self,
        record: CombRecord,
        costs: CostModel,
        meter: Quantity,
        scores: Scores,
        keep: Mapping[str, tuple[int, ...]],
        constraints: Constraints,
        held: frozenset[str],
        chunks: int,
        accuracy: AccuracyModel | None,
        floor: float,
    ) -> None:
        self.costs, self.meter, self.scores, self.constraints = costs, meter, scores, constraints
        self.held, self.chunks, self.accuracy, self.floor = held, chunks, accuracy, floor
        groups = record.by_name
        self.clusters = {name: names for names in clusters(record.groups) for name in names}
        free = [n for n in clusters(record.groups) if groups[n[0]].prunable and not held & set(n)]
        self.legal = {names: legal_widths(groups[names[0]], constraints) for names in free}
        values = {g.name: score_values(g, scores) for g in record.groups}
        self.living = Living(record, values, {name: len(units) for name, units in keep.items()}, meter.further)
        self.damage = None if accuracy is None else damages(record, scores, accuracy, meter)
        own = f", {len(constraints.minimums)} with a minimum of their own" if constraints.minimums else ""
        self.why = (
            f"every group is at its least width (minimum {constraints.minimum}, multiple {constraints.multiple}, "
            f"max_ratio {constraints.max_ratio:g}{own})"
        )

    @property
    def amount(self) -> float:
        return self.meter.at(self.living.sizes)

    def run(self, limit: float) -> None:
        """Down to the limit or to the floor; what was measured then improves the plan, which may let it go further."""
        if not self._stands({}):
            raise PlanError(
                f"floor {self.floor:g}: already the groups set by hand are predicted to leave less; lower the floor or "
                "what is set by hand."
            )
        while self.amount > limit:
            before = self.amount
            blocked = self._descend(limit)
            if self.damage is not None:
                found = dict(self.living.counts)
                improve(self.living, self.meter, max(limit, self.amount), list(self.legal), self.legal, self.damage)
                if not self._stands({}):  # importance has a small say in trades, and the floor asks for accuracy alone
                    self.living.move(found)
            if not blocked or self.amount > before - 1e-3 * before:
                break

    def _descend(self, limit: float) -> bool:
        """Cut by cut; whether the floor ended it."""
        keep = {name: self.living.keep(name) for name in self.living.counts}
        offered = downwards(
            self.costs, self.scores, keep, self.meter, self.constraints, self.chunks, self.held, self.damage
        )
        last: tuple[tuple[str, ...], int] | None = None
        for cut in offered:
            names, to = self.clusters[cut.group], len(cut.keep)
            if self.living.counts[cut.group] == to:
                continue  # a tied group that went with the first of them
            if self.amount <= limit:
                break
            counts = dict.fromkeys(names, to)
            if not self._stands(counts):
                self.why = f"the next cut is predicted to fall below the floor of {self.floor:g}"
                return True
            last = names, self.living.counts[cut.group]
            self.living.move(counts)
        if last is not None and self.amount <= limit:
            self._just_enough(*last, limit)
        return False

    def _stands(self, counts: Mapping[str, int]) -> bool:
        """Whether the prediction with these counts is above the floor."""
        if not self.floor or self.accuracy is None:
            return True
        return self.accuracy.estimate_counts({**self.living.counts, **counts}).value >= self.floor

    def _just_enough(self, names: tuple[str, ...], before: int, limit: float) -> None:
        """The widest that the last group cut may be while the target is met: its chunk need not go whole."""
        here = self.living.counts[names[0]]
        for width in reversed([w for w in self.legal[names] if here < w < before]):
            if self.meter.at(self.living.sizes_at(dict.fromkeys(names, width))) <= limit:
                self.living.move(dict.fromkeys(names, width))
                return
