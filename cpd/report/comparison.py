"""Several finished runs in one table, and which of them no other beats."""

from __future__ import annotations

from collections.abc import Sequence

from cpd.measure.metrics import words
from cpd.report.appendix import Table
from cpd.report.verdict import loss_of, speed_up
from cpd.report.words import milliseconds, percent, points, points_range
from cpd.runs.finished import FinishedRun


def comparison(runs: Sequence[FinishedRun]) -> Table:
    """One row a run; the last column says whether another run is at least as good in quality and in speed."""
    metric = words(runs[0].pruned.metric).short
    batch = max((row.batch for run in runs for row in run.pruned.latency), default=1)
    best = front([(_latency(run, batch), run.pruned.quality) for run in runs])
    noted = any(run.note for run in runs)
    rows = []
    for number, run in enumerate(runs):
        timed = run.pruned.at(batch)
        speed = speed_up(run)
        change = loss_of(run) if run.pruned.quality is not None and run.dense.quality is not None else None
        rows.append(
            (
                run.name,
                run.spec.model,
                "" if run.pruned.quality is None else percent(run.pruned.quality),
                "" if change is None else f"{points(change.value)} ({points_range(change.low, change.high)})",
                "" if timed is None else milliseconds(timed.median_ms),
                "" if speed is None else f"{speed[1]:.2f}",
                percent(run.pruned.macs / run.dense.macs, 0) if run.dense.macs else "",
                percent(run.pruned.parameters / run.dense.parameters, 0),
                "yes" if number in best else "",
                *([run.note] if noted else []),
            )
        )
    head = (
        "run",
        "model",
        metric,
        "change (95 % interval)",
        f"latency, batch {batch}",
        "times as fast",
        "work left",
        "size left",
        "unbeaten",
        *(["note"] if noted else []),
    )
    return Table(
        "The runs side by side",
        head,
        tuple(rows),
        "Unbeaten: no other run is at least as accurate and as fast, and better in one of the two.",
    )


def front(places: Sequence[tuple[float | None, float | None]]) -> set[int]:
    """Numbers of the (cost, quality) pairs that no other pair dominates: costs no more, is no worse, and better in one.

    Pairs without a cost or a quality are never on the front.
    """
    known = [(i, cost, quality) for i, (cost, quality) in enumerate(places) if cost is not None and quality is not None]
    return {
        i
        for i, cost, quality in known
        if not any(c <= cost and q >= quality and (c < cost or q > quality) for j, c, q in known if j != i)
    }


def _latency(run: FinishedRun, batch: int) -> float | None:
    row = run.pruned.at(batch)
    return None if row is None else row.median_ms
