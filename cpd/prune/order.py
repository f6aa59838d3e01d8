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
from cpd.prune.plan import Constraints, Scores, keep_top, legal_widths

Kept = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Cut:
    """One chunk leaving one group."""

    group: str
    keep: tuple[int, ...]  # what is left of the group after the cut
    removed: int
    worth: float  # see `worth`
    cost: Cost  # of the whole network after the cut


def downwards(
    model: CostModel,
    scores: Scores,
    keep: Kept,
    quantity: str,
    constraints: Constraints,
    chunks: int,
    fixed: frozenset[str] = frozenset(),
) -> Iterator[Cut]:
    """Chunks that make the network cheaper, the one that is worth least first, until nothing may go.

    Args:
        quantity: "macs" or "params".
        chunks: a group goes in about this many steps from full to empty.
        fixed: groups that stay as they are.
    """
    free = {g.name: g for g in model.record.groups if g.prunable and not fixed & {g.name, *g.tied}}

    def offer(group: Group, now: Kept) -> Cut | None:
        return _narrower(model, group, scores, now, quantity, constraints, chunks)

    yield from _cheapest_first(model, scores, keep, quantity, free, offer)


def towards(
    model: CostModel, scores: Scores, keep: Kept, wanted: Mapping[str, tuple[int, ...]], chunks: int
) -> Iterator[Cut]:
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
                values = living_scores(group, scores, now[name], wanted[name] if wanted else ())
                left = keep_top(values, len(cut.keep), group.blocks)
            removed = len(now[name]) - len(left)
            now[name] = left
            yield Cut(name, left, removed, value, model.price(now))
        push(cut.group)


def _narrower(
    model: CostModel, group: Group, scores: Scores, keep: Kept, quantity: str, constraints: Constraints, chunks: int
) -> Cut | None:
    """The next chunk that `group` would lose on its way down; None when it is at its least width."""
    width = len(keep[group.name])
    legal = [w for w in legal_widths(group, constraints) if w < width]
    if not legal:
        return None
    step = max(1, group.width // chunks)
    to = max((w for w in legal if w <= width - step), default=legal[0])
    left = keep_top(living_scores(group, scores, keep[group.name]), to, group.blocks)
    after = model.price({**keep, group.name: left})
    now = model.price(keep)
    if after.share_of(model.dense)[quantity] >= now.share_of(model.dense)[quantity]:
        return None
    return Cut(group.name, left, width - to, 0.0, after)


def _next(
    group: Group, scores: Scores, keep: tuple[int, ...], wanted: tuple[int, ...], chunks: int
) -> tuple[int, ...] | None:
    """What `group` keeps after its next chunk on the way to `wanted`."""
    if len(keep) <= len(wanted):
        return None
    size = max(group.step, group.width // chunks // group.step * group.step)
    values = living_scores(group, scores, keep, wanted)
    return keep_top(values, max(len(wanted), len(keep) - size), group.blocks)


def living_scores(
    group: Group, scores: Scores, keep: tuple[int, ...], wanted: tuple[int, ...] = ()
) -> npt.NDArray[np.float64]:
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
