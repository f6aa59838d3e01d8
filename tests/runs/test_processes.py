"""Runs as real processes: kills of anything at any moment, stops, failures, and who may do what twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cpd.errors import RunError
from cpd.runs.control import resume, stop, submit
from cpd.runs.launcher import LocalLauncher, detached, read_log
from cpd.runs.lock import FileLock, holder, is_held
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.supervisor import ensure
from cpd.runs.worker import NOT_NEEDED, run_foreground
from cpd.runs.workspace import run_folder
from tests.runs.conftest import REPOSITORY, kill, set_policy, wait, wait_over, walked
from tests.within import join, within


def walk(seed: int = 0, **options) -> RunSpec:
    return RunSpec("walk", seed=seed, options=options)


def is_whole(root: Path, store: Store, run: str, seed: int, steps: int) -> None:
    """The run left exactly what an uninterrupted one leaves, by an account that knows no engine."""
    places = walked(seed, steps)
    assert store.run(run).state == "finished", store.run(run).error
    result = json.loads((run_folder(root, run) / "result.json").read_text())
    assert result["place"] == places[-1]
    series = store.metrics(run, ["train/loss"], most=10**6)["train/loss"]
    assert series.steps == tuple(range(1, steps + 1))
    assert list(series.values) == places
    assert [e.step for e in store.events(run, kinds=["cut"])] == list(range(20, steps + 1, 20))
    assert len(store.events(run, kinds=["finish"])) == 1
    assert not list(run_folder(root, run).rglob(".tmp-*"))


def test_a_run_goes_from_the_queue_to_its_end(root, store):
    run = submit(root, walk(seed=4, steps=40))
    row = wait_over(store, run)
    is_whole(root, store, run, 4, 40)
    assert (row.step, row.total, row.attempts, row.error) == (40, 40, 1, "")
    assert row.created <= row.launched <= row.started <= row.finished
    assert not (run_folder(root, run) / "reserve").exists()
    wait(lambda: not is_held(root / "supervisor.lock"), what="the end of a supervisor without work")


def test_kills_at_random_moments_change_nothing(root, store):
    """Worker and supervisor are killed again and again; the test does what the app does: it calls `ensure`."""
    set_policy(root, poll_s=0.02, backoff_s=0.0, max_attempts=10_000, parallel=2)
    dice, steps = random.Random(5), 60
    runs = {submit(root, walk(seed=seed, steps=steps, sleep_s=0.006)): seed for seed in range(8)}
    kills = {"worker": 0, "supervisor": 0}
    deadline = time.monotonic() + 90
    while not all(store.run(run).is_over for run in runs):
        assert time.monotonic() < deadline, [store.run(run) for run in runs]
        time.sleep(dice.uniform(0.02, 0.25))
        alive = [run_folder(root, run) / "lock" for run in runs if is_held(run_folder(root, run) / "lock")]
        if alive and dice.random() < 0.75 and kills["worker"] < 30:
            kills["worker"] += kill(dice.choice(alive))
        if dice.random() < 0.3:
            kills["supervisor"] += kill(root / "supervisor.lock")
        ensure(root)
    for run, seed in runs.items():
        is_whole(root, store, run, seed, steps)
    assert kills["worker"] > 10, kills
    assert kills["supervisor"] > 1, kills


def test_a_killed_training_ends_with_the_same_weights_to_the_last_bit(root, store, tmp_path):
    spec = RunSpec("learn", seed=3, options={"steps": 120, "sleep_s": 0.01})
    assert run_foreground(tmp_path / "calm", spec).state == "finished"
    run = submit(root, spec)
    lock = run_folder(root, run) / "lock"
    for step in (25, 70):
        wait(lambda step=step: store.run(run).step >= step, 60, f"step {step}")
        assert kill(lock)
    wait_over(store, run, 60)
    assert len(store.events(run, kinds=["resume"])) == 2
    weights = [path / "net.safetensors" for path in (tmp_path / "calm", run_folder(root, run))]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    calm = Store(tmp_path / "calm" / "runs.db").metrics("run", most=1000)
    assert store.metrics(run, most=1000) == calm


def test_a_run_outlives_the_app_and_is_found_again(root, store):
    """Somebody submits, and then their whole process group is killed, as a terminal or a service manager does it."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from cpd.runs.control import submit; from cpd.runs.spec import RunSpec\n"
        "print(submit(Path(sys.argv[1]), RunSpec('walk', seed=2, options={'steps': 200})), flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with (
        subprocess.Popen(
            [sys.executable, "-c", code, str(root)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
        ) as app,
        within(app, 60, "an app that submits, and its run's first steps"),
    ):
        assert app.stdout is not None
        run = app.stdout.readline().strip()
        wait(lambda: store.run(run).step > 20, what="the run's first steps")
        os.killpg(app.pid, signal.SIGKILL)
    assert [row.id for row in store.list_runs()] == [run]
    wait_over(store, run)
    is_whole(root, store, run, 2, 200)


def test_a_machine_that_was_switched_off_goes_on_at_the_next_start(root, store):
    run = submit(root, walk(seed=6, steps=200))
    wait(lambda: store.run(run).step > 30, what="some steps")
    wait(lambda: kill(root / "supervisor.lock"), what="the supervisor")
    assert kill(run_folder(root, run) / "lock")
    wait(lambda: not is_held(run_folder(root, run) / "lock"), what="the worker's death")
    time.sleep(0.3)
    assert store.run(run).state == "running"  # nobody is left who could say otherwise
    assert ensure(root)
    wait_over(store, run)
    is_whole(root, store, run, 6, 200)


def test_stop_keeps_a_checkpoint_and_resume_goes_on(root, store):
    run = submit(root, walk(seed=1, steps=120, sleep_s=0.01))
    wait(lambda: store.run(run).step > 10, what="some steps")
    assert stop(root, run).state == "stopping"
    row = wait_over(store, run)
    assert row.state == "stopped"
    assert 10 < row.step < 120
    assert stop(root, run).state == "stopped"
    assert resume(root, run).state == "queued"
    wait_over(store, run)
    is_whole(root, store, run, 1, 120)
    assert store.events(run, kinds=["resume"])[0].step == row.step  # not a step was lost
    with pytest.raises(RunError, match="only a paused, stopped or failed run"):
        resume(root, run)


def test_sigterm_is_a_stop_with_a_checkpoint(root, store):
    run = submit(root, walk(seed=1, steps=500, every=1000))
    wait(lambda: store.run(run).step > 10, what="some steps")
    assert kill(run_folder(root, run) / "lock", signal.SIGTERM)
    row = wait_over(store, run)
    assert row.state == "stopped"
    assert list((run_folder(root, run) / "checkpoints").glob(f"step-{row.step:010d}*.json"))


def test_a_queued_run_stops_at_once_and_never_starts(root, store):
    first = submit(root, walk(steps=100, sleep_s=0.01))
    second = submit(root, walk(steps=100))
    assert stop(root, second).state == "stopped"
    stop(root, first)
    wait_over(store, first)
    wait(lambda: not is_held(root / "supervisor.lock"), what="the supervisor's end")
    assert store.run(second).launched == 0


def test_a_run_that_does_not_listen_is_killed_in_the_end(root, store):
    set_policy(root, poll_s=0.03, kill_after_s=0.3)
    run = submit(root, walk(steps=100_000, linger=True))
    wait(lambda: store.run(run).step > 5, what="some steps")
    stop(root, run)
    assert wait_over(store, run).state == "stopped"
    assert not is_held(run_folder(root, run) / "lock")


def test_one_run_at_a_time_in_the_order_of_the_queue(root, store):
    runs = [submit(root, walk(seed=n, steps=20)) for n in range(4)]
    rows = [wait_over(store, run) for run in runs]
    for before, after in zip(rows, rows[1:], strict=False):
        assert before.finished <= after.launched


def test_two_workers_for_one_run_are_impossible(root, store):
    run = submit(root, walk(steps=300, sleep_s=0.01))
    folder = run_folder(root, run)
    wait(lambda: store.run(run).step > 2, what="the first worker")
    first = holder(folder / "lock")
    others = [LocalLauncher() for _ in range(3)]
    handles = [other.launch(folder) for other in others]
    wait(lambda: all(o.poll(h).exit_code is not None for o, h in zip(others, handles, strict=True)), what="their end")
    assert [o.poll(h).exit_code for o, h in zip(others, handles, strict=True)] == [NOT_NEEDED] * 3
    assert holder(folder / "lock") == first
    assert store.run(run).attempts == 1
    stop(root, run)
    wait_over(store, run)
    again = LocalLauncher()
    late = again.launch(folder)
    wait(lambda: again.poll(late).exit_code is not None, what="a worker without work")
    assert again.poll(late).exit_code == NOT_NEEDED
    assert store.run(run).state == "stopped"


def test_of_many_supervisors_one_stays(root, store):
    run = submit(root, walk(steps=150, sleep_s=0.01))
    children = [
        detached([sys.executable, "-m", "cpd.runs.supervisor", str(root)], root / "others.log") for _ in range(4)
    ]
    wait(lambda: sum(child.poll() is None for child in children) <= 1, what="the others' end")
    wait_over(store, run)
    assert store.run(run).attempts == 1
    for child in children:
        child.wait(10)


@pytest.mark.parametrize(
    "fail, error",
    [
        ("data", "digits: the data set is not there; install scikit-learn."),
        ("bug", "Unexpected ZeroDivisionError: division by zero; the traceback is in worker.log."),
        ("memory", "This machine ran out of memory; use a smaller batch size, then resume the run."),
    ],
)
def test_a_failure_ends_in_one_sentence_and_is_not_tried_again(root, store, fail, error):
    run = submit(root, walk(steps=40, fail=fail))
    row = wait_over(store, run)
    assert (row.state, row.error, row.attempts) == ("failed", error, 1)
    assert store.metrics(run)["train/loss"].steps[-1] == 20  # up to the failure nothing is lost
    assert store.events(run, kinds=["error"])[0].text == error
    assert any(line.startswith("Traceback") for line in read_log(run_folder(root, run)))


def test_a_run_that_always_dies_is_given_up(root, store):
    set_policy(root, poll_s=0.03, backoff_s=0.05, max_attempts=3)
    run = submit(root, walk(steps=30, every=100, fail="die"))
    row = wait_over(store, run)
    assert row.state == "failed"
    assert row.error.startswith("The worker died 3 times without getting further (exit status 13)")
    assert row.attempts == 3


def test_a_worker_that_cannot_even_start_is_given_up(root, store):
    set_policy(root, poll_s=0.03, backoff_s=0.0, max_attempts=2)
    run = "walk-locked"
    (run_folder(root, run) / "lock").mkdir(parents=True)  # no worker can take this lock
    store.add(run, walk())
    ensure(root)
    row = wait_over(store, run)
    assert (row.state, row.attempts) == ("failed", 2)
    assert row.error.startswith("The worker died 2 times without getting further (exit status 2)")


def test_a_full_disk_is_a_named_end_and_the_run_can_be_resumed(root, store):
    """The worker's files may not grow past 2 MB, as on a full disk; the store stays below that."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
        "from cpd.runs.worker import main; sys.exit(main(sys.argv[1:]))"
    )
    run = "walk-full"
    run_folder(root, run).mkdir()
    store.add(run, walk(seed=8, steps=40, fail="disk"))
    store.launch(run)
    done = subprocess.run(
        [sys.executable, "-c", code, str(run_folder(root, run))],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
        timeout=300,
    )
    row = store.run(run)
    assert (done.returncode, row.state) == (1, "failed")
    assert "the limit on file size is reached" in row.error
    assert store.metrics(run)["train/loss"].steps[-1] == 20
    (run_folder(root, run) / "big").unlink()
    resume(root, run)
    wait_over(store, run)
    assert store.events(run, kinds=["resume"])[0].step == 15


def test_a_locked_store_delays_a_run_and_loses_nothing(root, store):
    import sqlite3

    run = submit(root, walk(seed=9, steps=100, sleep_s=0.01))
    wait(lambda: store.run(run).step > 10, what="some steps")
    other = sqlite3.connect(root / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(6)  # longer than a single call waits
    other.execute("ROLLBACK")
    wait_over(store, run, 30)
    is_whole(root, store, run, 9, 100)


def test_the_lock_dies_with_the_worker_although_its_children_live(tmp_path):
    """A data loader's forked child must not keep a dead worker's run locked."""
    code = (
        "import os, sys, time; from pathlib import Path; from cpd.runs.lock import FileLock\n"
        "assert FileLock(Path(sys.argv[1])).acquire()\n"
        "if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    lock = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        stdout=subprocess.PIPE, start_new_session=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    ) as worker, within(worker, 30, "a process with a lock"):  # fmt: skip
        assert worker.stdout is not None
        worker.stdout.readline()
        assert holder(lock) == worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        wait(lambda: not is_held(lock), 5, "a free lock")
        os.killpg(worker.pid, signal.SIGKILL)


def test_looking_at_a_lock_does_not_keep_anybody_from_taking_it(tmp_path):
    stopped = threading.Event()

    def look() -> None:
        while not stopped.is_set():
            is_held(tmp_path / "lock")

    threads = [threading.Thread(target=look, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            lock = FileLock(tmp_path / "lock")
            assert lock.acquire()
            lock.release()
    finally:
        stopped.set()
        join(threads, 30, "a look at the lock")


class TestForeground:
    """What `python -m cpd run --out DIR` does."""

    class Seen:
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.texts: list[str] = []

        def metric(self, step, values):
            assert "train/loss" in values

        def event(self, step, kind, text, data):
            self.texts.append(text)

        def progress(self, step, total):
            self.steps.append(step)

    def test_a_run_in_a_folder_of_its_own(self, root, tmp_path):
        seen = self.Seen()
        row = run_foreground(tmp_path / "out", walk(seed=3, steps=20), seen)
        assert (row.state, seen.steps, seen.texts) == ("finished", list(range(1, 21)), ["cut at 20"])
        assert json.loads((tmp_path / "out" / "result.json").read_text())["place"] == walked(3, 20)[-1]
        assert run_foreground(tmp_path / "out", walk(seed=3, steps=20)).finished == row.finished

    def test_another_run_is_not_mixed_into_it(self, root, tmp_path):
        run_foreground(tmp_path / "out", walk(seed=3, steps=20))
        with pytest.raises(RunError, match=r"out holds another run \(other options, seed\); choose an empty folder"):
            run_foreground(tmp_path / "out", walk(seed=4, steps=21))

    def test_a_failed_one_is_resumed(self, root, tmp_path):
        row = run_foreground(tmp_path / "out", walk(steps=40, fail="once"))
        assert (row.state, row.error) == ("failed", "digits: the data set is not there; install scikit-learn.")
        assert "Traceback" in (tmp_path / "out" / "worker.log").read_text()
        assert run_foreground(tmp_path / "out", walk(steps=40, fail="once")).state == "finished"
        assert json.loads((tmp_path / "out" / "result.json").read_text())["place"] == walked(0, 40)[-1]

    def test_ctrl_c_saves_a_checkpoint(self, root, tmp_path):
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        row = run_foreground(tmp_path / "out", walk(seed=2, steps=100, sleep_s=0.01))
        assert row.state == "stopped"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        row = run_foreground(tmp_path / "out", walk(seed=2, steps=100, sleep_s=0.01))
        assert row.state == "finished"
        assert json.loads((tmp_path / "out" / "result.json").read_text())["place"] == walked(2, 100)[-1]

    def test_a_folder_in_use_is_refused(self, root, tmp_path):
        (tmp_path / "out").mkdir()
        lock = FileLock(tmp_path / "out" / "lock")
        assert lock.acquire()
        with pytest.raises(RunError, match=f"process {os.getpid()} is doing this run already"):
            run_foreground(tmp_path / "out", walk())
        lock.release()
