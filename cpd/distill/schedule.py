"""What the student loses at each cut: towards a plan's exact units, or towards a target by fresh scores.

All of it is arithmetic on names and numbers. Nothing is remembered between cuts but what the student keeps, so a
resumed run cuts as the uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cpd.comb.record import CombRecord
from cpd.distill.pace import Pace
from cpd.distill.reference import reference_cuts
from cpd.distill.together import NO_PLAN
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.order import Cut, Kept, downwards, towards
from cpd.prune.plan import Constraints, GroupPlan, Plan, Scores, keep_top
from cpd.prune.solve import LATENCIES, RUN_TARGETS, check_target


@dataclass(frozen=True)
class GroupCut:
    """What one group lost at one cut of the network."""

    group: str
    removed: int
    width: int  # units left


class Schedule:
    """Where the student has to be after each cut.

    The network's cost falls by the same factor from cut to cut (a geometric path), so that late cuts, which hurt
    most, are the smallest in absolute terms.

    Args:
        plan: units to keep at the end; or
        target: e.g. {"macs": 0.25}, reached by the scores that each cut is given; a latency such as {"latency": 0.5} needs
            a measurement before every cut, see `pace`.
        events: cuts in all.
        constraints: of a target's widths; a plan brings what it needs.
        cost: share of the dense cost that the network has before the first cut.
        keep: what it has then; None for everything. A plan gets the widths it asks for out of these units.
        reference: groups lose their chunks as the paper's released code does it, see `cpd.distill.reference`; there is
            no plan then.
        single: one chunk a cut, as there, wherever on the path that leads; otherwise as many as the path asks for.

    Raises:
        PlanError: the plan or the target does not fit, or is met already.
    """

    def __init__(
        self,
        record: CombRecord,
        plan: Plan | None,
        target: Mapping[str, float] | None,
        events: int,
        chunks: int = 16,
        constraints: Constraints = Constraints(),
        criterion: str = "",
        cost: float = 1.0,
        keep: Mapping[str, tuple[int, ...]] | None = None,
        reference: bool = False,
        single: bool = False,
    ) -> None:
        if reference and plan is not None:
            raise PlanError(NO_PLAN)
        self.reference, self.single = reference, single
        if (plan is None) == (target is None):
            raise PlanError("pruning needs either a plan or a target such as macs=0.25.")
        if plan is not None:
            plan.check(record)
            plan.check_locks(record)
            if keep is not None:
                plan = within(plan, record, keep)
        self.record, self.plan, self.chunks, self.constraints, self.criterion = (
            record,
            plan,
            chunks,
            constraints,
            criterion,
        )
        self.model = CostModel(record)
        self.events = max(1, events)
        self.target = dict(target) if target else {}
        self.quantity, self.share = check_target(target, RUN_TARGETS) if target else ("macs", self._share_of_plan())
        self.pace: Pace | None = None
        if self.quantity in LATENCIES:
            self.pace = Pace(self.quantity, self.share, self.events)
            self.quantity, self.share = "macs", 0.0
        self.cost = cost
        if keep is not None and self.done(dict(keep)):
            raise PlanError(
                f"the checkpoint has {cost:.1%} of the dense model's {self.quantity} left, and what is asked for is "
                f"{self.share:.1%}; ask for less, or go back further."
            )

    def whole(self) -> Kept:
        """The dense network."""
        return {group.name: tuple(range(group.width)) for group in self.record.groups}

    def goal(self, event: int) -> float:
        """Share of the dense cost after cut number `event`, counted from 1."""
        if self.pace is not None:
            return self.pace.goal(event)
        if self.share >= self.cost:
            return self.share
        return float(self.cost * (self.share / self.cost) ** (min(event, self.events) / self.events))

    def stride(self, event: int) -> float:
        """Factor of the cost from one cut to the next."""
        if self.pace is not None:
            return float((self.pace.goal(event) / self.pace.macs) ** 0.5)  # an undone cut is halved: one stride of two
        return float(min(1.0, self.share / self.cost) ** (1 / self.events))

    def done(self, keep: Kept) -> bool:
        """Whether nothing is left to cut."""
        if self.pace is not None:
            return self.pace.settled(self.reached(keep))
        return keep == self.plan.keep if self.plan is not None else self.reached(keep) <= self.share + 1e-12

    def reached(self, keep: Kept) -> float:
        """Share of the dense cost that a network costs, in the quantity of the target (MACs for a plan)."""
        return self.model.price(keep).share_of(self.model.dense)[self.quantity]

    def after(
        self,
        event: int,
        keep: Kept,
        scores: Scores,
        goal: float | None = None,
        fixed: frozenset[str] = frozenset(),
    ) -> Kept:
        """What the student keeps after cut number `event`, given what it keeps before.

        Args:
            goal: share of the dense cost to go down to, where it is not the planned one.
            fixed: groups that are passed over this time.
        """
        planned = self.goal(event)
        goal = planned if goal is None else goal
        last = event >= self.events and goal <= planned
        if self.plan is not None:
            wanted = dict(self.plan.keep)
            for group in self.record.groups:
                if fixed & {group.name, *group.tied}:
                    wanted[group.name] = keep[group.name]
            return wanted if last else self._down_to(goal, keep, towards(self.model, scores, keep, wanted, self.chunks))
        # Finer at the end, so that the target is not overshot by most of a chunk.
        chunks = self.chunks * 4 if last else self.chunks
        if self.reference:
            cuts = reference_cuts(self.model, scores, keep, self.constraints, fixed)
            return self._one_chunk(keep, cuts) if self.single else self._down_to(goal, keep, cuts)
        offered = downwards(self.model, scores, keep, self.quantity, self.constraints, chunks, fixed)
        return self._down_to(goal, keep, offered)

    def finished(self, keep: Kept, because: str = "") -> Plan:
        """The plan that the student carries out, with what is missing in words; `because`: a reason beside the usual."""
        if self.plan is not None and keep == self.plan.keep:
            return self.plan
        rows = tuple(
            GroupPlan(g.name, g.width, keep[g.name], 1 - len(keep[g.name]) / g.width) for g in self.record.groups
        )
        reached = self.reached(keep)
        shortfall = ""
        if self.pace is not None:
            shortfall = self.pace.shortfall(reached, because)
        elif self.target and reached > self.share + 1e-9:
            locked = sum(not g.prunable for g in self.record.groups)
            shortfall = (
                f"{self.quantity} stops at {reached:.1%} of the dense model, {reached - self.share:.1%} above the target: "
                f"no group may lose more (minimum {self.constraints.minimum}, multiple {self.constraints.multiple}, "
                f"max_ratio {self.constraints.max_ratio:g}, {locked} locked)."
            )
            if because:
                shortfall = (
                    f"{self.quantity} stops at {reached:.1%} of the dense model, {reached - self.share:.1%} above the "
                    f"target: {because}."
                )
        elif self.plan is not None:
            wider = [f"{row.group} {len(keep[row.group])} instead of {len(row.keep)}" for row in self.plan.groups
                     if len(keep[row.group]) > len(row.keep)]  # fmt: skip
            more = f" and {len(wider) - 3} more" if len(wider) > 3 else ""
            shortfall = (
                f"the plan is not carried out whole, {because or 'the run ended first'}: {', '.join(wider[:3])}{more}."
            )
        return Plan(self.record.model, rows, self.criterion, self.constraints, self.target, shortfall)

    def _share_of_plan(self) -> float:
        assert self.plan is not None
        share = self.model.price(self.plan.keep).share_of(self.model.dense)["macs"]
        return min(1.0, max(share, 1e-3))

    def _one_chunk(self, keep: Kept, offered: Iterable[Cut]) -> Kept:
        """The first chunk, and those of groups that are tied to its group; nothing where the target is met."""
        now = dict(keep)
        for cut in () if self.done(keep) else offered:
            now[cut.group] = cut.keep
            if all(len(now[cut.group]) == len(now[name]) for name in self.record.by_name[cut.group].tied):
                break
        return now

    def _down_to(self, goal: float, keep: Kept, offered: Iterable[Cut]) -> Kept:
        now = dict(keep)
        for cut in offered:
            # Tied groups are offered one after another and must go together.
            level = all(len(now[cut.group]) == len(now[name]) for name in self.record.by_name[cut.group].tied)
            if level and self.reached(now) <= goal:
                break
            now[cut.group] = cut.keep
        return now


def changes(before: Kept, after: Kept) -> tuple[GroupCut, ...]:
    """The groups that differ, in the order of `before`."""
    return tuple(
        GroupCut(name, len(before[name]) - len(kept), len(kept)) for name, kept in after.items() if kept != before[name]
    )


def within(plan: Plan, record: CombRecord, keep: Mapping[str, tuple[int, ...]]) -> Plan:
    """The plan with its widths made of the units that a network still has.

    Where those are the plan's own units, they stay; else as many others as it asks for. A group that is narrower
    already stays as it is.
    """
    rows = []
    for row in plan.groups:
        have = set(keep[row.group])
        if set(row.keep) <= have:
            rows.append(row)
            continue
        values = np.full(row.width, -np.inf)
        values[sorted(have)] = 0.0
        values[sorted(have & set(row.keep))] = 1.0
        wanted = min(len(row.keep), len(have))
        reason = f"{row.width - len(have)} of {row.width} units were gone at the checkpoint"
        chosen = keep_top(values, wanted, record.by_name[row.group].blocks)
        rows.append(replace(row, keep=chosen, reason="; ".join(filter(None, (row.reason, reason)))))
    return replace(plan, groups=tuple(rows))
