"""Plans: which units of every group stay, what was asked for, and why less was granted (the ledger).

A plan is names and numbers. It is made from groups and scores, never from a model, so making one is arithmetic.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cpd.comb.group import Group
from cpd.errors import PlanError
from cpd.files import replacing

SCHEMA = 1

Scores = Mapping[str, npt.NDArray[np.float64]]  # group name -> (width,), larger means keep


class Combed(Protocol):
    """What a plan needs of a comb: `cpd.comb(...)` itself or its record read from disk."""

    @property
    def model(self) -> str: ...
    @property
    def groups(self) -> tuple[Group, ...]: ...


@dataclass(frozen=True)
class Constraints:
    """What every granted width must satisfy.

    Attributes:
        multiple: kept widths are multiples of this, where the group is at least that wide.
        minimum: fewest units that a group keeps.
        max_ratio: largest pruning ratio of any group, 0..1.
        minimums: fewest units of single groups by name, where they are to keep more than that.
    """

    multiple: int = 1
    minimum: int = 1
    max_ratio: float = 1.0
    minimums: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.multiple < 1 or self.minimum < 1 or not 0 <= self.max_ratio <= 1:
            raise PlanError(
                f"constraints: multiple {self.multiple} and minimum {self.minimum} must be 1 or more, "
                f"max_ratio {self.max_ratio} must lie in 0..1."
            )
        for name, least in self.minimums.items():
            if isinstance(least, bool) or not isinstance(least, int) or least < 1:
                raise PlanError(f"{name}: a minimum width of {least!r}; give a whole number of units, 1 or more.")

    def least(self, group: Group) -> int:
        """Fewest units that this group keeps; tied groups keep equally many, so each other's minimum holds for it."""
        return max(self.minimum, *(self.minimums.get(name, 1) for name in (group.name, *group.tied)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; without single groups' minimums where there are none, as files were before these."""
        row = asdict(self)
        return row if self.minimums else {name: value for name, value in row.items() if name != "minimums"}


@dataclass(frozen=True)
class GroupPlan:
    """Units to keep in one group.

    Attributes:
        keep: ascending, unique, each in [0, width).
        requested: pruning ratio that was asked for, 0..1.
        reason: why the granted ratio differs from it, in words; "" where it does not.
    """

    group: str
    width: int
    keep: tuple[int, ...]
    requested: float = 0.0
    reason: str = ""

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.keep, self.keep[1:], strict=False))
        if not self.keep or not ascending or self.keep[0] < 0 or self.keep[-1] >= self.width:
            raise PlanError(
                f"{self.group}: keep needs 1 or more ascending unit numbers below {self.width}, got {_shorten(self.keep)}."
            )

    @property
    def granted(self) -> float:
        """Pruning ratio that the plan carries out, 0..1."""
        return 1 - len(self.keep) / self.width


@dataclass(frozen=True)
class Plan:
    """What to keep of every prunable group of one model.

    Attributes:
        model: digest of the architecture, as in the comb's record.
        groups: a row for every group of the comb, in its order; locked groups keep all units.
        criterion: importance criterion that chose the units, "" for none.
        target: what the plan was solved for, e.g. {"macs": 0.25}; empty for hand-set ratios.
        shortfall: why a target was not reached and by how much; "" when it was.
    """

    model: str
    groups: tuple[GroupPlan, ...]
    criterion: str = ""
    constraints: Constraints = Constraints()
    target: Mapping[str, float] = field(default_factory=dict)
    shortfall: str = ""

    @property
    def keep(self) -> dict[str, tuple[int, ...]]:
        """Kept unit numbers of every group."""
        return {row.group: row.keep for row in self.groups}

    @property
    def digest(self) -> str:
        """Of the network that the plan leaves: equal for plans that keep the same units, whatever was asked for."""
        text = json.dumps([self.model, sorted((row.group, row.keep) for row in self.groups)])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def ratios(self) -> dict[str, float]:
        """Requested pruning ratio of every group."""
        return {row.group: row.requested for row in self.groups}

    def check(self, comb: Combed) -> None:
        """Refuse a plan that was made for another model.

        Raises:
            PlanError: naming the first groups that differ.
        """
        mine = {row.group: row.width for row in self.groups}
        theirs = {group.name: group.width for group in comb.groups}
        if mine == theirs and self.model == comb.model:
            return
        missing = [name for name in mine if name not in theirs]
        wider = [
            f"{n} ({mine[n]} units here, {theirs[n]} in the model)"
            for n in mine
            if n in theirs and mine[n] != theirs[n]
        ]
        new = [name for name in theirs if name not in mine]
        parts = [
            f"groups that the model does not have: {_shorten(missing)}" if missing else "",
            f"other widths: {_shorten(wider)}" if wider else "",
            f"groups that the plan does not name: {_shorten(new)}" if new else "",
        ]
        what = (
            "; ".join(part for part in parts if part)
            or f"architecture digest {self.model[:12]}, the model has {comb.model[:12]}"
        )
        raise PlanError(f"this plan was made for another model: {what}. Make a new plan for this one.")

    def check_locks(self, comb: Combed) -> None:
        """Refuse to carry out a plan that cuts a group which has been locked since it was made.

        Raises:
            PlanError: naming the group and why it is locked.
        """
        kept = self.keep
        for group in comb.groups:
            if not group.prunable and len(kept[group.name]) < group.width:
                raise PlanError(
                    f"{group.name}: the plan cuts it, and it is locked ({group.reason}). Make the plan again, or set it to 0."
                )

    def to_json(self) -> str:
        """The plan as JSON that a person can read."""
        row = {"schema": SCHEMA} | {field.name: getattr(self, field.name) for field in fields(self)}
        rows = [vars(group) for group in row.pop("groups")]  # asdict would copy every unit's number
        row |= {"constraints": self.constraints.to_dict(), "target": dict(self.target)}
        head = json.dumps(row, indent=1)[:-2]
        return head + ',\n "groups": [\n  ' + ",\n  ".join(json.dumps(r) for r in rows) + "\n ]\n}\n"

    @staticmethod
    def from_json(text: str, source: str = "plan") -> Plan:
        """Read a plan; `source` names it in errors.

        Raises:
            PlanError: not a plan, another schema, or rows that cannot be.
        """
        try:
            row: dict[str, Any] = json.loads(text)
            if row.pop("schema") != SCHEMA:
                raise PlanError(f"{source}: another plan schema than {SCHEMA}; make the plan again with this version.")
            rows = tuple(GroupPlan(**(r | {"keep": tuple(int(u) for u in r["keep"])})) for r in row.pop("groups"))
            return Plan(**(row | {"groups": rows, "constraints": Constraints(**row.pop("constraints"))}))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(f"{source}: not a pruning plan ({type(error).__name__}: {error}).") from error

    def save(self, path: Path) -> None:
        """Write the plan whole or not at all.

        Raises:
            StorageError: the disk refuses.
        """
        with replacing(path) as file:
            file.write(self.to_json().encode())

    @staticmethod
    def load(path: Path) -> Plan:
        try:
            return Plan.from_json(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"{path}: cannot read the plan ({error}).") from error


def uniform_plan(
    comb: Combed,
    ratio: float,
    scores: Scores | None = None,
    constraints: Constraints = Constraints(),
    criterion: str = "",
) -> Plan:
    """The same ratio for every prunable group; see `plan_ratios`."""
    ratios = {group.name: ratio for group in comb.groups if group.prunable}
    return plan_ratios(comb, ratios, scores, constraints, criterion)


def plan_ratios(
    comb: Combed,
    ratios: Mapping[str, float],
    scores: Scores | None = None,
    constraints: Constraints = Constraints(),
    criterion: str = "",
) -> Plan:
    """A plan from one requested ratio a group; groups that are not named keep everything.

    Args:
        scores: (width,) per group, larger means keep; without scores the last units of each block go.
    Raises:
        PlanError: a ratio outside 0..1, an unknown group, or scores of another length.
    """
    by_name = {group.name: group for group in comb.groups}
    for name, ratio in ratios.items():
        if name not in by_name:
            raise PlanError(f"no group is called {name!r}; `cpd comb` lists the names.")
        if not 0 <= ratio <= 1:
            raise PlanError(f"{name}: pruning ratio {ratio} is outside 0..1.")
    granted = {group.name: grant(group, ratios.get(group.name, 0.0), constraints) for group in comb.groups}
    _level_ties(comb.groups, granted)
    rows = []
    for group in comb.groups:
        kept, reason = granted[group.name]
        keep = keep_top(_scores_of(group, scores), kept, group.blocks)
        rows.append(GroupPlan(group.name, group.width, keep, float(ratios.get(group.name, 0.0)), reason))
    return Plan(comb.model, tuple(rows), criterion, constraints)


def grant(group: Group, ratio: float, constraints: Constraints) -> tuple[int, str]:
    """Units that `group` keeps when `ratio` is asked for, and in words what made it differ.

    Widths move in steps of the least common multiple of the number of blocks and `constraints.multiple`; the nearest
    legal width is taken, of two equally near the larger.
    """
    if ratio == 0:
        return group.width, ""
    if not group.prunable:
        return group.width, f"locked: {group.reason}"
    why: list[str] = []
    if ratio > constraints.max_ratio:
        why.append(f"capped at ratio {constraints.max_ratio:g}")
        ratio = constraints.max_ratio
    wanted = group.width * (1 - ratio)
    legal = legal_widths(group, constraints)
    kept = min(legal, key=lambda width: (abs(width - wanted), -width))
    least = legal[0]
    if abs(kept - wanted) >= 0.5:
        if kept == least and wanted < least:
            own = constraints.least(group)
            why.append(
                f"minimum width {own}" if own > constraints.minimum and wanted < own else f"keeps at least {least}"
            )
        elif group.step > 1:
            why.append(f"{group.step} blocks keep equal counts")
        if constraints.multiple > 1 and kept < group.width:
            why.append(f"rounded to a multiple of {constraints.multiple}")
        if kept == group.width:
            why.append(
                f"left whole: the next legal width is {legal[-2]}" if len(legal) > 1 else "no smaller width is legal"
            )
    if not why and abs(kept - wanted) > 1e-9 * group.width:
        why.append(f"rounded to whole units: {group.width - kept} of {group.width}")
    return kept, "; ".join(why)


def legal_widths(group: Group, constraints: Constraints) -> list[int]:
    """Every width that `group` may keep, ascending; always ends with its full width."""
    if not group.prunable:
        return [group.width]
    step = math.lcm(group.step, constraints.multiple)
    least = max(constraints.least(group), math.ceil(group.width * (1 - constraints.max_ratio) - 1e-9), 1)
    if step > group.width:  # narrower than the multiple: only what the blocks ask for
        step = group.step
    widths = [w for w in range(step, group.width, step) if w >= least]
    return [*widths, group.width]


def keep_top(scores: npt.NDArray[np.float64], kept: int, blocks: Sequence[int] | None = None) -> tuple[int, ...]:
    """The `kept` units with the highest scores, equally many of every block; earlier units win ties."""
    block_of = np.zeros(len(scores), np.int64) if blocks is None else np.asarray(blocks)
    ids = np.unique(block_of)
    if kept % len(ids):
        raise PlanError(f"cannot keep {kept} units: {len(ids)} blocks keep equal counts.")
    chosen: list[int] = []
    for block in ids:
        units = np.flatnonzero(block_of == block)
        order = units[np.argsort(-scores[units], kind="stable")]
        chosen.extend(order[: kept // len(ids)].tolist())
    return tuple(sorted(chosen))


def _level_ties(groups: Iterable[Group], granted: dict[str, tuple[int, str]]) -> None:
    """Tied groups keep as many units as the one of them that keeps most."""
    for group in groups:
        for other in group.tied:
            kept, reason = granted[group.name]
            theirs = granted[other][0]
            if theirs > kept:
                word = f"tied to {other}, which keeps {theirs}"
                granted[group.name] = (theirs, f"{reason}; {word}" if reason else word)


def _scores_of(group: Group, scores: Scores | None) -> npt.NDArray[np.float64]:
    if scores is None or (group.name not in scores and not group.prunable):
        return np.zeros(group.width)
    if group.name not in scores:
        raise PlanError(f"{group.name}: no scores; score the model again.")
    values = np.asarray(scores[group.name], np.float64)
    if values.shape != (group.width,):
        raise PlanError(f"{group.name}: {values.shape} scores for {group.width} units; score the model again.")
    return values


def _shorten(items: Sequence[Any], most: int = 4) -> str:
    text = ", ".join(str(item) for item in items[:most])
    return text + (f" and {len(items) - most} more" if len(items) > most else "")
