"""Pause, resume, stop, move, clone and roll back: by processes, by the library and by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpd.cli import main as cpd_main
from cpd.errors import RunError
from cpd.files import write_json
from cpd.runs import control
from cpd.runs.policy import LIGHT, TIMED, Policy, set_parallel, startable
from cpd.runs.project import create_project
from cpd.runs.rows import Run
from cpd.runs.spec import KINDS, RunSpec
from cpd.runs.standing import INTERRUPTED, standing
from cpd.runs.worker import main as worker_main
from cpd.runs.workspace import run_folder
from tests import tiny
from tests.runs.conftest import kill, wait, wait_over
from tests.runs.test_jobs import QUICK
from tests.runs.test_processes import is_whole, walk

LONG = {"steps": 400, "sleep_s": 0.01}


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody starts a worker."""
    monkeypatch.setattr("cpd.runs.supervisor.ensure", lambda *_: True)


def test_a_paused_run_keeps_its_place_and_loses_no_step(root, store):
    first, second = (control.submit(root, walk(seed=n, **LONG)) for n in (1, 2))
    wait(lambda: store.run(first).step > 10, what="some steps")
    assert control.pause(root, first).state == "pausing"
    row = wait_over(store, first)
    assert row.state == "paused"
    assert 10 < row.step < 400
    assert store.events(first, kinds=["pause"])[0].text == "paused; it keeps its place in the queue"
    wait(lambda: store.run(second).step > 0, what="the next run's turn")
    third = control.submit(root, walk(seed=3, steps=20))
    control.resume(root, first)
    assert [run.id for run in store.queue()] == [first, third]
    control.stop(root, second)
    wait_over(store, second)
    wait_over(store, first, 40)
    is_whole(root, store, first, 1, 400)
    assert store.events(first, kinds=["resume"])[0].step == row.step
    with pytest.raises(RunError, match="is finished; only a waiting or running run can be paused"):
        control.pause(root, first)
    wait_over(store, third)
    assert store.run(third).launched >= store.run(first).finished


def test_a_run_whose_worker_is_dead_can_be_paused(root, store):
    run = control.submit(root, walk(**LONG))
    wait(lambda: store.run(run).step > 10, what="some steps")
    wait(lambda: kill(root / "supervisor.lock"), what="the supervisor")
    kill(run_folder(root, run) / "lock")
    wait(lambda: standing(root, store.run(run)).state == INTERRUPTED, what="the worker's death")
    assert "Its worker died" in standing(root, store.run(run)).sentence
    control.pause(root, run)
    assert wait_over(store, run).state == "paused"


@pytest.mark.usefixtures("idle")
def test_a_clone_is_the_same_work_with_changes(root, store):
    first = control.submit(
        root, RunSpec("train", model="timm:resnet18", data="digits", seed=4, options={"epochs": 2.0, "lr": 0.01})
    )
    other = control.clone(root, first, {"lr": 0.002, "batch_size": 32}, seed=9)
    spec = store.run(other).spec
    assert spec.options == {"epochs": 2.0, "lr": 0.002, "batch_size": 32}
    assert (spec.model, spec.data, spec.seed) == ("timm:resnet18", "digits", 9)
    assert json.loads((run_folder(root, other) / "spec.json").read_text()) == spec.to_dict()
    assert store.run(first).spec.options == {"epochs": 2.0, "lr": 0.01}
    with pytest.raises(RunError, match="no training setting is called 'speed'"):
        control.clone(root, first, {"speed": 3})
    with pytest.raises(RunError, match="there is no run 'nobody'"):
        control.clone(root, "nobody")
    assert len(store.list_runs()) == 2


@pytest.mark.usefixtures("idle")
def test_rolled_back_to_a_checkpoint_and_on_with_another_target(root, store, capsys):
    """A real, tiny network: the new run ends at its own target, and the old one stays as it was."""
    project = create_project(root, "tiny", tiny.SPEC, data="digits", settings={"img_size": 32})
    options = {**QUICK, "steps": 12, "chunks": 4, "target": {"macs": 0.6}, "plan": None}
    old = control.submit(root, project.spec("distill", options=options))
    assert worker_main([str(run_folder(root, old))]) == 0
    before = store.metrics(old)
    places = [row for row in control.checkpoints(root, old) if row.note]
    assert 2 <= len(places) <= 8
    assert cpd_main(["runs", "rollback", old[-6:]]) == 0
    assert "before a cut, at" in capsys.readouterr().out
    place = places[-1]
    assert (
        cpd_main(["runs", "rollback", old, "--to", str(place.step), "--target", "macs=0.3", "--set", "lr=0.0005"]) == 0
    )
    new = capsys.readouterr().out.strip()
    assert store.metrics(new)["train/loss"].steps == tuple(range(1, place.step + 1))
    assert worker_main([str(run_folder(root, new))]) == 0
    row = store.run(new)
    assert (row.state, row.error) == ("finished", "")
    assert (row.spec.options["target"], row.spec.options["lr"]) == ({"macs": 0.3}, 0.0005)
    macs = store.metrics(new)["cost/macs"]
    assert macs.values[-1] <= 0.3 < store.metrics(old)["cost/macs"].values[-1]
    assert store.metrics(new)["train/loss"].steps == tuple(range(1, 13))
    assert (
        store.metrics(new)["train/loss"].values[: place.step] == store.metrics(old)["train/loss"].values[: place.step]
    )
    assert store.events(new, kinds=["note"])[0].text == f"goes on from step {place.step} of {old}"
    assert json.loads((run_folder(root, new) / "result.json").read_text())["plan"]["target"] == {"macs": 0.3}
    assert store.metrics(old) == before
    with pytest.raises(RunError, match=r"has no checkpoint of step 99; there are: "):
        control.roll_back(root, old, 99)
    with pytest.raises(RunError, match="is of kind comb"):
        control.roll_back(root, control.submit(root, project.spec("comb")), 0)


@pytest.mark.usefixtures("idle")
def test_the_command_line_steers_the_queue(root, store, capsys):
    assert cpd_main(["runs", "list"]) == 2
    assert "no run was ever started in this workspace" in capsys.readouterr().err
    runs = [control.submit(root, walk(seed=n)) for n in range(3)]

    def said(*words: str) -> str:
        assert cpd_main(["runs", *words]) == 0
        return capsys.readouterr().out

    assert "number 1 of 3 in the queue" in said("move", runs[2], "first")
    assert "number 3 of 3" in said("move", runs[0], "last")
    assert [run.id for run in store.queue()] == [runs[2], runs[1], runs[0]]
    assert "number 2 of 3" in said("move", runs[0], "up")
    assert "paused" in said("pause", runs[1])
    lines = [line.split() for line in said("list").splitlines()]
    assert [line[:2] for line in lines] == [["1.", runs[2]], ["2.", runs[0]], ["3.", runs[1]]]
    assert lines[2][2] == "paused"
    assert said("resume", runs[1]).startswith(f"{runs[1]}: queued. It waits for its turn.")
    assert "stopped" in said("stop", runs[1])
    rows = [json.loads(line) for line in said("list", "--json").splitlines()]
    assert {row["id"]: row["state"] for row in rows} == {runs[0]: "queued", runs[1]: "stopped", runs[2]: "queued"}
    assert said("parallel") == "1 heavy run goes on at one time, and 1 light one beside.\n"
    assert said("parallel", "3").startswith("3 heavy runs go on")
    assert Policy.of(root).parallel == 3
    for wrong, message in (
        (["move", runs[0], "sideways"], "no place in the queue"), (["move", runs[1], "1"], "only a waiting or paused run"),
        (["pause", "walk"], "stands for several runs"), (["stop", "nothing"], "no run is called 'nothing'"),
        (["parallel", "-1"], "give a number from 0"), (["clone", runs[0], "--set", "speed=1"], "give NAME=VALUE"),
        (["rollback", runs[0], "--to", "3"], "only a training has a checkpoint"),
    ):  # fmt: skip
        assert cpd_main(["runs", *wrong]) == 2
        assert message in capsys.readouterr().err


def row(run: str, kind: str, state: str = "queued", not_before: float = 0.0) -> Run:
    return Run(run, RunSpec(kind), state, 0, 0, 0, 0, 0, 0, not_before, 0, 0, 0, "")


@pytest.mark.parametrize(
    "waiting, working, parallel, start",
    [
        ("distill train", "", 1, "distill"),
        ("distill train", "", 2, "distill train"),
        ("distill", "train", 1, ""),
        ("distill", "train", 0, ""),
        ("distill comb", "train", 1, "comb"),  # what is light does not wait behind a training
        ("comb score", "train", 1, "comb"),
        ("comb measure", "", 1, "comb"),  # what times the machine waits for all others,
        ("measure", "comb", 1, ""),
        ("measure comb train", "comb", 2, ""),  # and they for it
        ("measure comb", "train", 2, "comb"),  # but not as long as a training takes
        ("comb distill", "measure", 2, ""),
        ("measure", "", 1, "measure"),
    ],
)
def test_which_runs_start(waiting, working, parallel, start):
    queue = [row(kind, kind) for kind in waiting.split()]
    busy = [row(kind, kind, "running") for kind in working.split()]
    assert [run.id for run in startable(queue, busy, Policy(parallel=parallel), 0.0)] == start.split()


def test_a_run_that_rests_after_its_worker_died_keeps_its_place():
    resting, next_one = row("a", "train", not_before=130.0), row("b", "train")
    assert startable([resting, next_one], [], Policy(), 100.0) == []
    assert startable([resting, next_one], [], Policy(), 131.0) == [resting]
    # The clock was put back by an hour: nobody waits that long.
    assert startable([resting, next_one], [], Policy(), 130.0 - 3600) == [resting]


def test_every_kind_is_sorted():
    heavy = set(KINDS) - set(LIGHT) - set(TIMED)
    assert heavy <= {"train", "distill"}, "a new kind of run: is it light, does it time the machine, or is it heavy?"


def test_the_number_at_one_time_can_be_changed_while_runs_go_on(root, store):
    runs = [control.submit(root, walk(seed=n, **LONG)) for n in range(2)]
    wait(lambda: store.run(runs[0]).step > 5, what="the first run")
    assert store.run(runs[1]).state == "queued"
    set_parallel(root, 2)
    assert json.loads((root / "policy.json").read_text())["poll_s"] == 0.03  # what else was set stays
    wait(lambda: store.run(runs[1]).step > 0, what="the second run beside the first")
    (root / "policy.json").write_text("{")
    for run in runs:
        control.stop(root, run)
        wait_over(store, run)
    assert "not readable as JSON" in (root / "supervisor.log").read_text()
    write_json(root / "policy.json", {})
    with pytest.raises(RunError, match="give a number from 0 to 64"):
        set_parallel(root, 65)


def test_run_folders_of_refused_runs_are_not_left_behind(root: Path) -> None:
    with pytest.raises(RunError):
        control.submit(root, RunSpec("nonsense"))
    assert not list((root / "runs").iterdir())
