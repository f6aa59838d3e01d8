"""Two plans side by side, and a plan beside a model it may not have been made for."""

from __future__ import annotations

from dataclasses import dataclass

from cpd.prune.plan import Combed, Plan


@dataclass(frozen=True)
class Misfit:
    """One group in which a plan and a model differ; a width of None where the group is not there."""

    group: str
    in_plan: int | None
    in_model: int | None

    @property
    def what(self) -> str:
        if self.in_model is None:
            return "the model has no such group"
        if self.in_plan is None:
            return "the plan does not name it"
        return f"{self.in_plan} units in the plan, {self.in_model} in the model"


@dataclass(frozen=True)
class Change:
    """One group that two plans cut differently: units kept in the first and in the second, and how many in both."""

    group: str
    width: int
    first: int
    second: int
    common: int


def misfits(plan: Plan, comb: Combed) -> list[Misfit]:
    """Every group that is not the same in both: those of the plan first, in its order, then those it does not name."""
    mine = {row.group: row.width for row in plan.groups}
    theirs = {group.name: group.width for group in comb.groups}
    found = [Misfit(name, width, theirs.get(name)) for name, width in mine.items() if theirs.get(name) != width]
    return found + [Misfit(name, None, width) for name, width in theirs.items() if name not in mine]


def changes(first: Plan, second: Plan) -> list[Change]:
    """Groups of which the two plans keep other units, in the first one's order.

    Raises:
        KeyError: the second plan does not name a group of the first; both must be of one comb.
    """
    others = {row.group: row for row in second.groups}
    found = []
    for row in first.groups:
        other = others[row.group]
        if row.keep != other.keep:
            common = len(set(row.keep) & set(other.keep))
            found.append(Change(row.group, row.width, len(row.keep), len(other.keep), common))
    return found
