"""The life of a run: queued, running, stopping, and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from cpd.errors import RunError
from cpd.runs.connection import Connection
from cpd.runs.journal import ADD_EVENT
from cpd.runs.rows import Run
from cpd.runs.spec import RunSpec

STOPPED = "stopped; it can be resumed"

_COLUMNS = (
    *("id", "spec", "state", "created", "launched", "started", "finished", "updated", "stop_asked", "not_before"),
    *("attempts", "step", "total", "error"),
)


class States(Connection):
    """The rows of runs, and every change of state as one transaction."""

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
                    db.execute(ADD_EVENT, (run, step, kind, text, "{}", now))
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

    def _runs(self, where: str, values: Sequence[Any]) -> list[Run]:
        rows = self._read(f"SELECT {', '.join(_COLUMNS)} FROM runs {where}", values)
        return [Run(row[0], RunSpec.from_dict(json.loads(row[1]), f"run {row[0]}"), *row[2:]) for row in rows]
