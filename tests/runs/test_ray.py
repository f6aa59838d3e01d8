"""Runs on a real Ray cluster of two nodes on this machine: spread, stopped, found again, and finished though a node dies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from cpd.runs.control import pause, resume, submit
from cpd.runs.lock import holder
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.supervisor import ensure
from cpd.runs.worker import run_foreground
from cpd.runs.workspace import run_folder
from cpd.sensitivity.table import SensitivityTable
from tests.runs.conftest import kill, set_policy, wait, wait_over, walked
from tests.sensitivity.test_job import NETWORK, SETTINGS, values
from tests.within import kill_family

pytest.importorskip("ray", reason="ray is not installed: requirements-cluster.txt")
PATIENCE_S = 240.0


class Cluster:
    """A head that takes no runs, and two nodes of one processor each, all on the loopback address."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        # A node that is silent for this long is dead. Generous beside what a busy machine may keep one waiting.
        patience = {"health_check_period_ms": 1000, "health_check_failure_threshold": 10}
        common: dict[str, Any] = {
            "include_dashboard": False,
            "include_log_monitor": False,
            "object_store_memory": 80 << 20,
        }
        common["node_ip_address"] = "127.0.0.1"
        self.nodes = Nodes(True, head_node_args={**common, "num_cpus": 0, "_system_config": patience})
        self.two: dict[str, Any] = {}
        self._common = common
        self.complete()

    def complete(self) -> None:
        """Two nodes, whatever has become of those before."""
        while len(self.two) < 2:
            node = self.nodes.add_node(**self._common, num_cpus=1)
            self.two[node.node_id] = node

    @property
    def address(self) -> str:
        return str(self.nodes.address)

    def kill(self, place: str) -> None:
        """Everything on a node at once, as a power cut would."""
        node = self.two.pop(place)
        kill_family(node.all_processes["raylet"][0].process.pid)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster()
    yield made
    made.nodes.shutdown()


@pytest.fixture
def far(root, cluster, monkeypatch):
    """The workspace's runs go to the cluster."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (root / "cluster.json").write_text(json.dumps({"ray": cluster.address}))
    set_policy(root, poll_s=0.1, backoff_s=0.05)
    return root


def where(root, run: str) -> str:
    """The node that a run was given to."""
    try:
        return str(json.loads((run_folder(root, run) / "relay" / "actor.json").read_text())["place"])
    except FileNotFoundError:
        return ""


def test_runs_on_two_nodes_are_steered_and_outlive_the_supervisor(far, store):
    runs = [submit(far, RunSpec("walk", seed=n, options={"steps": 1000, "sleep_s": 0.02})) for n in range(2)]
    wait(lambda: all(store.run(run).step > 5 for run in runs), PATIENCE_S, "both at once")
    assert where(far, runs[0]) != where(far, runs[1]) != ""
    lock = far / "supervisor.lock"
    first = holder(lock)
    assert kill(lock)
    wait(lambda: holder(lock) != first, what="the supervisor's death")
    ensure(far)  # another may have begun already: each of the two runs saw to one, and whoever came second was waiting
    pause(far, runs[0])
    assert wait_over(store, runs[0], PATIENCE_S).state == "paused"
    assert store.run(runs[1]).attempts == 1  # found again, not started again
    wait(lambda: not (run_folder(far, runs[0]) / "relay").exists(), what="nothing left behind")
    resume(far, runs[0])
    for seed, run in enumerate(runs):
        row = wait_over(store, run, PATIENCE_S)
        assert row.state == "finished", row.error
        series = store.metrics(run, ["train/loss"], most=10**6)["train/loss"]
        assert list(series.values) == walked(seed, 1000)
    assert len(store.events(runs[0], kinds=["resume"])) == 1


def test_a_run_whose_node_dies_finishes_on_the_other_with_the_same_weights(far, store, cluster, tmp_path):
    spec = RunSpec("learn", seed=3, options={"steps": 300, "sleep_s": 0.02})
    run = submit(far, spec)
    wait(lambda: store.run(run).step >= 25, PATIENCE_S, "step 25")
    first = where(far, run)
    cluster.kill(first)
    row = wait_over(store, run, PATIENCE_S)
    assert row.state == "finished", row.error
    (died,) = store.events(run, kinds=["error"])
    assert "its node, or the actor beside it, is gone" in died.text
    assert store.events(run, kinds=["resume"])[0].step >= 20
    assert run_foreground(tmp_path / "calm", spec).state == "finished"
    weights = [path / "net.safetensors" for path in (tmp_path / "calm", run_folder(far, run))]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    calm = Store(tmp_path / "calm" / "runs.db").metrics("run", most=1000)
    assert store.metrics(run, most=1000) == calm


def test_a_scan_that_two_nodes_share_is_finished_by_the_one_that_is_left(far, store, cluster, tmp_path):
    cluster.complete()
    (tmp_path / "net.py").write_text(NETWORK)
    options = SETTINGS | {"latency_s": 1.0}  # so long that neither is done before the other has begun
    spec = RunSpec("sense", model=f"{tmp_path}/net.py:Net", data="digits", options=options | {"nodes": 2})
    run = submit(far, spec)
    (helper,) = store.list_runs(None, ("share",))
    groups, hand = run_folder(far, run) / "shared", run_folder(far, helper.id) / "lock"
    wait(lambda: holder(hand) in {holder(lock) for lock in groups.glob("*.lock")} - {None}, PATIENCE_S, "both at it")
    assert where(far, run) != where(far, helper.id) != ""
    cluster.kill(where(far, helper.id))
    row = wait_over(store, run, PATIENCE_S)
    assert row.state == "finished", row.error
    assert row.attempts == 1
    calm = run_foreground(tmp_path / "calm", RunSpec(**{**vars(spec), "options": SETTINGS}))
    assert calm.state == "finished", calm.error
    alone, shared = (
        SensitivityTable.from_dict(json.loads((path / "result.json").read_text()))
        for path in (tmp_path / "calm", run_folder(far, run))
    )
    assert shared.done
    assert values(shared) == values(alone)
