"""Finished runs beside each other: what is compared, against which cost, and how two of them differ. No Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from app import palette
from cpd.measure.answers import Answers, Difference, wilson
from cpd.measure.measurement import Latency, Measurement
from cpd.measure.metrics import words
from cpd.report.comparison import front
from cpd.report.verdict import loss_of
from cpd.runs.finished import FinishedRun
from cpd.runs.project import Project
from cpd.runs.store import Series

MOST = 6
LETTERS = "ABCDEF"
BASELINE = "baseline"  # option of a run that was made to stand beside another: {"of": run, "kind": UNIFORM or RANDOM}
UNIFORM, RANDOM = "uniform", "random"
DENSE = "dense"
# Widths differ in many groups; more axes than this cannot be told apart.
MOST_GROUPS = 16


@dataclass(frozen=True, eq=False)
class Entry:
    """A run among those compared.

    Attributes:
        letter: its short name on every chart of the page.
        baseline: UNIFORM or RANDOM for a run that was made to stand beside another, else "".
        change: of the metric against the dense model; None without labelled data.
        size_bytes: of the model's file, None where the file is gone.
    """

    letter: str
    colour: str
    project: Project
    run: FinishedRun
    baseline: str
    change: Difference | None
    size_bytes: int | None

    @property
    def id(self) -> str:
        return self.run.name


def entry(position: int, project: Project, run: FinishedRun, change: Difference | None) -> Entry:
    """Everything that the page needs of a run, so that damage shows here and not halfway down the page.

    Args:
        position: among the runs compared; it gives the letter and the colour.
        change: see `change_of`.
    Raises:
        CpdError: a file of the run cannot be read.
    """
    assert run.plan is not None
    size = run.bundle.stat().st_size if run.bundle.is_file() else None
    mark = run.spec.options.get(BASELINE)
    kind = str(mark.get("kind", "")) if isinstance(mark, Mapping) else ""
    return Entry(LETTERS[position], palette.SERIES[position], project, run, kind, change, size)


def change_of(run: FinishedRun) -> Difference | None:
    """Quality of the pruned model less the dense one's, None without labelled data.

    Raises:
        CpdError: a file of the run cannot be read.
    """
    return None if run.dense.quality is None or run.pruned.quality is None else loss_of(run)


# Costs ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """A cost that quality is set against; less is better.

    Attributes:
        of: (dense, pruned, bytes of the pruned model's file) -> (the dense model's cost, the pruned model's).
        batch: for a latency, whose spread is shown; else 0.
        share: whether costs are shares of the dense model's.
    """

    key: str
    title: str
    unit: str
    of: Callable[[Entry], tuple[float | None, float | None]]
    batch: int = 0
    share: bool = False


def axes(entries: Sequence[Entry]) -> dict[str, Axis]:
    """What these runs can be compared by, the likeliest choice first."""
    batches = sorted({row.batch for each in entries for row in each.run.pruned.latency}, reverse=True)
    held = sorted({row.batch for each in entries for row in each.run.pruned.memory}, reverse=True)
    found = [
        *(Axis(f"ms{b}", f"Latency, batch {b}", "ms", _latency(b), batch=b) for b in batches),
        *(Axis(f"memory{b}", f"Peak memory, batch {b}", "B", _memory(b)) for b in held),
        *(Axis(f"time{b}", f"Share of the dense model's time, batch {b}", "", _time(b), share=True) for b in batches),
        Axis("macs", "MACs per sample", "MACs", lambda each: (each.run.dense.macs, each.run.pruned.macs)),
        Axis("params", "Parameters", "", lambda each: (each.run.dense.parameters, each.run.pruned.parameters)),
        Axis("bytes", "Size of the file", "B", lambda each: (4.0 * each.run.dense.parameters, each.size_bytes)),
    ]
    return {axis.key: axis for axis in found}


def _latency(batch: int) -> Callable[[Entry], tuple[float | None, float | None]]:
    def of(each: Entry) -> tuple[float | None, float | None]:
        rows = each.run.dense.at(batch), each.run.pruned.at(batch)
        return rows[0] and rows[0].median_ms, rows[1] and rows[1].median_ms

    return of


def _memory(batch: int) -> Callable[[Entry], tuple[float | None, float | None]]:
    return lambda each: (each.run.dense.memory_at(batch), each.run.pruned.memory_at(batch))


def _time(batch: int) -> Callable[[Entry], tuple[float | None, float | None]]:
    def of(each: Entry) -> tuple[float | None, float | None]:
        dense, pruned = _latency(batch)(each)
        return (1.0 if dense else None), (pruned / dense if dense and pruned else None)

    return of


@dataclass(frozen=True)
class Place:
    """A model on the chart of quality against cost; every range is (low, high) or None.

    Attributes:
        kind: "run", "baseline" or "dense".
        id: of the run, "" for a dense model.
    """

    id: str
    letter: str
    text: str
    kind: str
    colour: str
    x: float
    y: float
    x_range: tuple[float, float] | None
    y_range: tuple[float, float] | None


def places(entries: Sequence[Entry], axis: Axis) -> tuple[list[Place], set[int]]:
    """Where every run and every dense model stands, and the numbers of those that no other beats."""
    found: list[Place] = []
    dense: dict[tuple[object, ...], list[Entry]] = {}
    for each in entries:
        pruned = each.run.pruned
        _, cost = axis.of(each)
        if cost is None or pruned.quality is None:
            continue
        dense.setdefault((each.run.spec.model, each.run.dense.macs, each.run.dense.quality), []).append(each)
        found.append(
            Place(each.id, each.letter, named(each), "baseline" if each.baseline else "run", each.colour, cost, pruned.quality,
                  _spread(pruned.at(axis.batch)), quality_range(pruned, each.change, each.run.dense))
        )  # fmt: skip
    for rows in dense.values():
        costs = [cost for each in rows if (cost := axis.of(each)[0]) is not None]
        first = rows[0].run.dense
        if costs and first.quality is not None:
            # Timed anew beside every run: the range says how much the machine changed between them.
            spread = _spread(first.at(axis.batch)) if len(costs) == 1 else (min(costs), max(costs))
            found.append(Place("", "dense", f"dense {rows[0].run.spec.model}", DENSE, "", median(costs), first.quality,
                               spread if axis.batch else None, quality_range(first, None, first)))  # fmt: skip
    return found, front([(place.x, place.y) for place in found])


def quality_range(found: Measurement, change: Difference | None, dense: Measurement) -> tuple[float, float] | None:
    """The 95 % interval of a quality: of a share of images by itself, of anything else from its change."""
    if found.quality is None:
        return None
    if found.metric == "top1":
        return wilson(found.quality, found.images)
    if change is None or dense.quality is None or change.low == change.high:
        return None
    return dense.quality + change.low, dense.quality + change.high


def _spread(row: Latency | None) -> tuple[float, float] | None:
    return None if row is None else (row.p10_ms, row.p90_ms)


def named(each: Entry) -> str:
    """Letter, kind and id of a run."""
    return f"{each.letter} · {each.baseline + ' baseline · ' if each.baseline else ''}{each.id}"


# Curves --------------------------------------------------------------------------------------------------------------


def over_steps(run: FinishedRun) -> tuple[list[float], list[float]]:
    """(steps, metric) of every evaluation."""
    found = run.metrics.get(f"val/{run.pruned.metric}")
    return ([], []) if found is None else ([float(step) for step in found.steps], list(found.values))


def over_cost(run: FinishedRun) -> tuple[list[float], list[float]]:
    """(share of MACs left, metric) of every evaluation, in the order of the run."""
    steps, values = over_steps(run)
    cost = run.metrics.get("cost/macs")
    if cost is None or not cost.steps:
        return [], []
    return [_at(cost, step) for step in steps], values


def _at(series: Series, step: float) -> float:
    """The newest value up to `step`; before the first record nothing was cut."""
    index = int(np.searchsorted(np.asarray(series.steps), step, side="right")) - 1
    return 1.0 if index < 0 else float(series.values[index])


# Differences ---------------------------------------------------------------------------------------------------------


def against(one: FinishedRun, other: FinishedRun) -> Difference | None:
    """Quality of `one` less that of `other`, paired over images where both answered the same ones; else None."""
    a, b = one.answers, other.answers
    if a is None or b is None or not _same_images(a, b):
        return None
    return replace(a, dense=b.pruned).difference()


def _same_images(a: Answers, b: Answers) -> bool:
    return a.metric == b.metric and a.classes == b.classes and np.array_equal(a.targets, b.targets)


def settings_apart(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs: name -> value in every run, as text; "" where it is not set."""
    rows = [_settings(each) for each in entries]
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = {name: [row.get(name, "") for row in rows] for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def _settings(each: Entry) -> dict[str, str]:
    run, spec = each.run, each.run.spec
    used = run.result.get("settings")
    rows: dict[str, Any] = {"model": spec.model, "data": spec.data, "seed": spec.seed, "ranked by": run.plan.criterion}
    rows |= dict(used) if isinstance(used, Mapping) else {}
    rows["target"] = ", ".join(f"{name} {value:g}" for name, value in (spec.options.get("target") or {}).items())
    rows["plan"] = run.plan.digest[:8]
    rows.pop("criterion" if rows.get("criterion") == run.plan.criterion else "", None)
    return {name: _text(value) for name, value in rows.items()}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


# Parallel coordinates ------------------------------------------------------------------------------------------------


def kept_shares(entries: Sequence[Entry]) -> tuple[list[str], list[list[float]], int]:
    """Groups, the share of its units that every run keeps of each, and how many groups differ between runs.

    Groups are in forward order; of many, those that differ most, and of those that differ alike those that are cut most.
    """
    tables = [{row.group: len(row.keep) / row.width for row in each.run.plan.groups} for each in entries]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    spread = {name: max(table[name] for table in tables) - min(table[name] for table in tables) for name in names}
    least = {name: min(table[name] for table in tables) for name in names}
    changed = [name for name in names if least[name] < 1]
    chosen = set(sorted(changed, key=lambda name: (-spread[name], least[name]))[:MOST_GROUPS])
    shown = [name for name in names if name in chosen]
    return shown, [[table[name] for name in shown] for table in tables], sum(gap > 0 for gap in spread.values())


def quantities(entries: Sequence[Entry]) -> tuple[list[str], list[list[float | None]]]:
    """Quality and every cost, as a share of the dense model's; None where a run did not measure it."""
    metric = words(entries[0].run.pruned.metric)
    known = [axis for axis in axes(entries).values() if not axis.share]
    rows: list[list[float | None]] = []
    for each in entries:
        pairs = [(each.run.dense.quality, each.run.pruned.quality), *(axis.of(each) for axis in known)]
        rows.append([after / before if before and after is not None else None for before, after in pairs])
    return [metric.noun, *(axis.title for axis in known)], rows
