"""What a machine does to a run, really done to it: each ends in a named state with a plain sentence, and nothing is lost.

The long campaign of kills is benchmarks/faults.py; here are the faults that need no patience.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpd.runs import supervisor as supervisor_module
from cpd.runs.control import resume, stop, submit
from cpd.runs.launcher import Handle, Poll
from cpd.runs.lock import is_held
from cpd.runs.policy import Policy
from cpd.runs.spec import RunSpec
from cpd.runs.standing import INTERRUPTED, standing
from cpd.runs.store import Store
from cpd.runs.supervisor import Supervisor, ensure
from cpd.runs.worker import main, run_foreground
from cpd.runs.workspace import open_workspace, run_folder
from tests.runs.conftest import REPOSITORY, end_processes, kill, set_policy, wait, wait_over, walked
from tests.runs.test_processes import is_whole, walk


def prepared(root: Path, store: Store, run: str, spec: RunSpec) -> Path:
    """A run that is about to be worked on, and that no supervisor knows of."""
    folder = run_folder(root, run)
    folder.mkdir()
    store.add(run, spec)
    store.launch(run)
    return folder


# Memory --------------------------------------------------------------------------------------------------------------


def test_memory_that_runs_out_halves_the_images_at_a_time_once(root, store):
    """The limit is real: 200 MB at once are refused, 100 MB are given."""
    run = submit(root, walk(seed=5, steps=40, fail="hungry", batch_size=8, accumulate=1))
    row = wait_over(store, run)
    is_whole(root, store, run, 5, 40)
    assert row.halvings == 1
    said = [event.text for event in store.events(run, kinds=["error"])]
    assert said == [
        "This machine ran out of memory with 8 images at a time; the run goes on from its last checkpoint with 4 at a time "
        "and gradients added up, so that a step still sees as many images"
    ]
    assert store.events(run, kinds=["resume"])[0].step == 15


def test_memory_that_runs_out_again_is_the_end(root, store):
    run = submit(root, walk(steps=40, fail="ravenous", batch_size=9, accumulate=1))
    row = wait_over(store, run)
    assert (row.state, row.halvings) == ("failed", 1)
    assert row.error == (
        "This machine ran out of memory, also with only 3 images at a time; use a smaller batch size, then resume the run."
    )


def test_memory_that_runs_out_on_the_command_line_too(root, tmp_path):
    row = run_foreground(tmp_path / "out", walk(seed=3, steps=20, fail="hungry", batch_size=2))
    assert (row.state, row.halvings) == ("finished", 1)


def test_a_worker_that_the_system_killed_for_memory_is_halved_too(root, store, monkeypatch):
    """As the kernel does it: SIGKILL, and its count of such kills rises."""
    folder = prepared(root, store, "walk-1", walk(batch_size=8, accumulate=1))
    book, counted = Supervisor(root, Policy(), Dead(-9)), iter([7, 8])
    monkeypatch.setattr(supervisor_module, "_oom_kills", lambda: next(counted))
    store.requeue("walk-1", 0.0)
    book.tend()
    book.tend()
    row = store.run("walk-1")
    assert (row.state, row.halvings, folder.is_dir()) == ("queued", 1, True)
    assert "with 4 at a time" in store.events("walk-1", kinds=["error"])[0].text


# Numbers -------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_and_rolls_it_back(root, store):
    folder = prepared(root, store, "walk-nan", walk(steps=60, every=7, fail="nan"))
    assert main([str(folder)]) == 1
    row = store.run("walk-nan")
    assert (row.state, row.step) == ("failed", 28)
    assert row.error == (
        "The loss is no longer finite at step 30; lower lr (now 0.1). The run was stopped, and it is back at step 28, its last "
        "good checkpoint."
    )
    assert store.metrics("walk-nan")["train/loss"].steps[-1] == 28
    assert store.events("walk-nan", kinds=["error"])[0].step == 28


def test_a_loss_that_is_no_number_before_any_checkpoint(root, store):
    folder = prepared(root, store, "walk-nan", walk(steps=60, every=100, fail="nan"))
    assert main([str(folder)]) == 1
    assert store.run("walk-nan").error.endswith("The run was stopped, and nothing was saved before, so it begins anew.")


# Disks ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace on a file system of its own, of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "cpd-test", str(place)], capture_output=True, check=False, timeout=60
    )
    if made.returncode:
        pytest.skip("mounting a file system needs root; RLIMIT_FSIZE stands in elsewhere")
    monkeypatch.setenv("CPD_JOBS", "tests.runs.rehearsal")
    monkeypatch.setenv("CPD_HOME", str(place / "home"))
    root = open_workspace()
    set_policy(root, poll_s=0.03, backoff_s=0.05)
    try:
        yield root
    finally:
        end_processes(root)
        time.sleep(0.2)
        subprocess.run(["umount", "-l", str(place)], check=False, timeout=60)


def test_a_disk_that_fills_up_is_a_named_end_and_the_run_goes_on_once_there_is_room(small_disk):
    root, store = small_disk, Store(small_disk / "runs.db")
    run = submit(root, walk(seed=8, steps=40, fail="fill"))
    row = wait_over(store, run)
    assert row.state == "failed"
    assert "No space left on device" in row.error or "the disk is full" in row.error
    assert store.metrics(run)["train/loss"].steps[-1] == 20
    assert resume(root, run).state == "queued"  # too early
    assert "the disk is full; free some space" in wait_over(store, run).error
    (run_folder(root, run) / "big").unlink()
    (run_folder(root, run) / "filled").touch()
    resume(root, run)
    wait_over(store, run)
    is_whole(root, store, run, 8, 40)
    store.close()


def test_a_disk_too_full_even_to_say_so_is_seen_by_whoever_looks(small_disk):
    """The worker is killed and the last byte is taken: the row says running, and cannot be changed."""
    root, store = small_disk, Store(small_disk / "runs.db")
    run = submit(root, walk(seed=6, steps=300, sleep_s=0.01))
    wait(lambda: store.run(run).step > 20, what="some steps")
    wait(lambda: kill(root / "supervisor.lock"), what="the supervisor")
    assert kill(run_folder(root, run) / "lock")
    with open(root / "taken", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 512)
    wait(lambda: not is_held(run_folder(root, run) / "lock"), what="the worker's death")
    said = standing(root, store.run(run))
    assert said.state == INTERRUPTED
    assert "the disk is full; free some space and try again" in said.sentence
    ensure(root)
    time.sleep(0.5)
    (root / "taken").unlink()
    ensure(root)
    wait_over(store, run, 40)
    is_whole(root, store, run, 6, 300)
    store.close()


def test_a_folder_that_may_not_be_written_is_a_named_end(root, store):
    """Root may write anywhere, so the worker gives that right up first."""
    command = [sys.executable, "-m", "cpd.runs.worker"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("without setpriv root cannot be kept from writing")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    folder = prepared(root, store, "walk-closed", walk(seed=2, steps=30))
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    checkpoints.chmod(0o500)
    done = subprocess.run(
        [*command, str(folder)], env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, check=False, timeout=300
    )
    row = store.run("walk-closed")
    assert (done.returncode, row.state) == (1, "failed")
    assert "permission denied; choose a folder of your own" in row.error
    checkpoints.chmod(0o700)
    resume(root, "walk-closed")
    wait_over(store, "walk-closed")
    is_whole(root, store, "walk-closed", 2, 30)


# The store -----------------------------------------------------------------------------------------------------------


def test_a_locked_store_delays_the_start_and_the_stop_of_a_run(root, store):
    run = submit(root, walk(seed=9, steps=4000, sleep_s=0.01))
    wait(lambda: store.run(run).step > 10, what="some steps")
    stop(root, run)
    other = sqlite3.connect(root / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(1.0)
    assert store.run(run).state == "stopping"  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    row = wait_over(store, run)
    assert row.state == "stopped"
    assert list(store.metrics(run, most=10**6)["train/loss"].values) == walked(9, row.step)


# The clock -----------------------------------------------------------------------------------------------------------


class Dead:
    """A launcher whose workers die at once; `alive` makes them live."""

    def __init__(self, code: int | None, alive: bool = False) -> None:
        self.code, self.alive, self.killed = code, alive, 0

    def places(self) -> list[str]:
        return [""]

    def launch(self, run_dir: Path, place: str = "") -> Handle:
        return Handle(run_dir, 1)

    def poll(self, handle: Handle) -> Poll:
        return Poll(self.alive, None if self.alive else self.code)

    def cancel(self, handle: Handle, force: bool = False) -> None:
        self.killed += force

    def logs(self, handle: Handle, last: int = 200) -> list[str]:
        return []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The wall clock is off by this many seconds; the one that never jumps is not."""
    off, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + off[0])
    return off


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_while_a_dead_run_waits_for_its_restart(root, store, clock, jump):
    prepared(root, store, "walk-1", walk())
    store.requeue("walk-1", time.time() + 0.05)
    clock[0] = jump
    book = Supervisor(root, Policy(), Dead(1, alive=True))
    wait(lambda: bool(book.tend()) and store.run("walk-1").state == "running", 5, "the restart")
    book.close()


def test_a_clock_put_back_does_not_keep_a_dead_run_running(root, store, clock, monkeypatch):
    """Launched by a supervisor that is gone, and its worker never came up; then the clock goes back a day."""
    monkeypatch.setattr(supervisor_module, "_STARTING_S", 0.3)
    prepared(root, store, "walk-1", walk())
    clock[0] = -86_400.0
    book = Supervisor(root, Policy(parallel=0), Dead(None))
    assert book.tend()
    assert store.run("walk-1").state == "running"  # it may still be on its way
    wait(lambda: bool(book.tend()) and store.run("walk-1").state == "queued", 5, "the end of patience")
    assert "killed, or the machine was restarted" in store.events("walk-1", kinds=["error"])[0].text
    book.close()


@pytest.mark.parametrize("jump, soon", [(-86_400.0, False), (86_400.0, False), (0.0, True)])
def test_a_stop_is_enforced_after_the_same_time_whatever_the_clock_says(root, store, clock, jump, soon):
    launcher = Dead(None, alive=True)
    prepared(root, store, "walk-1", walk())
    store.requeue("walk-1", 0.0)
    book = Supervisor(root, Policy(kill_after_s=0.4), launcher)
    book.tend()
    store.begin("walk-1")
    store.request_stop("walk-1")
    clock[0] = jump
    book.tend()
    assert launcher.killed == 0  # not at once, although a day has "passed"
    wait(lambda: bool(book.tend()) and launcher.killed > 0, 5, "the kill")
    launcher.alive = False
    book.tend()
    assert store.run("walk-1").state == "stopped"
    book.close()
