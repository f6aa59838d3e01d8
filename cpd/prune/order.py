"""In which order chunks of units should go: by what they are worth for what they save.

This is the paper's removal schedule (section "Prune"): each step, the group whose cheapest chunk has the least score
for the cost it saves loses that chunk. Planning for a target and pruning while training both follow it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpd.comb.group import Group
from cpd.errors import PlanError
from cpd.prune.cost import Cost, CostModel
from cpd.prune.living import Living
from cpd.prune.plan import Constraints, Scores, legal_widths
from cpd.prune.quantity import Quantity, Share

Kept = dict[str, tuple[int, ...]]
FloatArray = npt.NDArray[np.float64]
Damage = Mapping[str, FloatArray]  # group -> (width + 1,) what cutting it down to so many units costs


@dataclass(frozen=True)
class Cut:
    """One chunk leaving one group."""

    group: str
    keep: tuple[int, ...]  # what is left of the group after the cut
    removed: int
    worth: float  # see `Walk.worth`
    cost: Cost  # of the whole network after the cut
    amount: float  # of the quantity after the cut


def downwards(
    model: CostModel,
    scores: Scores,
    keep: Kept,
    quantity: str | Quantity,
    constraints: Constraints,
    chunks: int,
    fixed: frozenset[str] = frozenset(),
    damage: Damage | None = None,
) -> Iterator[Cut]:
    """Chunks that make the network cheaper, the one that is worth least first, until nothing may go.

    Args:
        quantity: "macs" or "params", or any other.
        chunks: a group goes in about this many steps from full to empty.
        fixed: groups that stay as they are.
        damage: what cuts cost, where that was measured; scores then only choose the units.
    """
    meter = Share(model, quantity) if isinstance(quantity, str) else quantity
    walk = Walk(model, meter, scores, keep, damage=damage)
    free = [names for names in clusters(model.record.groups) if not fixed & set(names)]
    legal = {names: legal_widths(model.record.by_name[names[0]], constraints) for names in free}

    def offers(names: tuple[str, ...]) -> Iterator[int]:
        """Widths a chunk further down and below: a step on a staircase may save nothing."""
        width = walk.living.counts[names[0]]
        narrower = [w for w in legal[names] if w < width]
        step = max(1, len(walk.living.order[names[0]]) // chunks)
        first = next((i for i in range(len(narrower) - 1, -1, -1) if narrower[i] <= width - step), 0)
        while narrower and first >= 0:
            yield narrower[first]
            first = next((i for i in range(first - 1, -1, -1) if narrower[i] <= narrower[first] - step), -1)

    yield from walk.cheapest_first([n for n in free if model.record.by_name[n[0]].prunable], offers, saving=True)


def towards(
    model: CostModel, scores: Scores, keep: Kept, wanted: Mapping[str, tuple[int, ...]], chunks: int
) -> Iterator[Cut]:
    """Chunks that lead from `keep` to exactly `wanted`, the one that is worth least first.

    Units leave in ascending order of score, equally many of every block.
    """
    walk = Walk(model, Share(model, "macs"), scores, keep, wanted)
    groups = model.record.by_name
    surplus = [names for names in clusters(model.record.groups) if len(keep[names[0]]) > len(wanted[names[0]])]

    def offers(names: tuple[str, ...]) -> Iterator[int]:
        group, width, goal = groups[names[0]], walk.living.counts[names[0]], len(wanted[names[0]])
        if width > goal:
            yield max(goal, width - max(group.step, group.width // chunks // group.step * group.step))

    yield from walk.cheapest_first(surplus, offers, saving=False)


def clusters(groups: tuple[Group, ...]) -> list[tuple[str, ...]]:
    """Groups by what must keep equal counts, in forward order; most are alone."""
    seen: set[str] = set()
    result = []
    for group in groups:
        if group.name not in seen:
            result.append((group.name, *(name for name in group.tied if name != group.name)))
            seen.update(result[-1])
    return result


class Walk:
    """A network that loses chunk after chunk."""

    def __init__(
        self,
        model: CostModel,
        meter: Quantity,
        scores: Scores,
        keep: Mapping[str, tuple[int, ...]],
        wanted: Mapping[str, tuple[int, ...]] | None = None,
        damage: Damage | None = None,
    ) -> None:
        self.model, self.meter, self.damage = model, meter, damage
        groups = model.record.groups
        raw = {g.name: score_values(g, scores) for g in groups}
        values = {g.name: _living(raw[g.name], keep[g.name], wanted[g.name] if wanted else ()) for g in groups}
        counts = {name: len(units) for name, units in keep.items()}
        self.living = Living(model.record, values, counts, meter.further)
        # Score that is left at every count: the last so many units in the order in which they leave.
        self._left = {
            name: np.concatenate([[0.0], np.cumsum(raw[name][order[::-1]])])
            for name, order in self.living.order.items()
        }
        self.amount = meter.at(self.living.sizes)

    def worth(self, names: tuple[str, ...], to: int) -> float | None:
        """What a chunk of a group (or of a few that are tied) is worth for what it saves; None where it saves nothing.

        By scores: the share of the group's remaining score that the chunk holds, over the share of the group's cost
        that it saves, times how narrow the group already is. Where all units of a group score alike this is 1 for every
        group of the dense network and rises as a group shrinks, so that all groups shrink at one pace: uniform pruning
        is the neutral case, and only what scores say within a group departs from it. Raw scores are not compared
        between groups: groups differ in what they sum over. The last factor breaks a tie: a layer's cost is a product
        of two widths, and without it halving one of them twice is as good as halving each.

        By damage: what is lost over what is saved, as it was measured.
        """
        saved = self.amount - self.meter.at(self.living.sizes_at(dict.fromkeys(names, to)))
        here = self.living.counts[names[0]]
        if self.damage is not None:
            curve = self.damage[names[0]]
            return float(curve[to] - curve[here]) / saved if saved > 1e-12 else None
        held = float(
            np.mean([(self._left[n][here] - self._left[n][to]) / max(self._left[n][here], 1e-30) for n in names])
        )
        hanging = max(sum(self.meter.hanging[name] for name in names), 1e-12)
        value = held / max(saved / hanging, 1e-12) * len(self.living.order[names[0]]) / here
        return value if saved > 1e-12 else None

    def cheapest_first(
        self, groups: list[tuple[str, ...]], offers: Callable[[tuple[str, ...]], Iterator[int]], saving: bool
    ) -> Iterator[Cut]:
        """Offers in the order of their worth; tied groups follow one another at equal counts.

        An offer is only ever worth more after other cuts (its neighbours shrink, and so does what it saves), so the
        first of the queue that was priced after the last cut is the least of all (lazy greedy, Minoux 1978).

        Args:
            offers: counts that a group may go to next, the best first.
            saving: whether offers that save nothing are passed over.
        """
        queue: list[tuple[float, int, int, int]] = []
        step = 0

        def push(number: int) -> None:
            for to in offers(groups[number]):
                value = self.worth(groups[number], to)
                if value is not None or not saving:
                    heapq.heappush(queue, (np.inf if value is None else value, number, step, to))
                    return

        for number in range(len(groups)):
            push(number)
        while queue:
            value, number, priced, to = heapq.heappop(queue)
            if priced < step:
                push(number)
                continue
            step += 1
            for name in groups[number]:
                removed = self.living.counts[name] - to
                if removed <= 0:
                    continue
                self.living.move({name: to})
                self.amount = self.meter.at(self.living.sizes)
                cost = self.model.price_sizes(self._shared(self.living.sizes))
                yield Cut(name, self.living.keep(name), removed, float(value), cost, self.amount)
            push(number)

    def _shared(self, sizes: FloatArray) -> FloatArray:
        """The sizes that the cost model knows: the record's, and the last 1."""
        return np.append(sizes[: len(self.model.record.extents)], 1.0) if self.meter.further else sizes


def _living(values: FloatArray, keep: tuple[int, ...], wanted: tuple[int, ...] = ()) -> FloatArray:
    """Scores with the units that are already gone below every other, and those that a plan keeps above."""
    result = np.full(len(values), -np.inf)
    result[list(keep)] = values[list(keep)]
    result[list(wanted)] = np.inf
    return result


def score_values(group: Group, scores: Scores) -> FloatArray:
    """(width,) scores of a group; all alike where there are none.

    Raises:
        PlanError: scores of another length.
    """
    if group.name not in scores:
        return np.ones(group.width)
    values = np.asarray(scores[group.name], np.float64)
    if values.shape != (group.width,):
        raise PlanError(f"{group.name}: {values.shape} scores for {group.width} units; score the model again.")
    return values
