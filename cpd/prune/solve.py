"""Plans that meet a target: chunks leave in the order of `order.py` until the target is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.order import Cut, downwards, living_scores
from cpd.prune.plan import Constraints, GroupPlan, Plan, Scores, keep_top, legal_widths, plan_ratios

TARGETS = ("macs", "params")


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
    for cut in downwards(model, scores, keep, name, constraints, chunks, frozenset(fixed or ())):
        # Tied groups are offered one after another and must go together.
        level = all(len(keep[cut.group]) == len(keep[other]) for other in record.by_name[cut.group].tied)
        if level and model.price(keep).share_of(model.dense)[name] <= share:
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
    living = living_scores(group, scores, keep[group.name])
    widths = [w for w in legal_widths(group, constraints) if len(cut.keep) < w < len(keep[group.name])]
    for width in reversed(widths):
        left = keep_top(living, width, group.blocks)
        if model.price({**keep, group.name: left}).share_of(model.dense)[target] <= share:
            return left
    return cut.keep
