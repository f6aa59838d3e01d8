"""What the student loses at each cut: towards a plan's exact units, or towards a target by fresh scores.

All of it is arithmetic on names and numbers. Nothing is remembered between cuts but what the student keeps, so a
resumed run cuts as the uninterrupted one does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.plan import Constraints, GroupPlan, Plan, Scores, keep_top
from cpd.prune.solve import Cut, check_target, next_cut

Kept = dict[str, tuple[int, ...]]


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
        self.record, self.plan, self.chunks, self.constraints, self.criterion = record, plan, chunks, constraints, criterion
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
        rows = tuple(GroupPlan(g.name, g.width, keep[g.name], 1 - len(keep[g.name]) / g.width) for g in self.record.groups)
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


def downwards(
    model: CostModel, scores: Scores, keep: Kept, quantity: str, constraints: Constraints, chunks: int
) -> Iterator[Cut]:
    """Chunks that make the network cheaper, the one that is worth least first, until nothing may go."""
    dense = {g.name: g for g in model.record.groups if g.prunable}

    def offer(group: Group, now: Kept) -> Cut | None:
        return next_cut(model, group, scores, now, model.price(now), quantity, constraints, chunks)

    yield from _cheapest_first(model, scores, keep, quantity, dense, offer)


def towards(model: CostModel, scores: Scores, keep: Kept, wanted: Mapping[str, tuple[int, ...]], chunks: int) -> Iterator[Cut]:
    """Chunks that lead from `keep` to exactly `wanted`, the one that is worth least first.

    Units leave in ascending order of score, equally many of every block.
    """
    surplus = {g.name: g for g in model.record.groups if len(keep[g.name]) > len(wanted[g.name])}

    def offer(group: Group, now: Kept) -> Cut | None:
        left = _next(group, scores, now[group.name], wanted[group.name], chunks)
        if left is None:
            return None
        return Cut(group.name, left, len(now[group.name]) - len(left), 0.0, model.price({**now, group.name: left}))

    yield from _cheapest_first(model, scores, keep, "macs", surplus, offer, wanted)


def worth(model: CostModel, scores: Scores, group: Group, keep: Kept, cut: Cut, quantity: str) -> float:
    """Share of the group's remaining score that a chunk holds, over the share of the group's cost that it saves, times
    how narrow the group already is.

    Where all units of a group score alike this is 1 for every group of the dense network and rises as a group shrinks,
    so that all groups shrink at one pace: uniform pruning is the neutral case, and only what scores say within a
    group departs from it. Raw scores are not compared between groups: groups differ in what they sum over. The last
    factor breaks a tie: a layer's cost is a product of two widths, and without it halving one of them twice is as
    good as halving each.
    """
    values = _values(group, scores)
    here = list(keep[group.name])
    gone = sorted(set(here) - set(cut.keep))
    held = float(values[gone].sum()) / max(float(values[here].sum()), 1e-30)
    before = model.price(keep).share_of(model.dense)[quantity]
    saved = (before - cut.cost.share_of(model.dense)[quantity]) / max(model.shares[group.name][quantity], 1e-12)
    return held / max(saved, 1e-12) * group.width / len(here)


def _cheapest_first(
    model: CostModel,
    scores: Scores,
    keep: Kept,
    quantity: str,
    groups: Mapping[str, Group],
    offer: Callable[[Group, Kept], Cut | None],
    wanted: Mapping[str, tuple[int, ...]] | None = None,
) -> Iterator[Cut]:
    """Offers in the order of their worth; tied groups follow one another at equal counts.

    An offer is only ever worth more after other cuts (its neighbours shrink, and so does what it saves), so the first
    of the queue that was priced after the last cut is the least of all (lazy greedy, Minoux 1978).
    """
    now = dict(keep)
    order = list(groups)
    queue: list[tuple[float, int, int, Cut]] = []
    step = 0

    def push(name: str) -> None:
        cut = offer(groups[name], now)
        if cut is not None:
            value = worth(model, scores, groups[name], now, cut, quantity)
            heapq.heappush(queue, (value, order.index(name), step, cut))

    for name in order:
        push(name)
    while queue:
        value, _, priced, cut = heapq.heappop(queue)
        if priced < step or not set(cut.keep) < set(now[cut.group]):
            push(cut.group)
            continue
        step += 1
        for name in (cut.group, *model.record.by_name[cut.group].tied):
            group = model.record.by_name[name]
            if len(now[name]) <= len(cut.keep):
                continue
            left = cut.keep
            if name != cut.group:
                values = _living(group, scores, now[name], wanted[name] if wanted else ())
                left = keep_top(values, len(cut.keep), group.blocks)
            removed = len(now[name]) - len(left)
            now[name] = left
            yield Cut(name, left, removed, value, model.price(now))
        push(cut.group)


def _next(group: Group, scores: Scores, keep: tuple[int, ...], wanted: tuple[int, ...], chunks: int) -> tuple[int, ...] | None:
    """What `group` keeps after its next chunk on the way to `wanted`."""
    if len(keep) <= len(wanted):
        return None
    size = max(group.step, group.width // chunks // group.step * group.step)
    values = _living(group, scores, keep, wanted)
    return keep_top(values, max(len(wanted), len(keep) - size), group.blocks)


def _living(group: Group, scores: Scores, keep: tuple[int, ...], wanted: tuple[int, ...] = ()) -> npt.NDArray[np.float64]:
    """Scores with the units that are already gone below every other, and those that a plan keeps above."""
    values = np.full(group.width, -np.inf)
    values[list(keep)] = _values(group, scores)[list(keep)]
    values[list(wanted)] = np.inf
    return values


def _values(group: Group, scores: Scores) -> npt.NDArray[np.float64]:
    if group.name not in scores:
        return np.ones(group.width)
    values = np.asarray(scores[group.name], np.float64)
    if values.shape != (group.width,):
        raise PlanError(f"{group.name}: {values.shape} scores for {group.width} units; score the model again.")
    return values
