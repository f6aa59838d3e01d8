"""The process that does one run: `python -m cpd.runs.worker RUN_DIR`, alone or as one of several behind torchrun.

It holds RUN_DIR/lock for life, so there is never a second one, and a death is seen at once. Whatever happens inside
ends in a named state with one sentence; the traceback goes to worker.log. SIGTERM and Ctrl+C mean: save a checkpoint at
the next step and stop. Where several processes share the run, all this is the first one's part.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from cpd.errors import CpdError, Diverged, RunError, StorageError
from cpd.files import make_folder, remove_leftovers, replacing, storage_error, write_json
from cpd.runs import jobs, leash, relay
from cpd.runs.context import RunContext, Stopped, Watcher
from cpd.runs.crew import is_desertion, place, processes
from cpd.runs.failure import is_out_of_memory, sentence
from cpd.runs.follower import Follower, follow, leave
from cpd.runs.lock import FileLock, holder
from cpd.runs.memory import halved, out_of_memory, spec_of
from cpd.runs.rows import ASKED
from cpd.runs.spec import RunSpec
from cpd.runs.store import Run, Store
from cpd.runs.worker_status import DESERTED, NOT_NEEDED
from cpd.runs.workspace import ALONE, check_id, database

_RESERVE_BYTES = 256 * 1024
_SETTLE_S = 60.0
_STARVED = "starved"  # how a job ends that ran out of memory
_DESERTED = "deserted"  # and one whose other processes died


def main(arguments: list[str]) -> int:
    """Exit status 0: finished, stopped, or back in the queue; 1: failed; 2: not a run; NOT_NEEDED: somebody else's or over;
    DESERTED: another process of the run died, and the supervisor is to start all of them again."""
    if len(arguments) != 1:
        print("usage: python -m cpd.runs.worker RUN_DIR", file=sys.stderr)
        return 2
    leash.put_on()
    run_dir = Path(arguments[0]).resolve()
    try:
        store, run, root = _place_of(run_dir)
        if place()[0]:
            leave(_follow(run_dir, store, run, root))
        row = _work(run_dir, store, run, root, None, sys.stderr)
        if root is not None and isinstance(store, Store):
            _wake_supervisor(root)
    except CpdError as error:
        print(error, file=sys.stderr)
        return 2
    if row is None:
        return NOT_NEEDED
    if row.state == "running":
        return DESERTED
    return 1 if row.state == "failed" else 0


def _place_of(run_dir: Path) -> tuple[relay.Records, str, Path | None]:
    """The store that the run is in, its id there, and the workspace, None for a run outside one."""
    if os.environ.get(relay.VARIABLE):
        return relay.Relay(run_dir), check_id(run_dir.name, "run"), run_dir.parent.parent
    if (run_dir / "runs.db").exists():
        return Store(run_dir / "runs.db"), ALONE, None
    root = run_dir.parent.parent
    if not database(root).exists():
        raise RunError(f"{run_dir} is not the folder of a run: there is no {database(root)}.")
    return Store(database(root)), check_id(run_dir.name, "run"), root


def _follow(run_dir: Path, store: relay.Records, run: str, root: Path | None) -> int:
    """The part of a process that is not the first of its run."""
    row = store.run(run)
    store.close()
    context = Follower(run_dir, spec_of(row), root)
    with _stop_on_signals(context):
        return follow(context)


def run_foreground(run_dir: Path, spec: RunSpec, watcher: Watcher | None = None) -> Run:
    """Do a run in this process, in a folder of its own outside any workspace, as the command line does.

    A folder that already holds this very run goes on from its last checkpoint; a finished one is returned as it is.

    Returns:
        The row at the end: `state` is "finished", "stopped" (Ctrl+C) or "failed", then `error` says why in a sentence.
    Raises:
        RunError: the folder holds another run, or another process is doing this one.
        StorageError: the folder cannot be written.
    """
    make_folder(run_dir)
    _check_same(run_dir / "spec.json", spec)
    store = Store(run_dir / "runs.db")
    try:
        if not store.list_runs():
            store.add(ALONE, spec)
        store.resume(ALONE)
        if processes(spec.options) > 1 and place()[1] == 1:
            from cpd.runs.shared_run import do_shared

            while not store.run(ALONE).is_over:  # more than once where memory ran out: again, in smaller parts
                do_shared(run_dir, store, watcher)
            return store.run(ALONE)
        with _open_log(run_dir) as log:
            row = _work(run_dir, store, ALONE, None, watcher, log)
            while row is not None and row.state == "queued":  # memory ran out: again, in smaller parts
                _free_memory()
                row = _work(run_dir, store, ALONE, None, watcher, log)
        if row is None:
            row = store.run(ALONE)
            if not row.is_over:
                raise RunError(
                    f"{run_dir}: process {holder(run_dir / 'lock')} is doing this run already; wait for it or stop it."
                )
        return row
    finally:
        store.close()


def _work(
    run_dir: Path, store: relay.Records, run: str, root: Path | None, watcher: Watcher | None, log: TextIO
) -> Run | None:
    """Do the run and settle its state; None when somebody else does it or it is over."""
    lock = FileLock(run_dir / "lock")
    if not lock.acquire():
        return None
    try:
        row = store.begin(run)
        if row.is_over:
            return None
        if row.state in ASKED:  # told to stop while no worker was alive: the last checkpoint is where it stopped
            return _settle(store, run, "stopped", "")
        remove_leftovers(run_dir)
        try:
            reserve = _reserve(run_dir)
        except StorageError as full:  # there was room for its folder, and now there is none even to begin
            return _settle(store, run, "failed", str(full))
        with reserve:
            context = RunContext(run_dir, spec_of(row), store, run, root, watcher)
            remove_leftovers(context.folder, older_than_s=3600.0)  # the app and other runs write there too
            state, error = _do(context, log)
        with contextlib.suppress(CpdError):
            context.close()
        if state == _DESERTED:  # not settled: to the supervisor the run has died, as it has
            return store.run(run)
        if state == _STARVED:
            text = halved(row)
            if text and store.requeue_halved(run, text, store.run(run).step):
                return store.run(run)
            state, error = ("stopped", "") if store.run(run).state in ASKED else ("failed", out_of_memory(row))
        return _settle(store, run, state, error)
    finally:
        lock.release()


def _do(context: RunContext, log: TextIO) -> tuple[str, str]:
    """Run the job; the state it ended in, and why."""
    with _stop_on_signals(context):
        try:
            jobs.find(context.spec.kind).run(context)
            context.flush()
        except Stopped:
            # Other processes leave together with this one, at a step. Here it was torchrun that ended it, as a rule
            # because one of them died; or somebody who asked for that in the store, too, and then it is a stop.
            return ("stopped" if place()[1] == 1 or context.asked() else _DESERTED), ""
        except KeyboardInterrupt:
            return "stopped", ""
        except BaseException as error:  # noqa: BLE001  whatever a job raises has to end in a named state
            with contextlib.suppress(OSError):  # the log may be on the very disk that is full
                print(time.strftime("\n%Y-%m-%d %H:%M:%S"), file=log)
                traceback.print_exception(error, file=log)
                log.flush()
            if is_out_of_memory(error):
                return _STARVED, ""
            if is_desertion(error):
                return _DESERTED, ""
            if isinstance(error, Diverged):
                return "failed", _rolled_back(error, context)
            return "failed", sentence(error, context.spec.device)
    return ("stopped" if context.told_to_stop else "finished"), ""


def _rolled_back(error: Diverged, context: RunContext) -> str:
    """Go back to the last good checkpoint, and say so."""
    step = context.roll_back()
    where = (
        "nothing was saved before, so it begins anew"
        if step is None
        else f"it is back at step {step}, its last good checkpoint"
    )
    return f"{error} The run was stopped, and {where}."


def _free_memory() -> None:
    gc.collect()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        sys.modules["torch"].cuda.empty_cache()


def _settle(store: relay.Records, run: str, state: str, error: str) -> Run:
    """Write the end of a run, patiently: an unsettled run looks like a crash."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        try:
            store.finish(run, state, error, store.run(run).step)
            return store.run(run)
        except CpdError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _reserve(run_dir: Path) -> contextlib.AbstractContextManager[object]:
    """Keep a little disk space that is given back before the end is written: a run that fills the disk can say so."""
    path = run_dir / "reserve"
    with replacing(path) as file:
        file.write(b"\0" * _RESERVE_BYTES)
    stack = contextlib.ExitStack()
    stack.callback(path.unlink, missing_ok=True)
    return stack


@contextlib.contextmanager
def _stop_on_signals(context: RunContext) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        context.request_stop()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # the second Ctrl+C does not wait for a step

    old = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _check_same(path: Path, spec: RunSpec) -> None:
    if not path.exists():
        write_json(path, spec.to_dict())
        return
    old = RunSpec.from_json(path.read_text(), str(path)).to_dict()
    differ = sorted(name for name, value in spec.to_dict().items() if old[name] != value)
    if differ:
        raise RunError(f"{path.parent} holds another run (other {', '.join(differ)}); choose an empty folder.")


def _open_log(run_dir: Path) -> TextIO:
    path = run_dir / "worker.log"
    try:
        return open(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))
    except OSError as error:
        raise storage_error(error, path) from error


def _wake_supervisor(root: Path) -> None:
    """The queue goes on even when the supervisor was killed meanwhile."""
    from cpd.runs.supervisor import ensure

    with contextlib.suppress(CpdError, OSError):
        ensure(root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
