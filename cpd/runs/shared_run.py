"""A run that several processes share, started from the command line: wait for it and tell how far it is."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from cpd.runs.context import Watcher
from cpd.runs.launcher import Handle, LocalLauncher
from cpd.runs.store import Store
from cpd.runs.workspace import ALONE

_LOOK_S = 0.3
_DEATH = (
    "A process of the run died; worker.log in the run's folder has its last words. The same command goes on from the "
    "last checkpoint."
)


def do_shared(run_dir: Path, store: Store, watcher: Watcher | None) -> None:
    """Do the run in processes of its own and wait; Ctrl+C asks them to stop with a checkpoint, a second one kills them."""
    launcher = LocalLauncher()
    handle = launcher.launch(run_dir)
    telling = _Telling(store, watcher)
    asked, halvings = False, store.run(ALONE).halvings
    while launcher.poll(handle).alive:
        try:
            telling.tell()
            time.sleep(_LOOK_S)
        except KeyboardInterrupt:
            _end(launcher, handle, force=asked)
            asked = True
    telling.tell()
    row = store.run(ALONE)
    if row.state == "running" or (row.state == "queued" and row.halvings == halvings):
        store.finish(ALONE, "stopped" if asked else "failed", "" if asked else _DEATH, row.step)


def _end(launcher: LocalLauncher, handle: Handle, force: bool) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        launcher.cancel(handle, force)


class _Telling:
    """What is new in the store since the last look."""

    def __init__(self, store: Store, watcher: Watcher | None) -> None:
        self._store, self._watcher = store, watcher
        self._event = max((event.number for event in store.events(ALONE)), default=0)
        self._step = store.run(ALONE).step

    def tell(self) -> None:
        if self._watcher is None:
            return
        for event in self._store.events(ALONE, since=self._event):
            self._event = max(self._event, event.number)
            self._watcher.event(event.step, event.kind, event.text, event.data)
        rows: dict[int, dict[str, float]] = {}
        for name, series in self._store.metrics(ALONE, ["val/*", "cost/macs"], since_step=self._step).items():
            for step, value in zip(series.steps, series.values, strict=True):
                rows.setdefault(step, {})[name] = value
        for step in sorted(rows):
            self._watcher.metric(step, rows[step])
        run = self._store.run(ALONE)
        self._step = max(self._step, *rows) if rows else self._step
        if run.total:
            self._watcher.progress(run.step, run.total)
