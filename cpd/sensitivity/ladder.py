"""The widths at which one group is cut, as plans (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.plan import Constraints, Plan, Scores, plan_ratios


@dataclass(frozen=True)
class Rung:
    """One group cut to `kept` units, with the groups that are tied to it, and nothing else."""

    kept: int
    plan: Plan


def ladder(
    record: CombRecord, group: Group, ratios: Sequence[float], scores: Scores | None, multiple: int = 1
) -> tuple[Rung, ...]:
    """Every legal width that the ratios come to, the widest first, without the full one.

    The plan's own rules grant the widths: blocks keep equal counts, ties level out, multiples hold.
    """
    family = tied_family(record, group.name)
    found: dict[int, Rung] = {}
    for ratio in sorted(ratios):
        plan = plan_ratios(record, dict.fromkeys(family, ratio), scores, Constraints(multiple=multiple))
        kept = len(plan.keep[group.name])
        if kept < group.width and kept not in found:
            found[kept] = Rung(kept, plan)
    return tuple(found[kept] for kept in sorted(found, reverse=True))


def tied_family(record: CombRecord, name: str) -> tuple[str, ...]:
    """The group and all that must keep as many units, in forward order."""
    family, grown = {name}, {name}
    while grown:
        grown = {other for member in grown for other in record.by_name[member].tied} - family
        family |= grown
    return tuple(group.name for group in record.groups if group.name in family)


def chosen(record: CombRecord, names: Sequence[str]) -> tuple[Group, ...]:
    """The groups to scan, in forward order: all prunable ones, or those named.

    Raises:
        PlanError: a name that no group has, or a group that is locked.
    """
    for name in names:
        if name not in record.by_name:
            raise PlanError(f"no group is called {name!r}; `python -m cpd comb SPEC` lists the names.")
        if not record.by_name[name].prunable:
            raise PlanError(f"{name} is locked ({record.by_name[name].reason}); it cannot be scanned.")
    return tuple(group for group in record.groups if group.prunable and (not names or group.name in names))
