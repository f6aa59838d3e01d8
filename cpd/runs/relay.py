"""The run store of a worker on another machine: what it would write is a line in a file, which the supervisor carries out.

SQLite's write-ahead log must not be shared between machines, not even on a file system that they share. So only the
supervisor's machine opens the workspace's store. RUN_DIR/relay holds, for one launch:

    row.json        the run as it was when it was launched
    calls.jsonl     what the worker wants written: appended by the worker alone, one whole line a call, synced
    done.json       how much of it the store has
    asked           is there once the run was told to stop or pause

Every call may be carried out twice: it overwrites.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from cpd.errors import StorageError
from cpd.files import make_folder, read_json, storage_error, write_json
from cpd.runs.rows import Run
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store

VARIABLE = "CPD_RELAY"  # set for a worker that has to use it
FOLDER = "relay"

_CALLS = ("begin", "advance", "add_event", "rewind", "roll_back", "got_further", "finish", "requeue_halved")
_LAST = ("finish", "requeue_halved")


class Records(Protocol):
    """What a worker asks of a store."""

    def run(self, run: str) -> Run: ...
    def begin(self, run: str) -> Run: ...
    def advance(
        self,
        run: str,
        rows: Iterable[tuple[int, str, float]],
        progress: tuple[int, int] | None = None,
        pace_s: float | None = None,
    ) -> bool: ...
    def add_event(self, run: str, step: int, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None: ...
    def rewind(self, run: str, step: int) -> None: ...
    def roll_back(self, run: str, step: int) -> None: ...
    def got_further(self, run: str) -> None: ...
    def finish(self, run: str, state: str, error: str = "", step: int = 0) -> bool: ...
    def requeue_halved(self, run: str, text: str, step: int) -> bool: ...
    def close(self) -> None: ...


class Relay:
    """The worker's end. Safe to share between threads: a line is one write."""

    def __init__(self, run_dir: Path) -> None:
        """Raises StorageError: the folder was not prepared, or cannot be read from this machine."""
        self._folder = run_dir / FOLDER
        row = read_json(self._folder / "row.json")
        self._row = Run(**{**row, "spec": RunSpec.from_dict(row["spec"])})

    def run(self, run: str) -> Run:
        asked = self._row.state == "running" and (self._folder / "asked").exists()
        return replace(self._row, state="stopping") if asked else self._row

    def begin(self, run: str) -> Run:
        self._write("begin", run)
        return self.run(run)

    def advance(
        self,
        run: str,
        rows: Iterable[tuple[int, str, float]],
        progress: tuple[int, int] | None = None,
        pace_s: float | None = None,
    ) -> bool:
        rows = list(rows)
        if rows or progress:
            self._write("advance", run, rows, progress, pace_s)
        if progress:
            self._row = replace(self._row, step=progress[0], total=progress[1])
        return self.run(run).state == "stopping"

    def add_event(self, run: str, step: int, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        self._write("add_event", run, step, kind, text, dict(data or {}))

    def rewind(self, run: str, step: int) -> None:
        self._write("rewind", run, step)

    def roll_back(self, run: str, step: int) -> None:
        self._write("roll_back", run, step)
        self._row = replace(self._row, step=step)

    def got_further(self, run: str) -> None:
        self._write("got_further", run)

    def finish(self, run: str, state: str, error: str = "", step: int = 0) -> bool:
        self._write("finish", run, state, error, step)
        self._row = replace(self._row, state=state, error=error)
        return True

    def requeue_halved(self, run: str, text: str, step: int) -> bool:
        self._write("requeue_halved", run, text, step)
        self._row = replace(self._row, state="queued")
        return True

    def close(self) -> None:
        return

    def _write(self, call: str, run: str, *arguments: Any) -> None:
        path = self._folder / "calls.jsonl"
        line = json.dumps([call, *arguments]).encode() + b"\n"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND)  # it was made for this launch; another has another
            try:
                if os.write(handle, line) != len(line):
                    raise StorageError(f"{path}: the disk is full; free some space and resume the run.")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise storage_error(error, path) from error


def prepare(run_dir: Path, row: Run) -> None:
    """A relay for one launch of the run, in the place of any earlier one."""
    remove(run_dir)
    folder = make_folder(run_dir / FOLDER)
    (folder / "calls.jsonl").touch(mode=0o600)
    write_json(folder / "row.json", asdict(row) | {"spec": row.spec.to_dict()})


def remove(run_dir: Path) -> None:
    # Renamed first: what a worker that is cut off still writes goes nowhere.
    old = run_dir / f".tmp-relay-{time.time_ns()}"
    try:
        (run_dir / FOLDER).rename(old)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, run_dir / FOLDER) from error
    shutil.rmtree(old, ignore_errors=True)


def ask(run_dir: Path) -> None:
    """Tell the worker to stop with a checkpoint."""
    path = run_dir / FOLDER / "asked"
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise storage_error(error, path) from error


def carry_out(run_dir: Path, store: Store, run: str, ended: bool) -> None:
    """Write to the store what the worker has asked for since the last time.

    Args:
        ended: the worker is dead. Only then the end of the run is written: until then somebody is at it.
    """
    folder = run_dir / FOLDER
    try:
        done = int(read_json(folder / "done.json")["bytes"]) if (folder / "done.json").exists() else 0
        with open(
            folder / "calls.jsonl", "rb"
        ) as file:  # opened anew each time: that is when NFS looks for what is new
            file.seek(done)
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, folder, "read") from error
    start = done
    for line in lines:
        if not line.endswith(b"\n"):
            break  # still being written, or torn by the worker's death
        call, *arguments = json.loads(line)
        if call in _LAST and not ended:
            break
        if call in _CALLS:
            getattr(store, call)(run, *arguments)
        done += len(line)
    if done > start:
        write_json(folder / "done.json", {"bytes": done})
