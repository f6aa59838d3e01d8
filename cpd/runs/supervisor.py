"""The process that starts workers: `python -m cpd.runs.supervisor ROOT`.

It keeps nothing: what is to be done follows from the store and the locks, so it may be killed at any moment and started
again by whoever calls `ensure`. One at a time, by a lock. It ends when no run is left to start or watch.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from subprocess import Popen

from cpd.errors import CpdError
from cpd.runs.launcher import Handle, Launcher, LocalLauncher, Poll, detached
from cpd.runs.lock import FileLock, is_held
from cpd.runs.memory import halved, out_of_memory
from cpd.runs.policy import Policy
from cpd.runs.ray_launcher import FILE, RayLauncher
from cpd.runs.rows import ASKED, Run
from cpd.runs.spread import spread
from cpd.runs.store import Store
from cpd.runs.worker_status import NOT_NEEDED
from cpd.runs.workspace import database, open_workspace, run_folder, workspace_root

_STARTING_S = 20.0  # a worker that another supervisor launched may need this long before it holds its lock

_spawned: list[Popen[bytes]] = []


class Supervisor:
    """One pass over all unfinished runs is `tend`; `supervise` repeats it.

    How long something lasts is measured by a clock that never jumps, from when this process first saw it.
    """

    def __init__(self, root: Path, policy: Policy = Policy(), launcher: Launcher | None = None) -> None:
        self.root = root
        self.policy = policy
        self._launcher = launcher or LocalLauncher()
        self._store = Store(database(root))
        self._handles: dict[str, Handle] = {}
        self._oom_kills: dict[str, int] = {}
        self._since: dict[tuple[str, str, float], float] = {}  # what was seen -> when first

    def tend(self) -> bool:
        """See to every unfinished run once; False when there is none."""
        runs = self._store.unfinished()
        self._since = {key: at for key, at in self._since.items() if key[0] in {run.id for run in runs}}
        working: dict[str, list[Run]] = {}
        waiting: list[Run] = []
        for run in (run for run in runs if run.state != "queued"):
            place = self._watch(run)
            if place is not None:
                working.setdefault(place, []).append(run)
        for run in (run for run in runs if run.state == "queued"):
            if is_held(run_folder(self.root, run.id) / "lock"):
                working.setdefault("", []).append(
                    run
                )  # the worker of a run that was stopped and resumed is still on its way out
            else:
                waiting.append(run)
        if waiting:
            for run, place in spread(waiting, working, self._launcher.places(), self.policy, time.time()):
                self._start(run, place)
        return bool(runs)

    def _watch(self, run: Run) -> str | None:
        """Where the run has a worker, None where it has none; sees to it that a dead one is dealt with."""
        folder = run_folder(self.root, run.id)
        handle = self._handles.get(run.id)
        poll = self._launcher.poll(handle or Handle(folder, 0))
        alive, code = poll.alive, poll.exit_code
        if handle is None and not alive and code is None and not poll.said and run.updated == run.launched:
            # Launched by a supervisor that is gone: its worker may need a while to take the lock. Should the clock have
            # jumped back since, this process's own patience ends the wait.
            waited = max(time.time() - run.launched, self._lasting_s(run.id, "launched", run.launched))
            alive = waited < _STARTING_S
        if code == NOT_NEEDED:  # not the worker that holds the lock
            self._handles.pop(run.id, None)
            code = None
        if alive:
            if run.state in ASKED and self._lasting_s(run.id, "asked", run.stop_asked) > self.policy.kill_after_s:
                self._launcher.cancel(handle or Handle(folder, 0), force=True)
            return poll.place
        self._handles.pop(run.id, None)
        current = self._store.run(run.id)  # it may have ended properly since the list was read
        if not current.is_over and current.launched == run.launched and current.state != "queued":
            self._bury(current, poll)
        return None

    def _lasting_s(self, run: str, what: str, mark: float) -> float:
        now = time.monotonic()
        return now - self._since.setdefault((run, what, mark), now)

    def _bury(self, run: Run, poll: Poll) -> None:
        """Decide what becomes of a run whose worker died."""
        if run.state in ASKED:
            self._store.finish(run.id, "stopped", step=run.step)
            return
        if self._starved(run, poll.exit_code):
            smaller = halved(run)
            if smaller:
                self._store.requeue_halved(run.id, smaller, run.step)
            else:
                self._store.finish(run.id, "failed", out_of_memory(run), run.step)
            return
        cause = poll.said or self._cause(poll.exit_code)
        if run.attempts >= self.policy.max_attempts:
            text = f"The worker died {run.attempts} times without getting further ({cause}); worker.log has its last words."
            self._store.finish(run.id, "failed", text, run.step)
            return
        self._store.requeue(run.id, time.time() + self.policy.pause_s(run.attempts))
        text = f"the worker died ({cause}); attempt {run.attempts + 1} of {self.policy.max_attempts} follows"
        self._store.add_event(run.id, run.step, "error", text)

    def _starved(self, run: Run, code: int | None) -> bool:
        """Whether the system killed the worker because memory ran out."""
        return code == -9 and _oom_kills() > self._oom_kills.get(run.id, 0)

    def _cause(self, code: int | None) -> str:
        if code is None:
            return "killed, or the machine was restarted"
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def _start(self, run: Run, place: str) -> None:
        """Launch a queued run."""
        folder = run_folder(self.root, run.id)
        if not folder.is_dir():
            self._store.finish(run.id, "failed", f"The folder of the run is gone: {folder}. Start a new run.")
            return
        if not self._store.launch(run.id):
            return
        self._oom_kills[run.id] = _oom_kills()
        try:
            self._handles[run.id] = self._launcher.launch(folder, place)
        except CpdError as error:
            self._store.finish(run.id, "failed", str(error))

    def close(self) -> None:
        self._store.close()


class _Rules:
    """The policy of a workspace, read again whenever its file has changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._policy = Policy()
        self._seen: tuple[int, int] | None = (0, 0)

    def read(self) -> Policy:
        path = self._root / "policy.json"
        try:
            at = path.stat()
            seen = (at.st_mtime_ns, at.st_size)
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen = seen
            try:
                self._policy = Policy.of(self._root)
            except CpdError as error:  # said once; what held before still holds
                print(error, file=sys.stderr, flush=True)
        return self._policy


def supervise(root: Path, launcher: Launcher | None = None) -> bool:
    """Tend the runs of a workspace until none is left; False when another process does so already."""
    lock = FileLock(root / "supervisor.lock")
    rules = _Rules(root)
    while lock.acquire():
        where = launcher or _launcher_of(root)
        supervisor = Supervisor(root, rules.read(), where)
        try:
            while root.is_dir():
                try:
                    supervisor.policy = rules.read()
                    if not supervisor.tend():
                        break
                    time.sleep(supervisor.policy.poll_s)
                except CpdError as error:  # a locked store or a full disk: it may pass
                    print(time.strftime("%Y-%m-%d %H:%M:%S"), error, file=sys.stderr, flush=True)
                    time.sleep(max(supervisor.policy.poll_s, 1.0))
        finally:
            supervisor.close()
            if isinstance(where, RayLauncher):
                where.close()
            lock.release()
        # A run that was queued after the last look met a lock still held, so nobody else was started for it.
        if not root.is_dir() or not needed(root):
            return True
    return False


def _launcher_of(root: Path) -> Launcher:
    """Where the workspace's runs go: this machine, or the cluster that cluster.json names."""
    return RayLauncher(root) if (root / FILE).exists() else LocalLauncher()


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
    try:
        supervise(open_workspace(root))
    except CpdError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
