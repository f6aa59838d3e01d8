"""Plans that meet a target: remove what scores least for what it costs, a chunk at a time.

This is the paper's removal schedule (section "Prune") made a planner: each step, the group whose cheapest chunk has
the least score for the cost it saves loses that chunk, until the target is met. The same chunks, in the same order,
are what `cpd.distill` removes while training.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import Cost, CostModel
from cpd.prune.plan import Constraints, GroupPlan, Plan, Scores, keep_top, legal_widths, plan_ratios

TARGETS = ("macs", "params")


@dataclass(frozen=True)
class Cut:
    """One chunk leaving one group."""

    group: str
    keep: tuple[int, ...]  # what is left of the group after the cut
    removed: int
    score_per_saving: float
    cost: Cost  # of the whole network after the cut


def check_target(target: Mapping[str, float]) -> tuple[str, float]:
    """The one (name, share) of a target such as {"macs": 0.25}.

    Raises:
        PlanError: unknown name, more than one, or a share outside 0..1.
    """
    if len(target) != 1 or next(iter(target)) not in TARGETS:
        raise PlanError(f"target {dict(target)}: name one of {', '.join(TARGETS)}, e.g. macs=0.25 for a quarter.")
    name, share = next(iter(target.items()))
    if not 0 < share <= 1:
        raise PlanError(f"target {name}={share:g} is outside 0..1: give the share of the dense model that stays.")
    return name, float(share)


def plan_for_target(
    record: CombRecord,
    scores: Scores,
    target: Mapping[str, float],
    constraints: Constraints = Constraints(),
    fixed: Mapping[str, float] | None = None,
    criterion: str = "",
    chunks: int = 16,
) -> Plan:
    """A plan whose cost is at most `target` of the dense model's.

    Args:
        fixed: hand-set ratios; those groups are granted first and not touched again.
        chunks: a group goes in about this many steps from full to empty.
    Returns:
        The plan; `shortfall` says by how much and why where the target cannot be met.
    """
    name, share = check_target(target)
    model = CostModel(record)
    start = plan_ratios(record, fixed or {}, scores, constraints, criterion)
    keep = start.keep
    for cut in cuts(model, scores, keep, name, constraints, frozenset(fixed or ()), chunks):
        if model.price(keep).share_of(model.dense)[name] <= share:
            break
        before = keep[cut.group]
        keep[cut.group] = cut.keep
        if model.price(keep).share_of(model.dense)[name] < share:
            keep[cut.group] = _just_enough(
                model, record.by_name[cut.group], scores, {**keep, cut.group: before}, cut, name, share, constraints
            )
    reached = model.price(keep).share_of(model.dense)[name]
    rows = []
    for row in start.groups:
        if fixed and row.group in fixed:
            rows.append(row)
        else:
            rows.append(GroupPlan(row.group, row.width, keep[row.group], 1 - len(keep[row.group]) / row.width))
    shortfall = ""
    if reached > share:
        locked = sum(not g.prunable for g in record.groups)
        shortfall = (
            f"{name} stops at {reached:.1%} of the dense model, {reached - share:.1%} above the target: every group is at its "
            f"least width (minimum {constraints.minimum}, max_ratio {constraints.max_ratio:g}), {len(fixed or ())} set by hand, "
            f"{locked} locked."
        )
    return replace(start, groups=tuple(rows), target=dict(target), shortfall=shortfall)


def cuts(
    model: CostModel,
    scores: Scores,
    keep: Mapping[str, tuple[int, ...]],
    target: str,
    constraints: Constraints = Constraints(),
    fixed: frozenset[str] = frozenset(),
    chunks: int = 16,
) -> Iterator[Cut]:
    """Chunks in the order in which they should go, from the network that keeps `keep`; ends when nothing may go.

    Scores are compared between groups after division by the mean of the group, and by what the chunk saves.
    Group Fisher's memory normaliser belongs to the criterion and is already in the scores.
    """
    now = {name: tuple(units) for name, units in keep.items()}
    free = [g for g in model.record.groups if g.prunable and not fixed & {g.name, *g.tied}]
    step = 0

    def candidate(group: Group) -> Cut | None:
        return next_cut(model, group, scores, now, model.price(now), target, constraints, chunks)

    # What a chunk saves only shrinks as its neighbours do, so an old ratio is never above the new one: the first of
    # the queue that was priced after the last cut is the least of all (lazy greedy; Minoux 1978).
    queue: list[tuple[float, int, int, Cut]] = []
    for number, group in enumerate(free):
        cut = candidate(group)
        if cut:
            heapq.heappush(queue, (cut.score_per_saving, number, step, cut))
    while queue:
        _, number, priced, cut = heapq.heappop(queue)
        group = free[number]
        if priced < step:
            fresh = candidate(group)
            if fresh:
                heapq.heappush(queue, (fresh.score_per_saving, number, step, fresh))
            continue
        step += 1
        for name in (group.name, *group.tied):
            other = model.record.by_name[name]
            if len(now[name]) <= len(cut.keep):
                continue
            now[name] = (
                cut.keep if name == group.name else keep_top(_living(other, scores, now), len(cut.keep), other.blocks)
            )
            yield replace(cut, group=name, keep=now[name], cost=model.price(now))
        following = candidate(group)
        if following:
            heapq.heappush(queue, (following.score_per_saving, number, step, following))


def _just_enough(
    model: CostModel,
    group: Group,
    scores: Scores,
    keep: Mapping[str, tuple[int, ...]],
    cut: Cut,
    target: str,
    share: float,
    constraints: Constraints,
) -> tuple[int, ...]:
    """The widest the group may stay while the target is met: the last chunk need not go whole."""
    if group.tied:
        return cut.keep
    living = _living(group, scores, keep)
    widths = [w for w in legal_widths(group, constraints) if len(cut.keep) < w < len(keep[group.name])]
    for width in reversed(widths):
        left = keep_top(living, width, group.blocks)
        if model.price({**keep, group.name: left}).share_of(model.dense)[target] <= share:
            return left
    return cut.keep


def next_cut(
    model: CostModel,
    group: Group,
    scores: Scores,
    keep: Mapping[str, tuple[int, ...]],
    cost: Cost,
    target: str,
    constraints: Constraints,
    chunks: int,
) -> Cut | None:
    """The next chunk that `group` would lose, priced; None when it is at its least width."""
    width = len(keep[group.name])
    step = max(1, group.width // chunks)
    legal = [w for w in legal_widths(group, constraints) if w < width]
    if not legal:
        return None
    to = max((w for w in legal if w <= width - step), default=legal[0])
    living = _living(group, scores, keep)
    left = keep_top(living, to, group.blocks)
    gone = sorted(set(keep[group.name]) - set(left))
    after = model.price({**keep, group.name: left})
    saving = cost.share_of(model.dense)[target] - after.share_of(model.dense)[target]
    if saving <= 0:
        return None
    mean = float(np.mean(np.asarray(scores[group.name]))) or 1.0
    return Cut(group.name, left, len(gone), float(np.sum(living[gone])) / mean / saving, after)


def _living(group: Group, scores: Scores, keep: Mapping[str, tuple[int, ...]]) -> npt.NDArray[np.float64]:
    """Scores with the units that are already gone below every other."""
    values = np.full(group.width, -np.inf)
    kept = list(keep[group.name])
    values[kept] = np.asarray(scores[group.name], np.float64)[kept]
    return values
