"""The process that starts workers: `python -m cpd.runs.supervisor ROOT`.

It keeps nothing: what is to be done follows from the store and the locks, so it may be killed at any moment and started
again by whoever calls `ensure`. One at a time, by a lock. It ends when no run is left to start or watch.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen

from cpd.errors import CpdError, StorageError
from cpd.files import read_json
from cpd.runs.launcher import Handle, Launcher, LocalLauncher, detached
from cpd.runs.lock import FileLock, is_held
from cpd.runs.store import Run, Store
from cpd.runs.worker import NOT_NEEDED
from cpd.runs.workspace import database, open_workspace, run_folder, workspace_root

_STARTING_S = 20.0  # a worker that another supervisor launched may need this long before it holds its lock
_LONGEST_BACKOFF_S = 60.0

_spawned: list[Popen[bytes]] = []


@dataclass(frozen=True)
class Policy:
    """How the runs of a workspace are treated; its file policy.json changes the defaults, e.g. {"parallel": 2}.

    Attributes:
        parallel: runs at one time.
        max_attempts: launches without any new checkpoint before a run is given up.
        backoff_s: pause before the second restart, doubled for each further one; the first is immediate.
        poll_s: pause between two looks.
        kill_after_s: a run that was told to stop and has not is killed after this long.
    """

    parallel: int = 1
    max_attempts: int = 4
    backoff_s: float = 1.0
    poll_s: float = 0.25
    kill_after_s: float = 60.0

    @staticmethod
    def of(root: Path) -> Policy:
        """Raises StorageError when policy.json is there and does not fit."""
        path = root / "policy.json"
        if not path.exists():
            return Policy()
        row = read_json(path)
        allowed = {name: type(value) for name, value in asdict(Policy()).items()}
        good = isinstance(row, dict) and all(
            name in allowed and type(value) in (int, allowed[name]) and value >= 0 for name, value in row.items()
        )
        if not good:
            raise StorageError(f"{path}: give numbers, 0 or more, for any of {', '.join(allowed)}; it is not used.")
        return Policy(**row)


class Supervisor:
    """One pass over all unfinished runs is `tend`; `supervise` repeats it."""

    def __init__(self, root: Path, policy: Policy = Policy(), launcher: Launcher | None = None) -> None:
        self.root = root
        self.policy = policy
        self._launcher = launcher or LocalLauncher()
        self._store = Store(database(root))
        self._handles: dict[str, Handle] = {}
        self._oom_kills: dict[str, int] = {}

    def tend(self) -> bool:
        """See to every unfinished run once; False when there is none."""
        runs = self._store.unfinished()
        active = 0
        for run in runs:
            if run.state != "queued":
                active += self._watch(run)
        now = time.time()
        for run in runs:
            if run.state == "queued" and active < self.policy.parallel and run.not_before <= now:
                active += self._start(run)
        return bool(runs)

    def _watch(self, run: Run) -> bool:
        """Whether the run has a worker; sees to it that a dead one is dealt with."""
        folder = run_folder(self.root, run.id)
        handle = self._handles.get(run.id)
        code = None
        if handle is not None:
            poll = self._launcher.poll(handle)
            alive, code = poll.alive, poll.exit_code
        else:
            # Launched by a supervisor that is gone: wait for its worker to take the lock before it counts as dead.
            alive = is_held(folder / "lock") or (
                run.updated <= run.launched and time.time() - run.launched < _STARTING_S
            )
        if code == NOT_NEEDED:  # not the worker that holds the lock
            self._handles.pop(run.id)
            code = None
        if alive:
            if run.state == "stopping" and time.time() - run.stop_asked > self.policy.kill_after_s:
                self._launcher.cancel(handle or Handle(folder, 0), force=True)
            return True
        self._handles.pop(run.id, None)
        current = self._store.run(run.id)  # it may have ended properly since the list was read
        if not current.is_over and current.launched == run.launched:
            self._bury(current, code)
        return False

    def _bury(self, run: Run, code: int | None) -> None:
        """Decide what becomes of a run whose worker died."""
        if run.state == "stopping":
            self._store.finish(run.id, "stopped", step=run.step)
            return
        cause = self._cause(run, code)
        if run.attempts >= self.policy.max_attempts:
            text = f"The worker died {run.attempts} times without getting further ({cause}); worker.log has its last words."
            self._store.finish(run.id, "failed", text, run.step)
            return
        pause = 0.0 if run.attempts < 2 else min(self.policy.backoff_s * 2.0 ** (run.attempts - 2), _LONGEST_BACKOFF_S)
        self._store.requeue(run.id, time.time() + pause)
        text = f"the worker died ({cause}); attempt {run.attempts + 1} of {self.policy.max_attempts} follows"
        self._store.add_event(run.id, run.step, "error", text)

    def _cause(self, run: Run, code: int | None) -> str:
        if code is None:
            return "killed, or the machine was restarted"
        if code == -9 and _oom_kills() > self._oom_kills.get(run.id, 0):
            return "killed by the system, which ran out of memory; use a smaller batch size"
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def _start(self, run: Run) -> bool:
        """Launch a queued run; whether it now takes up a place."""
        folder = run_folder(self.root, run.id)
        if is_held(folder / "lock"):  # the worker of a run that was stopped and resumed is still on its way out
            return True
        if not folder.is_dir():
            self._store.finish(run.id, "failed", f"The folder of the run is gone: {folder}. Start a new run.")
            return False
        if not self._store.launch(run.id):
            return False
        self._oom_kills[run.id] = _oom_kills()
        try:
            self._handles[run.id] = self._launcher.launch(folder)
        except CpdError as error:
            self._store.finish(run.id, "failed", str(error))
            return False
        return True

    def close(self) -> None:
        self._store.close()


def supervise(root: Path, policy: Policy, launcher: Launcher | None = None) -> bool:
    """Tend the runs of a workspace until none is left; False when another process does so already."""
    lock = FileLock(root / "supervisor.lock")
    while lock.acquire():
        supervisor = Supervisor(root, policy, launcher)
        try:
            while root.is_dir():
                try:
                    if not supervisor.tend():
                        break
                    time.sleep(policy.poll_s)
                except CpdError as error:  # a locked store or a full disk: it may pass
                    print(time.strftime("%Y-%m-%d %H:%M:%S"), error, file=sys.stderr, flush=True)
                    time.sleep(max(policy.poll_s, 1.0))
        finally:
            supervisor.close()
            lock.release()
        # A run that was queued after the last look met a lock still held, so nobody else was started for it.
        if not root.is_dir() or not needed(root):
            return True
    return False


def needed(root: Path) -> bool:
    """Whether any run waits to be started or watched."""
    if not database(root).exists():
        return False
    store = Store(database(root))
    try:
        return bool(store.unfinished())
    finally:
        store.close()


def ensure(root: Path) -> bool:
    """Start a supervisor where one is needed and none is alive; whether one was started.

    Cheap, and safe to call from many processes at any rate: of several that start, one stays.
    """
    for child in [child for child in _spawned if child.poll() is not None]:
        _spawned.remove(child)  # collected, so that no dead entry stays in the process table
    if not needed(root) or is_held(root / "supervisor.lock"):
        return False
    command = [sys.executable, "-P", "-m", "cpd.runs.supervisor", str(root)]
    _spawned.append(detached(command, root / "supervisor.log"))
    return True


def _oom_kills() -> int:
    """Processes that this machine's kernel has killed for want of memory, 0 where it does not tell."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m cpd.runs.supervisor", description="Start and watch queued runs.")
    parser.add_argument("root", type=Path, nargs="?", help="workspace folder (default: CPD_HOME, else workspace/)")
    given: Path | None = parser.parse_args(arguments).root
    root = (given or workspace_root()).resolve()
    policy = Policy()
    try:
        policy = Policy.of(root)
    except CpdError as error:
        print(error, file=sys.stderr)
    try:
        supervise(open_workspace(root), policy)
    except CpdError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
