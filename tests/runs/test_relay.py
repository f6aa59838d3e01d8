"""What a worker on another machine says, and what the supervisor makes of it: the same store as one that it writes itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cpd.errors import RunError, StorageError
from cpd.runs import leash, relay
from cpd.runs.context import RunContext
from cpd.runs.policy import Policy
from cpd.runs.ray_launcher import RayLauncher, cluster_of
from cpd.runs.relay import Relay, carry_out, prepare
from cpd.runs.rows import Run
from cpd.runs.spec import RunSpec
from cpd.runs.spread import spread
from cpd.runs.supervisor import Supervisor
from cpd.runs.workspace import run_folder
from tests.runs.conftest import REPOSITORY
from tests.within import within


def life(records, run, context) -> None:
    """All that a worker asks of a store, in one life."""
    records.begin(run)
    context.load()
    for step in range(1, 6):
        context.log(step, {"train/loss": 1 / step, "odd": float("nan")})
        context.event(step, "note", f"now {step}", at=step)
        context.progress(step, 9)
    context.flush()
    records.rewind(run, 3)
    records.roll_back(run, 3)
    records.got_further(run)
    context.log(4, {"train/loss": 7.5})
    context.close()
    records.finish(run, "failed", "it broke", 4)


def recorded(store, run):
    row = store.run(run)
    events = [(e.step, e.kind, e.text, e.data) for e in store.events(run)]
    metrics = {name: (s.steps, [repr(v) for v in s.values]) for name, s in store.metrics(run).items()}
    return (row.state, row.error, row.step, row.total, row.attempts, events, metrics)


def queued(root, store, *runs):
    for run in runs:
        run_folder(root, run).mkdir()
        store.add(run, RunSpec("walk"))
        store.launch(run)


def test_what_is_relayed_is_what_would_have_been_written(root, store):
    queued(root, store, "near", "far")
    life(store, "near", RunContext(run_folder(root, "near"), RunSpec("walk"), store, "near", root))
    folder = run_folder(root, "far")
    prepare(folder, store.run("far"))
    far = Relay(folder)
    life(far, "far", RunContext(folder, RunSpec("walk"), far, "far", root))
    carry_out(folder, store, "far", ended=False)
    assert store.run("far").state == "running"  # its worker may still be on its way out
    with open(folder / "relay" / "calls.jsonl", "ab") as file:
        file.write(b'["finish", "fini')  # torn by a death
    carry_out(folder, store, "far", ended=True)
    assert recorded(store, "far") == recorded(store, "near")
    (folder / "relay" / "done.json").unlink()  # carried out once more, by a supervisor that was killed before it knew
    store.resume("far")
    store.launch("far")
    carry_out(folder, store, "far", ended=True)
    assert recorded(store, "far") == recorded(store, "near")


def test_who_is_told_to_stop_sees_it(root, store):
    queued(root, store, "far")
    folder = run_folder(root, "far")
    prepare(folder, store.run("far"))
    far = Relay(folder)
    assert not far.advance("far", [(1, "a", 1.0)], (1, 2))
    relay.ask(folder)
    assert far.advance("far", [])
    assert far.run("far").state == "stopping"
    far.finish("far", "stopped", step=1)
    store.request_pause("far")
    carry_out(folder, store, "far", ended=True)
    assert store.run("far").state == "paused"  # as it was asked there


def test_a_worker_that_was_cut_off_writes_into_nothing(root, store):
    queued(root, store, "far")
    folder = run_folder(root, "far")
    prepare(folder, store.run("far"))
    lost = Relay(folder)
    relay.remove(folder)
    with pytest.raises(StorageError):
        lost.add_event("far", 1, "note", "still here")
    with pytest.raises(StorageError):
        Relay(folder)


def test_a_worker_on_a_leash_does_not_outlive_who_holds_it():
    code = "import time; from cpd.runs import leash; leash.put_on(); print('on', flush=True); time.sleep(600)"
    given = os.environ | {"PYTHONPATH": str(REPOSITORY), leash.VARIABLE: "1"}
    with (
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given
        ) as worker,
        within(worker, 120, "a worker on a leash"),
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdout.readline()
        assert worker.poll() is None
        worker.stdin.close()  # as the kernel does when the other process dies
        assert worker.wait(60) == 1


def row(name: str, kind: str = "distill") -> Run:
    return Run(name, RunSpec(kind), "queued", *[0.0] * 7, *[0] * 3, "")


def placed(waiting, working=None, places=("a", "b"), **policy):
    found = spread(waiting, working or {}, places, Policy(**policy), 100.0)
    return [(run.id, place) for run, place in found]


def test_a_queue_spreads_over_machines_and_the_policy_holds_on_each():
    four = [row(f"d{n}") for n in range(4)]
    assert placed(four) == [("d0", "a"), ("d1", "b")]
    assert placed(four, parallel=2) == [("d0", "a"), ("d1", "b"), ("d2", "a"), ("d3", "b")]
    assert placed(four, {"a": [row("x")]}) == [("d0", "b")]
    assert placed(four, places=("a",), parallel=3) == [("d0", "a"), ("d1", "a"), ("d2", "a")]
    assert placed(four, places=()) == []


def test_what_times_a_machine_has_that_one_to_itself():
    queue = [row("t0", "sense"), row("t1", "sense"), row("t2", "measure"), row("d0")]
    assert placed(queue) == [("t0", "a"), ("t1", "b")]
    assert placed(queue, {"a": [row("x")]}, parallel=9) == [
        ("t0", "b")
    ]  # nothing overtakes, and nothing beside a timing
    assert placed([row("d0"), row("c0", "comb")], {"a": [row("x", "sense")]}) == [("d0", "b"), ("c0", "b")]


def test_a_cluster_that_cannot_be_is_the_runs_plain_failure(root, store, monkeypatch):
    (root / "cluster.json").write_text('{"ray": 6379}')
    with pytest.raises(RunError, match="HOST:PORT"):
        cluster_of(root)
    (root / "cluster.json").write_text('{"ray": "127.0.0.1:6379"}')
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    run_folder(root, "far").mkdir()
    store.add("far", RunSpec("walk"))
    book = Supervisor(root, Policy(), RayLauncher(root))
    book.tend()
    assert store.run("far").state == "failed"
    assert "ray is not installed" in store.run("far").error
    assert "requirements-cluster.txt" in store.run("far").error
    book.close()
