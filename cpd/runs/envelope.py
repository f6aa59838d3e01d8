"""Least and greatest value of every metric in buckets of steps, kept up to date as rows are written.

A curve of 100,000 steps is drawn from a few hundred points. Its peaks must be among them, and finding them must not
mean reading every row once a second: so each bucket of 16, 64, 256, ... steps remembers where its extremes are.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence

STRIDES = tuple(16 * 4**k for k in range(8))  # steps a bucket, 16 to 262,144

TABLE = """
CREATE TABLE IF NOT EXISTS envelopes (
    run TEXT NOT NULL, name TEXT NOT NULL, stride INTEGER NOT NULL, bucket INTEGER NOT NULL,
    low REAL, low_step INTEGER NOT NULL, high REAL, high_step INTEGER NOT NULL,
    PRIMARY KEY (run, name, stride, bucket)) WITHOUT ROWID"""

_CAST = ", ".join(f"({stride})" for stride in STRIDES)
# SQLite gives the bare column `step` of the row that holds the one max() or min() of its query.
FILL = f"""
INSERT OR REPLACE INTO envelopes
SELECT a.run, a.name, a.stride, a.bucket, a.low, a.low_step, b.high, b.high_step FROM
(SELECT run, name, s.column1 AS stride, step / s.column1 AS bucket, min(value) AS low, step AS low_step
    FROM metrics, (VALUES {_CAST}) AS s GROUP BY 1, 2, 3, 4) AS a,
(SELECT run, name, s.column1 AS stride, step / s.column1 AS bucket, max(value) AS high, step AS high_step
    FROM metrics, (VALUES {_CAST}) AS s GROUP BY 1, 2, 3, 4) AS b
WHERE a.run = b.run AND a.name = b.name AND a.stride = b.stride AND a.bucket = b.bucket"""

_ADD = (
    "INSERT INTO envelopes (run, name, stride, bucket, low, low_step, high, high_step) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (run, name, stride, bucket) DO UPDATE SET "
    "low_step = CASE WHEN low IS NULL OR excluded.low < low THEN excluded.low_step ELSE low_step END, "
    "low = CASE WHEN low IS NULL OR excluded.low < low THEN excluded.low ELSE low END, "
    "high_step = CASE WHEN high IS NULL OR excluded.high > high THEN excluded.high_step ELSE high_step END, "
    "high = CASE WHEN high IS NULL OR excluded.high > high THEN excluded.high ELSE high END"
)

Row = tuple[int, str, float]
Extremes = tuple[float | None, int, float | None, int]


def widen(db: sqlite3.Connection, run: str, rows: Iterable[Row], strides: Sequence[int] = STRIDES) -> None:
    """Let the buckets of a run know new rows (step, name, value). NaN counts only where a bucket has nothing else."""
    found: dict[tuple[str, int, int], Extremes] = {}
    for step, name, value in rows:
        number = None if value is None or math.isnan(value) else value
        for stride in strides:
            key = (name, stride, step // stride)
            old = found.get(key)
            found[key] = (number, step, number, step) if old is None else _wider(old, number, step)
    db.executemany(_ADD, ((run, *key, *extremes) for key, extremes in found.items()))


def rewind(db: sqlite3.Connection, run: str, step: int, names: Iterable[str]) -> None:
    """Forget what came after `step`; to be called once the rows of `metrics` are gone. `names`: the metrics left."""
    db.execute("DELETE FROM envelopes WHERE run = ? AND (bucket + 1) * stride > ?", (run, step + 1))
    query = "SELECT step, name, value FROM metrics WHERE run = ? AND name = ? AND step BETWEEN ? AND ?"
    for name in names:
        for stride in STRIDES:
            if (step + 1) % stride:  # `step` lies inside a bucket, which is made again from what is left of its rows
                rows = db.execute(query, (run, name, step // stride * stride, step)).fetchall()
                widen(db, run, rows, (stride,))


def kept_peaks(db: sqlite3.Connection, run: str, name: str, stride: int, first: int, last: int) -> set[int]:
    """Steps of the least and the greatest value of every bucket of `stride` steps from `first` to `last`.

    Args:
        stride: any power of two from STRIDES[0] on; read from the next finer buckets that are kept.
    """
    kept = max(s for s in STRIDES if s <= stride)
    rows = db.execute(
        "SELECT bucket * stride / ?, low, low_step, high, high_step FROM envelopes "
        "WHERE run = ? AND name = ? AND stride = ? AND bucket BETWEEN ? AND ? ORDER BY bucket",
        (stride, run, name, kept, first // kept, last // kept),
    )
    found: dict[int, Extremes] = {}
    for bucket, low, low_step, high, high_step in rows:
        old = found.get(bucket)
        new = (low, low_step, high, high_step)
        found[bucket] = new if old is None else _wider(_wider(old, low, low_step), high, high_step)
    return _steps(found)


def peaks(rows: Iterable[tuple[int, float | None]], stride: int) -> set[int]:
    """The same from rows (step, value)."""
    found: dict[int, Extremes] = {}
    for step, value in rows:
        old = found.get(step // stride)
        found[step // stride] = (value, step, value, step) if old is None else _wider(old, value, step)
    return _steps(found)


def _steps(found: dict[int, Extremes]) -> set[int]:
    return {step for row in found.values() for step in (row[1], row[3])}


def _wider(old: Extremes, value: float | None, step: int) -> Extremes:
    low, low_step, high, high_step = old
    if value is None:
        return old
    if low is None or value < low:
        low, low_step = value, step
    if high is None or value > high:
        high, high_step = value, step
    return (low, low_step, high, high_step)
