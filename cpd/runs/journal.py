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

from cpd.runs.connection import Connection
from cpd.runs.rows import Event, Series

OUTLIVE_REWIND = ("resume", "stop", "finish", "error")  # kinds of events that tell what happened to the process

ADD_EVENT = (
    "INSERT INTO events (run, step, kind, text, data, time) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (run, step, kind, text) DO UPDATE SET data = excluded.data, time = excluded.time"
)


class Journal(Connection):
    """The tables of metrics and events."""

    def advance(
        self, run: str, rows: Iterable[tuple[int, str, float]], progress: tuple[int, int] | None = None
    ) -> bool:
        """Write metrics (step, name, value) and progress (step, total) at once; whether the run was told to stop."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO metrics (run, step, name, value) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (run, name, step) DO UPDATE SET value = excluded.value",
                ((run, step, name, value) for step, name, value in rows),
            )
            if progress is not None:
                values = (*progress, time.time(), run)
                db.execute("UPDATE runs SET step = ?, total = ?, updated = ? WHERE id = ?", values)
            row = db.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()
        return row is not None and row[0] == "stopping"

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
        """Series by name, each thinned to at most `most` points.

        Args:
            names: metrics wanted; a pattern such as "width/*" stands for all that match; None for all.
            since_step: only steps after this one.
            most: 2 or more. The first and last point always stay; between them points lie on a grid of steps whose
                spacing is a power of two, so a curve does not flicker while it grows.
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
            stride = 1
            while last // stride - first // stride + 2 > most:
                stride *= 2
            # One seek a grid point, so the cost depends on `most` and not on the number of steps.
            rows = self._read(
                "WITH RECURSIVE grid(at) AS (SELECT :first UNION ALL SELECT (at / :stride + 1) * :stride FROM grid "
                "WHERE (at / :stride + 1) * :stride < :last), picked(step) AS (SELECT DISTINCT (SELECT step FROM metrics "
                "WHERE run = :run AND name = :name AND step >= grid.at ORDER BY step LIMIT 1) FROM grid "
                "UNION SELECT :last) SELECT m.step, m.value FROM picked CROSS JOIN metrics AS m "  # CROSS JOIN fixes the order
                "ON m.run = :run AND m.name = :name AND m.step = picked.step ORDER BY m.step",
                values | {"first": first, "last": last, "stride": stride},
            )
        # SQLite keeps a NaN as NULL.
        return Series(tuple(r[0] for r in rows), tuple(math.nan if r[1] is None else float(r[1]) for r in rows))
