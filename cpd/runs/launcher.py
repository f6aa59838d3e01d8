"""How a worker is started.

A launcher has four calls, so that the same worker command can run elsewhere: on a cluster (ray_launcher.py), or behind a
prefix such as torchrun. The local one starts a detached process that outlives whoever started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cpd.errors import RunError
from cpd.files import storage_error
from cpd.runs.crew import without_torchrun, worker_command, worker_environment
from cpd.runs.lock import holder, is_held
from cpd.runs.workspace import REPOSITORY


@dataclass(frozen=True)
class Handle:
    """A worker that was started."""

    run_dir: Path
    pid: int


@dataclass(frozen=True)
class Poll:
    """What is known of a worker.

    Attributes:
        exit_code: None while it lives, and where nobody knows.
        place: where it is or was, "" for the only one.
        said: how it ended, in words, where that is known better than by its exit status.
    """

    alive: bool
    exit_code: int | None = None
    place: str = ""
    said: str = ""


class Launcher(Protocol):
    """Where workers run: four calls, and where that may be."""

    def places(self) -> Sequence[str]:
        """The machines that there are now; [""] for a single one."""

    def launch(self, run_dir: Path, place: str = "") -> Handle:
        """Start a worker for the run; raises StorageError or RunError where that is impossible."""

    def poll(self, handle: Handle) -> Poll:
        """Whether it lives; also of a worker that another supervisor has launched, by its folder alone."""

    def cancel(self, handle: Handle, force: bool = False) -> None:
        """Ask it to stop with a checkpoint; `force` kills it."""

    def logs(self, handle: Handle, last: int = 200) -> list[str]:
        """The last lines that it wrote."""


class LocalLauncher:
    """Detached processes on this machine."""

    def __init__(self, prefix: Sequence[str] | None = None) -> None:
        """`prefix` stands before `-m cpd.runs.worker RUN_DIR`, e.g. ("torchrun", "--nproc-per-node=2"); without one it is
        what the run asks for: this Python, or torchrun where several processes share it."""
        self._prefix = prefix
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def places(self) -> Sequence[str]:
        return [""]

    def launch(self, run_dir: Path, place: str = "") -> Handle:
        command = worker_command(run_dir)
        if self._prefix is not None:
            command = [*self._prefix, *command[-3:]]
        environment = worker_environment(run_dir, os.environ)
        child = detached(command, run_dir / "worker.log", environment)
        self._children[child.pid] = child
        return Handle(run_dir, child.pid)

    def poll(self, handle: Handle) -> Poll:
        child = self._children.get(handle.pid)
        code = child.poll() if child is not None else None
        if child is not None and code is None:
            return Poll(True)
        return Poll(is_held(handle.run_dir / "lock"), code)

    def cancel(self, handle: Handle, force: bool = False) -> None:
        # Who holds the lock is alive, so its number cannot have been given to another process.
        pid = holder(handle.run_dir / "lock")
        if pid is None:
            return
        number = signal.SIGKILL if force else signal.SIGTERM
        try:
            if force and os.getpgid(pid) == pid:
                os.killpg(pid, number)  # with the data loaders that it started
            else:
                os.kill(pid, number)
        except ProcessLookupError:
            pass

    def logs(self, handle: Handle, last: int = 200) -> list[str]:
        return read_log(handle.run_dir, last)


def detached(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that survives the end, Ctrl+C and kill of this one; its output is added to `log`.

    Its environment is ours where none is given, with `cpd` importable from anywhere.
    """
    given = without_torchrun(os.environ) if environment is None else dict(environment)
    path = os.pathsep.join(filter(None, [str(REPOSITORY), given.get("PYTHONPATH", "")]))
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise storage_error(error, log) from error
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,  # what a run writes is its owner's alone, whichever library writes it
            env=given | {"PYTHONPATH": path},
        )
    except OSError as error:
        raise RunError(f"cannot start {command[0]}: {error.strerror or error}.") from error
    finally:
        os.close(output)


def read_log(run_dir: Path, last: int = 200) -> list[str]:
    """The last lines of a run's worker.log, [] where it wrote none."""
    path = run_dir / "worker.log"
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * last))
            return file.read().decode(errors="replace").splitlines()[-last:]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error(error, path, "read") from error
