"""One scan by several workers: dealt out without a gap or an overlap, and finished whoever dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cpd.runs import shared_scan
from cpd.runs.control import stop, submit
from cpd.runs.lock import FileLock
from cpd.runs.shared_scan import Shared
from cpd.runs.spec import RunSpec
from cpd.runs.worker import main, run_foreground
from cpd.runs.workspace import run_folder
from cpd.sensitivity.table import GroupSensitivity, Point, SensitivityTable
from cpd.sensitivity.turns import Found
from tests.runs.conftest import REPOSITORY, set_policy, wait
from tests.sensitivity.test_job import NETWORK, SETTINGS, values
from tests.within import join, kill_family, within

NAMES = ("stem", "a/b", "c:heads", "last")


def found(kept: int) -> Found:
    return Found(
        GroupSensitivity((Point(8, 0.9, 0.8, 1.0, 10, 2.0), Point(kept, 0.5, 0.4, 0.6, 10, 1.0)), "", ("z",)), 2.0
    )


def nothing() -> None:
    pass


def test_every_group_is_measured_once_and_the_leader_hears_of_all(tmp_path):
    measured: list[str] = []
    gathered: dict[str, Found] = {}

    def work(leads: bool) -> None:
        share = Shared(tmp_path, leads)
        for name, known in share.turns(NAMES, nothing):
            if known is None:
                time.sleep(0.02)
                measured.append(name)
                known = found(NAMES.index(name) + 1)
                share.keep(name, known)
            if leads:
                gathered[name] = known

    threads = [threading.Thread(target=work, args=(number == 0,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    join(threads, 60, "a worker")
    assert sorted(measured) == sorted(NAMES)
    assert gathered == {name: found(number) for number, name in enumerate(NAMES, 1)}


def test_a_group_whose_worker_says_nothing_is_measured_a_second_time(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_scan, "_PATIENCE_S", 0.5)
    stuck, waited = FileLock(tmp_path / "shared" / "00001.lock"), []
    share = Shared(tmp_path, leads=True)
    assert stuck.acquire()
    start = time.monotonic()
    assert [name for name, _ in share.turns(NAMES, lambda: waited.append(1))] == ["stem", "c:heads", "last", "a/b"]
    assert 0.5 < time.monotonic() - start < 20
    assert waited
    assert [name for name, _ in Shared(tmp_path, leads=False).turns(["a", "b"], nothing)] == ["a"]  # no waiting
    stuck.release()


def test_who_helps_leaves_with_the_leader_and_all_go_by_the_first_ones_scores(tmp_path):
    leader, helper = Shared(tmp_path, leads=True), Shared(tmp_path, leads=False)
    assert leader.agreed(lambda: "first") == helper.agreed(lambda: "second") == "first"
    turns = helper.turns(NAMES, nothing)
    next(turns)
    leader.close()
    assert helper.is_over
    assert not list(turns)
    assert not Shared(tmp_path, leads=True).is_over
    assert not helper.is_over  # the leader is back


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "net.py").write_text(NETWORK)
    return RunSpec("sense", model=f"{tmp_path}/net.py:Net", data="digits", options=SETTINGS | {"nodes": 2})


def test_helpers_are_queued_and_stopped_with_the_scan(root, store, tiny):
    set_policy(root, parallel=0, light=0)
    run = submit(root, tiny)
    (helper,) = store.list_runs(None, ("share",))
    assert helper.spec.options == SETTINGS | {"scan": run}
    assert [row.id for row in store.queue()] == [run, helper.id]
    stop(root, run)
    assert {store.run(run).state, store.run(helper.id).state} == {"stopped"}


def test_a_scan_whose_helper_is_killed_ends_with_the_table_of_one(root, store, tiny, tmp_path):
    set_policy(root, parallel=0, light=0)  # nobody else starts the workers
    run = submit(root, tiny)
    (helper,) = store.list_runs(None, ("share",))
    folder = run_folder(root, run) / "shared"
    store.launch(helper.id)
    command = [sys.executable, "-m", "cpd.runs.worker", str(run_folder(root, helper.id))]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}) as worker:
        with within(worker, 300, "the helper's second group"):
            wait(lambda: (folder / "00001.lock").exists(), 290, "the helper's second group")
        kill_family(worker.pid)
    assert (folder / "00000.json").exists()
    store.launch(run)
    assert main([str(run_folder(root, run))]) == 0
    assert run_foreground(tmp_path / "calm", RunSpec(**{**vars(tiny), "options": SETTINGS})).state == "finished"
    calm, shared = (
        SensitivityTable.from_dict(json.loads((path / "result.json").read_text()))
        for path in (tmp_path / "calm", run_folder(root, run))
    )
    assert shared.done
    assert values(shared) == values(calm)
    assert all(point.latency_ms for group in shared.groups.values() for point in group.points)
