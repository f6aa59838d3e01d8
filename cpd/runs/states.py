"""The life of a run: its place in the queue, what it was told to do, and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cpd.errors import RunError
from cpd.runs.connection import Connection
from cpd.runs.journal import ADD_EVENT
from cpd.runs.rows import UNFINISHED, Run
from cpd.runs.spec import RunSpec

STOPPED = "stopped; it can be resumed"
PAUSED = "paused; it keeps its place in the queue"
_RESUMABLE = "('paused', 'stopped', 'failed')"

_COLUMNS = (
    *("id", "spec", "state", "created", "launched", "started", "finished", "updated", "stop_asked", "not_before"),
    *("attempts", "step", "total", "error", "place", "halvings", "pace_s", "note"),
)


class States(Connection):
    """The rows of runs, and every change of state as one transaction."""

    def add(self, run: str, spec: RunSpec) -> None:
        """A new run, queued behind all others."""
        now = time.time()
        with self._transaction() as db:
            db.execute(
                "INSERT INTO runs (id, project, kind, spec, state, created, updated) VALUES (?, ?, ?, ?, 'queued', ?, ?)",
                (run, spec.project, spec.kind, json.dumps(spec.to_dict()), now, now),
            )
            db.execute("UPDATE runs SET place = (SELECT max(place) + 1 FROM runs) WHERE id = ?", (run,))

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
        """Runs that somebody is at or will be, in the order of the queue."""
        return self._runs(f"WHERE state IN {UNFINISHED} ORDER BY place, number", ())

    def queue(self) -> list[Run]:
        """Runs that wait or are paused, in their order."""
        return self._runs("WHERE state IN ('queued', 'paused') ORDER BY place, number", ())

    def move(self, run: str, to: int) -> int:
        """Put a waiting or paused run at position `to` of the queue, 0 for the first; where it is now.

        Raises:
            RunError: it does not wait.
        """
        with self._transaction() as db:
            rows = db.execute(
                "SELECT id, place FROM runs WHERE state IN ('queued', 'paused') ORDER BY place, number"
            ).fetchall()
            names = [row[0] for row in rows]
            if run not in names:
                raise RunError(
                    f"run {run} is {self.run(run).state}; only a waiting or paused run has a place in the queue."
                )
            names.remove(run)
            to = max(0, min(to, len(names)))
            names.insert(to, run)
            # The places stay and change hands, so the order among all other runs stays too.
            db.executemany("UPDATE runs SET place = ? WHERE id = ?", zip((row[1] for row in rows), names, strict=True))
        return to

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

    def requeue_halved(self, run: str, text: str, step: int) -> bool:
        """Back to the queue after it ran out of memory, to go on with half as many images at a time."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE runs SET state = 'queued', halvings = halvings + 1, attempts = 0, not_before = 0, updated = ? "
                "WHERE id = ? AND state = 'running'",
                (time.time(), run),
            ).rowcount
            if changed:
                db.execute(ADD_EVENT, (run, step, "error", text, "{}", time.time()))
        return changed > 0

    def finish(self, run: str, state: str, error: str = "", step: int = 0) -> bool:
        """The end of a run: stopped, finished or failed, with the event that says so. False when it was over already.

        What was told to pause and stops is paused.
        """
        now = time.time()
        with self._transaction() as db:
            row = db.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()
            if row is None or row[0] not in UNFINISHED:
                return False
            if state == "stopped" and row[0] == "pausing":
                state = "paused"
            kind, text = {
                "finished": ("finish", "finished"), "stopped": ("stop", STOPPED), "paused": ("pause", PAUSED),
                "failed": ("error", error),
            }[state]  # fmt: skip
            db.execute(
                "UPDATE runs SET state = ?, error = ?, finished = ?, updated = ? WHERE id = ?",
                (state, error, now, now, run),
            )
            # In the same transaction: who sees the end also sees why. The job may have said it in its own words.
            said = "SELECT 1 FROM events WHERE run = ? AND step = ? AND kind = ? AND kind != 'error'"
            if db.execute(said, (run, step, kind)).fetchone() is None:
                db.execute(ADD_EVENT, (run, step, kind, text, "{}", now))
        return True

    def request_stop(self, run: str) -> str:
        """Ask a run to stop; the state it is in now. One that waits stops at once, a running one at its next step."""
        return self._ask(run, "stopped", "stopping", "('queued', 'paused')", "('running', 'pausing')")

    def request_pause(self, run: str) -> str:
        """Ask a run to pause; the state it is in now. One that waits pauses at once, a running one at its next step."""
        return self._ask(run, "paused", "pausing", "('queued')", "('running')")

    def resume(self, run: str) -> bool:
        """A paused, stopped or failed run back to its place in the queue; False when it is none of these."""
        return self._change(
            "UPDATE runs SET state = 'queued', stop_asked = 0, not_before = 0, attempts = 0, error = '', finished = 0, "
            f"updated = ? WHERE id = ? AND state IN {_RESUMABLE}",
            (time.time(), run),
        )

    def roll_back(self, run: str, step: int) -> None:
        """The run is as far as `step` again."""
        self._change("UPDATE runs SET step = ? WHERE id = ?", (step, run))

    def note(self, run: str) -> str:
        """What somebody wrote about the run; "" for nothing."""
        rows = self._read("SELECT note FROM runs WHERE id = ?", (run,))
        return str(rows[0][0]) if rows else ""

    def annotate(self, run: str, note: str) -> bool:
        """What somebody says about the run; False where there is no such run."""
        return self._change("UPDATE runs SET note = ? WHERE id = ?", (note, run))

    def got_further(self, run: str) -> None:
        """A new checkpoint is on disk: deaths before it no longer count."""
        self._change("UPDATE runs SET attempts = 1 WHERE id = ? AND attempts > 1", (run,))

    def _ask(self, run: str, at_once: str, soon: str, waiting: str, working: str) -> str:
        now = time.time()
        with self._transaction() as db:
            db.execute(
                f"UPDATE runs SET state = ?, stop_asked = ?, finished = ?, updated = ? WHERE id = ? AND state IN {waiting}",
                (at_once, now, now, now, run),
            )
            db.execute(
                f"UPDATE runs SET state = ?, stop_asked = ?, updated = ? WHERE id = ? AND state IN {working}",
                (soon, now, now, run),
            )
        return self.run(run).state

    def _runs(self, where: str, values: Sequence[Any]) -> list[Run]:
        rows = self._read(f"SELECT {', '.join(_COLUMNS)} FROM runs {where}", values)
        return [Run(row[0], _spec(row[1], f"run {row[0]}"), *row[2:]) for row in rows]


@lru_cache(maxsize=256)
def _spec(text: str, source: str) -> RunSpec:
    """What a run is never changes, is shared by all who read it, and may hold a plan of every unit of a network."""
    return RunSpec.from_dict(json.loads(text), source)
