"""States, metrics and events of all runs, in one SQLite file.

Write-ahead log, synchronous=FULL: what has been written survives a power cut, and readers never wait for writers. Every
transaction is short. Metrics are keyed by (run, name, step), events by (run, step, kind, text): a step that is done
again after a crash overwrites what it wrote before.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cpd.errors import CpdError, RunError, StorageError
from cpd.runs.spec import RunSpec

SCHEMA = 1
STATES = ("queued", "running", "stopping", "stopped", "finished", "failed")
UNFINISHED = ("queued", "running", "stopping")
OUTLIVE_REWIND = ("resume", "stop", "finish", "error")  # kinds of events that tell what happened to the process

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, kind TEXT NOT NULL,
    spec TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, launched REAL NOT NULL DEFAULT 0,
    started REAL NOT NULL DEFAULT 0, finished REAL NOT NULL DEFAULT 0, updated REAL NOT NULL DEFAULT 0,
    stop_asked REAL NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS metrics (
    run TEXT NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (run, name, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, step INTEGER NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL, data TEXT NOT NULL, time REAL NOT NULL, UNIQUE (run, step, kind, text));
"""


_ADD_EVENT = (
    "INSERT INTO events (run, step, kind, text, data, time) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (run, step, kind, text) DO UPDATE SET data = excluded.data, time = excluded.time"
)
STOPPED = "stopped; it can be resumed"


class StoreBusy(RunError):
    """Another process holds the database for longer than we wait; trying again later may work."""


@dataclass(frozen=True)
class Run:
    """One row: what a run is and how far it is. Times are seconds since 1970, 0 for never.

    Attributes:
        state: one of STATES. "running" with a free lock means that the worker died; the supervisor restarts it.
        attempts: launches since the run last got further.
        error: why it failed, one plain sentence; "" otherwise.
    """

    id: str
    spec: RunSpec
    state: str
    created: float
    launched: float
    started: float
    finished: float
    updated: float
    stop_asked: float
    not_before: float
    attempts: int
    step: int
    total: int
    error: str

    @property
    def project(self) -> str:
        return self.spec.project

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def is_over(self) -> bool:
        return self.state not in UNFINISHED


@dataclass(frozen=True)
class Event:
    """Something that happened at a step. `number` rises with every new event of any run."""

    number: int
    step: int
    kind: str
    text: str
    data: Mapping[str, Any]
    time: float


@dataclass(frozen=True)
class Series:
    """One metric over steps, ascending."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


class Store:
    """One SQLite file. Safe to share between threads; cheap to make in every process."""

    def __init__(self, path: Path, patience_s: float = 5.0) -> None:
        """`patience_s`: how long a call waits for another process before it raises StoreBusy."""
        self.path = path
        self._patience_s = patience_s
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    # --- runs -------------------------------------------------------------------------------------------------

    def add(self, run: str, spec: RunSpec) -> None:
        """A new run, queued."""
        now = time.time()
        with self._transaction() as db:
            db.execute(
                "INSERT INTO runs (id, project, kind, spec, state, created, updated) VALUES (?, ?, ?, ?, 'queued', ?, ?)",
                (run, spec.project, spec.kind, json.dumps(spec.to_dict()), now, now),
            )

    def run(self, run: str) -> Run:
        """Raises RunError when there is no such run."""
        rows = self._runs("WHERE id = ?", (run,))
        if not rows:
            raise RunError(f"there is no run {run!r} in {self.path}.")
        return rows[0]

    def list_runs(self, project: str | None = None, kinds: Sequence[str] = (), most: int = 500) -> list[Run]:
        """Newest first; of one project and of some kinds where they are given."""
        where, values = ["1"], []
        if project is not None:
            where.append("project = ?")
            values.append(project)
        if kinds:
            where.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values.extend(kinds)
        return self._runs(f"WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT {int(most)}", values)

    def unfinished(self) -> list[Run]:
        """Queued, running and stopping runs, oldest first."""
        return self._runs("WHERE state IN ('queued', 'running', 'stopping') ORDER BY number", ())

    def launch(self, run: str) -> bool:
        """Queued to running, one attempt more; False when the run is no longer queued."""
        now = time.time()
        return self._change(
            "UPDATE runs SET state = 'running', launched = ?, updated = ?, attempts = attempts + 1 "
            "WHERE id = ? AND state = 'queued'",
            (now, now, run),
        )

    def begin(self, run: str) -> Run:
        """What a worker calls once it holds the lock: the row, now running unless it was told to stop or is over."""
        now = time.time()
        self._change(
            "UPDATE runs SET state = 'running', updated = ?, error = '', "
            "started = CASE started WHEN 0 THEN ? ELSE started END WHERE id = ? AND state IN ('queued', 'running')",
            (now, now, run),
        )
        return self.run(run)

    def requeue(self, run: str, not_before: float) -> bool:
        """Back to the queue after its worker died, not to be started before `not_before`."""
        return self._change(
            "UPDATE runs SET state = 'queued', not_before = ?, updated = ? WHERE id = ? AND state = 'running'",
            (not_before, time.time(), run),
        )

    def finish(self, run: str, state: str, error: str = "", step: int = 0) -> bool:
        """The end of a run: stopped, finished or failed, with the event that says so. False when it was over already."""
        kind, text = {"finished": ("finish", "finished"), "stopped": ("stop", STOPPED), "failed": ("error", error)}[
            state
        ]
        now = time.time()
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE runs SET state = ?, error = ?, finished = ?, updated = ? "
                "WHERE id = ? AND state IN ('queued', 'running', 'stopping')",
                (state, error, now, now, run),
            ).rowcount
            if changed:  # in the same transaction: who sees the end also sees why
                said = "SELECT 1 FROM events WHERE run = ? AND step = ? AND kind = ? AND kind != 'error'"
                if db.execute(said, (run, step, kind)).fetchone() is None:  # the job may have said it in its own words
                    db.execute(_ADD_EVENT, (run, step, kind, text, "{}", now))
        return changed > 0

    def request_stop(self, run: str) -> str:
        """Ask a run to stop; the state it is in now. A queued run stops at once, a running one at its next step."""
        now = time.time()
        with self._transaction() as db:
            db.execute(
                "UPDATE runs SET state = 'stopped', stop_asked = ?, finished = ?, updated = ? WHERE id = ? AND state = 'queued'",
                (now, now, now, run),
            )
            db.execute(
                "UPDATE runs SET state = 'stopping', stop_asked = ?, updated = ? WHERE id = ? AND state = 'running'",
                (now, now, run),
            )
        return self.run(run).state

    def resume(self, run: str) -> bool:
        """A stopped or failed run back to the queue; False when it is neither."""
        return self._change(
            "UPDATE runs SET state = 'queued', stop_asked = 0, not_before = 0, attempts = 0, error = '', finished = 0, "
            "updated = ? WHERE id = ? AND state IN ('stopped', 'failed')",
            (time.time(), run),
        )

    def got_further(self, run: str) -> None:
        """A new checkpoint is on disk: deaths before it no longer count."""
        self._change("UPDATE runs SET attempts = 1 WHERE id = ? AND attempts > 1", (run,))

    # --- metrics and events -----------------------------------------------------------------------------------

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
            db.execute(_ADD_EVENT, (run, step, kind, text, json.dumps(dict(data or {})), time.time()))

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

    def close(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- inside -----------------------------------------------------------------------------------------------

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

    def _runs(self, where: str, values: Sequence[Any]) -> list[Run]:
        rows = self._read(f"SELECT {', '.join(_COLUMNS)} FROM runs {where}", values)
        return [Run(row[0], RunSpec.from_dict(json.loads(row[1]), f"run {row[0]}"), *row[2:]) for row in rows]

    def _change(self, statement: str, values: Sequence[Any]) -> bool:
        with self._transaction() as db:
            return db.execute(statement, values).rowcount > 0

    def _read(self, query: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        with self._guard, self._explained():
            return self._connect().execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guard, self._explained():
            db = self._connect()
            db.execute("BEGIN IMMEDIATE")  # ask for the write lock at once: an upgrade half way cannot be waited for
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> CpdError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreBusy(f"{self.path}: locked by another process for {self._patience_s:g} s; try again.")
        if code == sqlite3.SQLITE_FULL:
            return StorageError(f"{self.path}: the disk is full; free some space and try again.")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM):
            return StorageError(
                f"{self.path}: cannot read or write the run store ({error}); check the disk and CPD_HOME."
            )
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return StorageError(
                f"{self.path}: the run store is damaged ({error}); move it away and start the app again."
            )
        return RunError(f"{self.path}: {error}.")

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            db = sqlite3.connect(self.path, timeout=self._patience_s, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            self._connection = db
        return self._connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            deadline = time.monotonic() + self._patience_s
            while True:  # the change of mode does not use SQLite's own waiting
                try:
                    db.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
        db.execute("PRAGMA synchronous = FULL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise StorageError(
                f"{self.path}: run store of version {version}, this program reads {SCHEMA}; update the program."
            )
        if version == 0:
            db.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
            db.execute("COMMIT")


_COLUMNS = (
    *("id", "spec", "state", "created", "launched", "started", "finished", "updated", "stop_asked", "not_before"),
    *("attempts", "step", "total", "error"),
)
