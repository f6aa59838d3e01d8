"""The doctor: trial cuts of every group, so that what would fail later fails here and is locked with the reason.

Every group has its certificate taken at several ratios (`cpd.comb.certify`) and its cuts put through the mill
(`cpd.comb.mill`): alone, and then all groups together. All on copies, with the example inputs for data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from cpd.comb.certify import TOLERANCE, Check, measure
from cpd.comb.comb import Comb
from cpd.comb.findings import Findings, Row
from cpd.comb.group import Group
from cpd.comb.mill import STEPS, Mill, Trouble
from cpd.comb.threads import quickest
from cpd.errors import PlanError
from cpd.measure.machine import surroundings
from cpd.prune.plan import Plan, plan_ratios

RATIOS = (0.25, 0.5, 0.9)
LIMIT_S = 600.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Report:
    """The doctor's findings, and the comb in which the groups that failed are locked."""

    comb: Comb
    findings: Findings

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.findings.rows

    def table(self) -> str:
        """Markdown that can be pasted into an issue."""
        return self.findings.table()


def examine(
    model: nn.Module,
    inputs: tuple[Any, ...],
    comb: Comb,
    ratios: Sequence[float] = RATIOS,
    progress: Progress | None = None,
    *,
    name: str = "",
    device: str = "cpu",
    limit_s: float = LIMIT_S,
) -> Report:
    """Try every prunable group of `comb`.

    Args:
        model: the module that was combed; copies are used.
        ratios: pruning ratios of the trial cuts, 0..1; each group takes the nearest width that is legal.
        progress: called with steps done and steps in all.
        name: what the report calls the model; its class where nothing is given.
        device: where cut networks run forward and backward.
        limit_s: after this time no more groups are cut alone; the rest are cut together with all others only.
    Raises:
        PlanError: a ratio outside 0..1, or none.
    """
    if not ratios or not all(0 < ratio < 1 for ratio in ratios):
        raise PlanError(f"trial ratios {', '.join(map(str, ratios)) or '(none)'}: give one or more between 0 and 1.")
    with quickest(model, inputs):
        return _examine(model, inputs, comb, ratios, progress, name, device, limit_s)


def _examine(
    model: nn.Module,
    inputs: tuple[Any, ...],
    comb: Comb,
    ratios: Sequence[float],
    progress: Progress | None,
    name: str,
    device: str,
    limit_s: float,
) -> Report:
    start = time.monotonic()
    patients = [group for group in comb.groups if group.prunable]
    steps = _Steps(progress, len(ratios) * (len(patients) + 2))
    rows = _certificates(model, inputs, comb, ratios, steps)
    mill = Mill(model, inputs, comb, device)
    for group in patients:
        if rows[group.name].certified and mill.steps and time.monotonic() - start < limit_s:
            rows[group.name] = _alone(mill, comb, group, ratios, rows[group.name])
        steps.done(len(ratios))
    jointly: list[str] = []
    for ratio in ratios if mill.steps else ():
        jointly += _together(mill, comb, ratio, rows, start + 2 * limit_s)
        steps.done()
    passed = mill.steps if not jointly else ()
    findings = Findings(
        model=name or type(model).__name__,
        digest=comb.model,
        rows=tuple(_settled(rows[group.name], passed) for group in comb.groups),
        surroundings=surroundings(),
        faults=tuple(dict.fromkeys([*mill.faults.values(), *jointly])),
        unknown=comb.record.unknown,
        unread=unread(model, comb),
        seconds=time.monotonic() - start,
    )
    return Report(comb.with_groups(tuple(_judged(g, rows[g.name]) for g in comb.groups)), findings)


def unread(model: nn.Module, comb: Comb) -> tuple[str, ...]:
    """Tensors of the state_dict that the traced graph does not read, batch counters of norms apart."""
    used = {str(node.target) for node in comb.trace.graph.nodes if node.op == "get_attr"}
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    return tuple(name for name in names if comb.trace.aliases.get(name, name) not in used)


class _Steps:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._now = progress, total, 0

    def done(self, count: int = 1) -> None:
        self._now += count
        if self._progress:
            self._progress(self._now, self._total)


def _certificates(
    model: nn.Module, inputs: tuple[Any, ...], comb: Comb, ratios: Sequence[float], steps: _Steps
) -> dict[str, Row]:
    """A row a group with the larger of both errors over all ratios."""
    rows = {g.name: Row(g.name, g.width, f"locked: {g.reason}") for g in comb.groups}
    for ratio in ratios:
        for check in _checks(model, inputs, comb, ratio):
            old = rows[check.group]
            relabel = max(check.relabel_error, old.relabel_error or 0.0)
            silence = max(check.silence_error, old.silence_error or 0.0)
            passed = Check(check.group, relabel, silence).passed
            which, error = ("relabelling", relabel) if relabel > TOLERANCE else ("silencing", silence)
            verdict = "" if passed else f"not certified: {which} its units changes the output by {error:.1e}"
            rows[check.group] = replace(
                old, certified=passed, relabel_error=relabel, silence_error=silence, verdict=verdict
            )
        steps.done()
    return rows


def _checks(model: nn.Module, inputs: tuple[Any, ...], comb: Comb, ratio: float) -> list[Check]:
    """`certify.measure`; where that breaks off, group by group, and a group that breaks it has failed."""
    try:
        return measure(model, inputs, comb, ratio)
    except Exception:  # noqa: BLE001  whatever surgery trips over, it is one group's doing
        found = []
        for group in (g for g in comb.groups if g.prunable):
            free = {group.name, *group.tied}
            alone = comb.with_groups(tuple(g if g.name in free else replace(g, prunable=False) for g in comb.groups))
            try:
                found += [check for check in measure(model, inputs, alone, ratio) if check.group == group.name]
            except Exception:  # noqa: BLE001
                found.append(Check(group.name, float("inf"), float("inf")))
        return found


def _alone(mill: Mill, comb: Comb, group: Group, ratios: Sequence[float], row: Row) -> Row:
    """The row after cuts of this group, and of those tied to it, at every ratio."""
    done: dict[tuple[int, ...], float] = {}
    for ratio in ratios:
        plan = _plan(comb, [group.name], ratio)
        mine = next(r for r in plan.groups if r.group == group.name)
        if not mine.granted or mine.keep in done:
            continue
        done[mine.keep] = mine.granted
        trouble = mill.trial(plan)
        if trouble is not None:
            return _failed(row, mill, trouble, f"cut alone by {mine.granted:.0%}", tuple(done.values()))
    if not done:
        return replace(row, verdict="fine; no smaller width is legal, so nothing was cut")
    return replace(row, ratios=tuple(done.values()), verdict="fine", **_passed(mill.steps))


def _together(mill: Mill, comb: Comb, ratio: float, rows: dict[str, Row], deadline: float) -> list[str]:
    """Cut all groups that are well; lock those that break the cut of the ones before them. What cannot be told apart
    before `deadline` is returned as a fault of the whole."""
    while True:
        well = [g.name for g in comb.groups if rows[g.name].certified and not rows[g.name].failed]
        trouble = mill.trial(_plan(comb, well, ratio)) if well else None
        if trouble is None:
            return []
        if time.monotonic() > deadline:
            return [f"all groups cut by {ratio:.0%}: {trouble.step} fails ({trouble.text})."]
        sound, broken = 0, len(well)  # so many of the first groups pass together, and so many do not
        while broken - sound > 1:
            middle = (sound + broken) // 2
            found = mill.trial(_plan(comb, well[:middle], ratio))
            sound, broken, trouble = (sound, middle, found) if found else (middle, broken, trouble)
        name = well[broken - 1]
        rows[name] = _failed(
            rows[name], mill, trouble, f"cut by {ratio:.0%} with the groups before it", rows[name].ratios
        )


def _plan(comb: Comb, names: Sequence[str], ratio: float) -> Plan:
    """Remove `ratio` of these groups and of those tied to them."""
    tied = {t for g in comb.groups if g.name in set(names) for t in g.tied}
    return plan_ratios(comb, dict.fromkeys(sorted({*names, *tied}), ratio))


def _failed(row: Row, mill: Mill, trouble: Trouble, when: str, ratios: tuple[float, ...]) -> Row:
    at = mill.steps.index(trouble.step)
    flags: dict[str, Any] = dict.fromkeys(STEPS) | _passed(mill.steps[:at]) | {trouble.step: False}
    return replace(row, ratios=ratios, verdict=f"{trouble.step} fails when {when} ({trouble.text})", **flags)


def _passed(steps: Sequence[str]) -> dict[str, Any]:
    return dict.fromkeys(steps, True)


def _settled(row: Row, together: tuple[str, ...]) -> Row:
    """A row that has no verdict yet was cut with the others only, and passed these steps with them."""
    if row.verdict:
        return row
    if not together:
        return replace(row, verdict="certified; no trial cut of its own could be made")
    return replace(row, verdict="fine; cut with all others only, time was up", **_passed(together))


def _judged(group: Group, row: Row) -> Group:
    if row.failed:
        return replace(group, prunable=False, certified=row.certified, reason=f"the doctor found: {row.verdict}")
    return replace(group, certified=True) if row.certified else group
