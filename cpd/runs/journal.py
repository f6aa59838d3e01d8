"""What runs recorded: metrics over steps, and events.

Metrics are keyed by (run, name, step), events by (run, step, kind, text): a step that is done again after a crash
overwrites what it wrote before.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from cpd.runs import envelope
from cpd.runs.connection import Connection
from cpd.runs.rows import ASKED, Event, Series

OUTLIVE_REWIND = (
    "resume",
    "stop",
    "pause",
    "finish",
    "error",
)  # kinds of events that tell what happened to the process

ADD_EVENT = (
    "INSERT INTO events (run, step, kind, text, data, time) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (run, step, kind, text) DO UPDATE SET data = excluded.data, time = excluded.time"
)


class Journal(Connection):
    """The tables of metrics and events."""

    def advance(
        self,
        run: str,
        rows: Iterable[tuple[int, str, float]],
        progress: tuple[int, int] | None = None,
        pace_s: float | None = None,
    ) -> bool:
        """Write metrics (step, name, value) and progress (step, total) at once; whether the run was told to leave.

        Args:
            pace_s: seconds a step takes, where that is known.
        """
        rows = list(rows)
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO metrics (run, step, name, value) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (run, name, step) DO UPDATE SET value = excluded.value",
                ((run, step, name, value) for step, name, value in rows),
            )
            envelope.widen(db, run, rows)
            if progress is not None:
                values = (*progress, time.time(), pace_s, run)
                db.execute(
                    "UPDATE runs SET step = ?, total = ?, updated = ?, pace_s = coalesce(?, pace_s) WHERE id = ?",
                    values,
                )
            row = db.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()
        return row is not None and row[0] in ASKED

    def add_event(self, run: str, step: int, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        with self._transaction() as db:
            db.execute(ADD_EVENT, (run, step, kind, text, json.dumps(dict(data or {})), time.time()))

    def rewind(self, run: str, step: int) -> None:
        """Forget what was recorded after `step`: the run goes on from there and will record it again."""
        marks = ", ".join("?" * len(OUTLIVE_REWIND))
        with self._transaction() as db:
            db.execute("DELETE FROM metrics WHERE run = ? AND step > ?", (run, step))
            values = (run, step, *OUTLIVE_REWIND)
            db.execute(f"DELETE FROM events WHERE run = ? AND step > ? AND kind NOT IN ({marks})", values)
            envelope.rewind(db, run, step, self.names(run))

    def copy_history(self, source: str, run: str, step: int) -> None:
        """Give `run` what `source` recorded up to `step`, but for what happened to its process."""
        marks = ", ".join("?" * len(OUTLIVE_REWIND))
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO metrics (run, step, name, value) "
                "SELECT ?, step, name, value FROM metrics WHERE run = ? AND step <= ?",
                (run, source, step),
            )
            db.execute(
                "INSERT OR IGNORE INTO events (run, step, kind, text, data, time) SELECT ?, step, kind, text, data, time "
                f"FROM events WHERE run = ? AND step <= ? AND kind NOT IN ({marks}) ORDER BY number",
                (run, source, step, *OUTLIVE_REWIND),
            )
            rows = db.execute("SELECT step, name, value FROM metrics WHERE run = ?", (run,)).fetchall()
            envelope.widen(db, run, rows)

    def names(self, run: str) -> list[str]:
        """Names of a run's metrics, sorted."""
        # One seek a name; SELECT DISTINCT would walk every row.
        query = (
            "WITH RECURSIVE n(name) AS (SELECT min(name) FROM metrics WHERE run = :run UNION ALL "
            "SELECT (SELECT min(name) FROM metrics WHERE run = :run AND name > n.name) FROM n WHERE n.name IS NOT NULL) "
            "SELECT name FROM n WHERE name IS NOT NULL"
        )
        return [row[0] for row in self._read(query, {"run": run})]

    def metrics(
        self, run: str, names: Sequence[str] | None = None, since_step: int = -1, most: int = 1000
    ) -> dict[str, Series]:
        """Series by name, each thinned to at most `most` points, its peaks among them.

        Args:
            names: metrics wanted; a pattern such as "width/*" stands for all that match; None for all.
            since_step: only steps after this one.
            most: 2 or more. The first and last point always stay, and of every bucket of steps the least and the
                greatest value; buckets are a power of two wide, so a curve does not flicker while it grows.
        """
        if most < 2:
            raise ValueError(f"most={most}: a thinned series keeps at least its first and last point")
        wanted = self.names(run)
        if names is not None:
            wanted = [name for name in wanted if any(name == n or fnmatchcase(name, n) for n in names)]
        return {name: self._series(run, name, since_step, most) for name in wanted}

    def events(self, run: str, since: int = 0, kinds: Sequence[str] = ()) -> list[Event]:
        """Events with a number above `since`, in the order of their steps, of some kinds where they are given."""
        rows = self._read(
            "SELECT number, step, kind, text, data, time FROM events WHERE run = ? AND number > ? ORDER BY step, number",
            (run, since),
        )
        return [Event(n, s, k, x, json.loads(d), t) for n, s, k, x, d, t in rows if not kinds or k in kinds]

    def _series(self, run: str, name: str, since: int, most: int) -> Series:
        where = "run = :run AND name = :name AND step > :since"
        values: dict[str, Any] = {"run": run, "name": name, "since": since, "limit": most + 1}
        rows = self._read(f"SELECT step, value FROM metrics WHERE {where} ORDER BY step LIMIT :limit", values)
        if len(rows) > most:
            first = rows[0][0]
            last = self._read(f"SELECT step FROM metrics WHERE {where} ORDER BY step DESC LIMIT 1", values)[0][0]
            steps = {first, last, *self._extremes(run, name, first, last, most)}
            # What is shown is what is recorded, wherever a bucket says its extremes were.
            rows = self._read(
                "SELECT m.step, m.value FROM json_each(:steps) AS j CROSS JOIN metrics AS m "  # CROSS JOIN fixes the order
                "ON m.run = :run AND m.name = :name AND m.step = j.value ORDER BY m.step",
                values | {"steps": json.dumps(sorted(step for step in steps if step > since))},
            )
        # SQLite keeps a NaN as NULL.
        return Series(tuple(r[0] for r in rows), tuple(math.nan if r[1] is None else float(r[1]) for r in rows))

    def _extremes(self, run: str, name: str, first: int, last: int, most: int) -> set[int]:
        """Steps of the peaks between `first` and `last`, at most `most` - 2 of them."""
        stride = 1
        while 2 * (last // stride - first // stride + 1) + 2 > most:
            stride *= 2
            if stride > 2 * last + 2:
                return set()  # not even one bucket fits
        if stride < envelope.STRIDES[0]:  # few steps: the rows themselves
            query = "SELECT step, value FROM metrics WHERE run = ? AND name = ? AND step BETWEEN ? AND ?"
            rows = self._read(query, (run, name, first, last))
            return envelope.peaks(rows, stride)
        with self._reading() as db:
            return envelope.kept_peaks(db, run, name, stride, first, last)
