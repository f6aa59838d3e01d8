"""What a job is given: a place to log, save and load, and the question whether to stop."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cpd.errors import CpdError, RunError
from cpd.runs.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from cpd.runs.relay import Records
from cpd.runs.rows import ASKED
from cpd.runs.spec import RunSpec
from cpd.runs.store import StoreBusy

FLUSH_S = 0.4  # a metric is in the store this long after it was logged, however slow the steps are
_PACE_S = 30.0  # the time a step takes is measured over this long
_LOCKED_S = 60.0  # how long a checkpoint waits for a store that another process has locked


class Stopped(Exception):
    """The job was told to stop and does; not an error."""


class Watcher(Protocol):
    """Something in this process that follows a run: the command line's progress bar."""

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any]) -> None: ...
    def progress(self, step: int, total: int) -> None: ...


class RunContext:
    """One run, seen from the job that does it.

    Log a step before saving its checkpoint: what is recorded after the step of the last checkpoint is forgotten and
    recorded again when the run is resumed.

    Attributes:
        spec: what to do.
        run_dir: where the run's own files go.
        root: the workspace, None for a run outside one.
        told_to_stop: whether the job has been told so by `should_stop`, or by another process that shares the run.
        leads: whether this process writes the result; of several that share a run the first one does.
    """

    leads = True

    def __init__(
        self,
        run_dir: Path,
        spec: RunSpec,
        store: Records,
        run: str,
        root: Path | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.spec = spec
        self.run_dir = run_dir
        self.root = root
        self.told_to_stop = False
        self._store = store
        self._run = run
        self._watcher = watcher
        self._stop = False  # a plain flag: an Event could deadlock inside a signal handler
        self._closing = threading.Event()
        self._guard = threading.Lock()
        self._rows: dict[tuple[int, str], float] = {}
        self._progress: tuple[int, int] | None = None
        self._passed: deque[tuple[float, int]] = deque()  # when which step was done
        self._failure: BaseException | None = None
        self._resumed_step = -1
        self._flusher = threading.Thread(target=self._flush_often, name="flush", daemon=True)
        self._flusher.start()

    @property
    def folder(self) -> Path:
        """Where the result goes: the project's folder, or the run's own where there is no project."""
        if self.spec.project and self.root is not None:
            from cpd.runs.project import project_folder

            return project_folder(self.root, self.spec.project)
        return self.run_dir

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of a step; written within half a second."""
        self._raise_failure()
        if step < 0:
            raise ValueError(f"step {step} is negative")
        rows = {(int(step), name): float(value) for name, value in values.items()}
        with self._guard:
            self._rows.update(rows)
        if self._watcher:
            self._watcher.metric(step, values)

    def event(self, step: int, kind: str, text: str, **data: Any) -> None:
        """Record that something happened: a cut, an evaluation, a note. Written at once."""
        self._patiently(lambda: self._store.add_event(self._run, int(step), kind, text, data))
        if self._watcher:
            self._watcher.event(step, kind, text, data)

    def progress(self, step: int, total: int) -> None:
        """Say how far the run is."""
        now = time.monotonic()
        with self._guard:
            self._progress = (int(step), int(total))
            if not self._passed or now - self._passed[-1][0] > FLUSH_S:
                self._passed.append((now, int(step)))
                while len(self._passed) > 2 and now - self._passed[0][0] > _PACE_S:
                    self._passed.popleft()
        if self._watcher:
            self._watcher.progress(step, total)

    def should_stop(self) -> bool:
        """Whether to save a checkpoint and return. Costs nothing: ask at every step."""
        self._raise_failure()
        self.told_to_stop = self.told_to_stop or self._stop
        return self.told_to_stop

    def check_stop(self) -> None:
        """Leave the job where it was told to stop: for the parts between steps, which keep no checkpoint."""
        if self.should_stop():
            raise Stopped

    def watch_stop(self, done: int, total: int) -> None:
        """A progress callback that only asks whether to stop."""
        self.check_stop()

    def tick(self, done: int, total: int) -> None:
        """A progress callback for library calls: shows how far they are and lets them be stopped."""
        self.progress(done, total)
        self.check_stop()

    def asked(self) -> bool:
        """Whether the store says so: somebody asked there for a stop or a pause."""
        return self._store.run(self._run).state in ASKED

    def request_stop(self) -> None:
        """Make `should_stop` true; safe inside a signal handler."""
        self._stop = True

    def save(self, state: Any, step: int, note: Mapping[str, Any] | None = None) -> None:
        """A checkpoint from which `load` goes on, exactly: nested dicts, lists, tensors of any dtype, numbers, text.

        Args:
            note: keeps it as a place to go back to, and says what it is.
        """
        self.flush()
        save_checkpoint(self.run_dir / "checkpoints", state, step, note)
        if step > self._resumed_step:
            self._patiently(lambda: self._store.got_further(self._run))

    def roll_back(self) -> int | None:
        """Forget what was recorded after the last checkpoint; its step, None where there is none."""
        saved = list_checkpoints(self.run_dir / "checkpoints")
        step = saved[-1].step if saved else None
        with self._guard:
            self._rows, self._progress = {}, None

        def rewind() -> None:
            self._store.rewind(self._run, -1 if step is None else step)
            self._store.roll_back(self._run, step or 0)

        self._patiently(rewind)
        return step

    def load(self) -> Any | None:
        """The state of the last readable checkpoint, None at the beginning. What was recorded after it is forgotten."""
        restored = load_checkpoint(self.run_dir / "checkpoints")
        step = restored.step if restored is not None and restored.state is not None else -1
        self._patiently(lambda: self._store.rewind(self._run, step))
        if restored is None:
            return None
        where = f"step {step}" if step >= 0 else "the beginning"
        for text in restored.skipped:
            self.event(max(step, 0), "error", f"{text}; the run goes on from {where}")
        if step >= 0:
            self._resumed_step = step
            self.event(step, "resume", f"resumed from the checkpoint of step {step}")
        return restored.state

    def flush(self) -> None:
        """Write what is buffered now. Waits for a locked store, because what comes before a checkpoint must be in it."""
        self._patiently(self._write)
        self._raise_failure()

    def close(self) -> None:
        """Write what is left and end the thread; errors of the store are raised."""
        self._closing.set()
        self._flusher.join()
        self.flush()

    def _write(self) -> None:
        with self._guard:
            rows, progress = self._rows, self._progress
            self._rows, self._progress = {}, None
        try:
            stop = self._store.advance(
                self._run, [(s, n, v) for (s, n), v in rows.items()], progress, self._pace_s() if progress else None
            )
        except BaseException:
            with self._guard:  # keep them for the next try; what came meanwhile is newer
                self._rows = rows | self._rows
                self._progress = self._progress or progress
            raise
        if stop:
            self._stop = True

    def _pace_s(self) -> float | None:
        """Seconds a step, of late; None before two looks at different steps."""
        with self._guard:
            if not self._passed:
                return None
            (since, first), (now, last) = self._passed[0], self._passed[-1]
        return (now - since) / (last - first) if last > first else None

    def _flush_often(self) -> None:
        while not self._closing.wait(FLUSH_S):
            try:
                self._write()
            except StoreBusy:
                continue
            except Exception as error:  # noqa: BLE001  raised where the job can see it: at its next call
                self._failure = error
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure = self._failure
            raise (
                failure if isinstance(failure, CpdError) else RunError(f"cannot record the run: {failure}.")
            ) from failure

    def _patiently(self, action: Any) -> None:
        deadline = time.monotonic() + _LOCKED_S
        while True:
            try:
                action()
                return
            except StoreBusy:
                if time.monotonic() > deadline:
                    raise
