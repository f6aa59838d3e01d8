"""What the student loses at each cut: towards a plan's exact units, or towards a target by fresh scores.

All of it is arithmetic on names and numbers. Nothing is remembered between cuts but what the student keeps, so a
resumed run cuts as the uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.order import Cut, Kept, downwards, towards
from cpd.prune.plan import Constraints, GroupPlan, Plan, Scores
from cpd.prune.solve import check_target


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
        target: e.g. {"macs": 0.25}, reached by the scores that each cut is given.
        events: cuts in all.
        constraints: of a target's widths; a plan brings what it needs.
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
    ) -> None:
        if (plan is None) == (target is None):
            raise PlanError("pruning needs either a plan or a target such as macs=0.25.")
        if plan is not None:
            plan.check(record)
            plan.check_locks(record)
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
        self.quantity, self.share = check_target(target) if target else ("macs", self._share_of_plan())

    def whole(self) -> Kept:
        """The dense network."""
        return {group.name: tuple(range(group.width)) for group in self.record.groups}

    def goal(self, event: int) -> float:
        """Share of the dense cost after cut number `event`, counted from 1."""
        return float(self.share ** (min(event, self.events) / self.events))

    def reached(self, keep: Kept) -> float:
        """Share of the dense cost that a network costs, in the quantity of the target (MACs for a plan)."""
        return self.model.price(keep).share_of(self.model.dense)[self.quantity]

    def after(self, event: int, keep: Kept, scores: Scores) -> Kept:
        """What the student keeps after cut number `event`, given what it keeps before."""
        last = event >= self.events
        if self.plan is not None:
            if last:
                return dict(self.plan.keep)
            return self._down_to(self.goal(event), keep, towards(self.model, scores, keep, self.plan.keep, self.chunks))
        # Finer at the end, so that the target is not overshot by most of a chunk.
        chunks = self.chunks * 4 if last else self.chunks
        offered = downwards(self.model, scores, keep, self.quantity, self.constraints, chunks)
        return self._down_to(self.goal(event), keep, offered)

    def finished(self, keep: Kept) -> Plan:
        """The plan that the student carries out, with what is missing to the target in words."""
        if self.plan is not None and keep == self.plan.keep:
            return self.plan
        rows = tuple(
            GroupPlan(g.name, g.width, keep[g.name], 1 - len(keep[g.name]) / g.width) for g in self.record.groups
        )
        reached = self.reached(keep)
        shortfall = ""
        if self.target and reached > self.share + 1e-9:
            locked = sum(not g.prunable for g in self.record.groups)
            shortfall = (
                f"{self.quantity} stops at {reached:.1%} of the dense model, {reached - self.share:.1%} above the target: "
                f"no group may lose more (minimum {self.constraints.minimum}, multiple {self.constraints.multiple}, "
                f"max_ratio {self.constraints.max_ratio:g}, {locked} locked)."
            )
        return Plan(self.record.model, rows, self.criterion, self.constraints, self.target, shortfall)

    def _share_of_plan(self) -> float:
        assert self.plan is not None
        share = self.model.price(self.plan.keep).share_of(self.model.dense)["macs"]
        return min(1.0, max(share, 1e-3))

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
