"""The Run screen: the form, a run as it goes on, every button that steers it, and what it hands over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import synthetic
from live_run import opened, started

from app.charts import training
from app.widgets.jobs import how_far
from cpd.prune.plan import Plan, uniform_plan
from cpd.runs.checkpoint import save_checkpoint
from cpd.runs.lock import FileLock
from cpd.runs.policy import Policy
from cpd.runs.project import create_project, project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database
from cpd.tasks.demos import DEMOS


def texts(at, *kinds: str) -> str:
    """Everything that these kinds of elements say."""
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def metric(at, label: str):
    return next(element for element in at.metric if element.label == label)


def store(home: Path) -> Store:
    return Store(database(home))


def keys(at) -> set[str]:
    return {button.key for button in at.button if button.key}


def test_run_starts_with_a_target_and_the_address_finds_it_again(open_page, project, home):
    made = project()
    at = open_page("run", project=made.id)
    assert "No run yet" in texts(at, "markdown")
    at.number_input(key="run.target.share").set_value(40)
    at.number_input(key=f"budget.{made.id}.epochs").set_value(2.0)
    at.run()
    at.button(key="run.start").click().run()
    assert not at.exception
    run = store(home).list_runs(made.id)[0]
    assert run.kind == "distill"
    assert run.spec.options["target"] == {"macs": 0.4}
    assert run.spec.options["epochs"] == 2.0
    assert run.spec.options["plan"] is None
    assert at.query_params["run"] == run.id
    again = open_page("run", project=made.id, run=run.id)  # another tab, or the app restarted
    assert run.id in texts(again, "markdown")
    assert again.button(key=f"stop.{run.id}")


@pytest.mark.usefixtures("no_workers")
def test_a_demo_begins_with_the_budget_that_suits_it(open_page, home):
    demo = DEMOS[0]
    made = create_project(home, demo.title, demo.model, str(demo.weights), dict(demo.settings), demo.data)
    synthetic.chain().save(project_folder(home, made.id))
    at = open_page("run", project=made.id)
    at.button(key="run.start").click().run()
    options = store(home).list_runs(made.id)[0].spec.options
    assert {name: options[name] for name in demo.run} == dict(demo.run)


def test_run_takes_the_current_plan_along(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    plan = uniform_plan(record, 0.5)
    plan.save(project_folder(home, made.id) / "plan.json")
    at = open_page("run", project=made.id)
    at.button(key="run.start").click().run()
    options = store(home).list_runs(made.id)[0].spec.options
    assert options["target"] is None
    assert Plan.from_json(json.dumps(options["plan"])) == plan


def test_a_running_run_shows_progress_curves_the_teacher_and_every_cut(open_page, project, home):
    made = project()
    run = started(home, made)
    at = open_page("run", project=made.id)
    assert not at.exception
    assert at.get("progress")[0].text.startswith("step 30 of 100")
    assert metric(at, "Accuracy (top-1)").value == "96.00 %"
    assert metric(at, "Accuracy (top-1)").delta == "-2.50 pts"
    assert metric(at, "MACs").value == "50.0 %"
    assert metric(at, "Latency, batch 1").value == "1.00 ms"
    traces = {trace.get("name"): trace for element in at.get("plotly_chart") for trace in json.loads(element.proto.spec)["data"]}
    assert traces["teacher"]["y"] == [0.985, 0.985]
    assert traces["cut"]["x"] == [10]
    at.button(key=f"stop.{run}").click().run()
    assert store(home).run(run).state == "stopping"


def test_a_finished_run_shows_before_and_after_and_hands_the_model_over(open_page, project, home):
    made = project()
    run = started(home, made, 100)
    dense = json.loads((project_folder(home, made.id) / "baseline.json").read_text())
    pruned = dense | {"parameters": 1750, "macs": 529_920.0, "quality": 0.97,
                      "latency": [entry | {k: entry[k] / 2 for k in ("median_ms", "p10_ms", "p90_ms")} for entry in dense["latency"]]}  # fmt: skip
    folder = home / "runs" / run
    (folder / "bundle").mkdir()
    (folder / "bundle" / "model.safetensors").write_bytes(b"0" * 4096)
    (folder / "result.json").write_text(json.dumps({"dense": dense, "pruned": pruned, "plan": {}, "seconds": 9.0, "bundle": "bundle/model.safetensors"}))
    store(home).finish(run, "finished")
    at = open_page("run", project=made.id)
    assert not at.exception
    assert metric(at, "Accuracy (top-1)").delta == "-1.00 pts"
    assert metric(at, "Latency, batch 32").delta == "2.00× faster"
    sheet = next(frame.value for frame in at.dataframe if "Change" in frame.value)
    assert list(sheet["Change"]) == ["-1.00 pts", "4.00× fewer", "4.00× fewer", "2.00× faster", "2.00× faster"]
    assert any("cpd.load_model" in element.value for element in at.code)
    assert any(element.label.startswith("Download the model") for element in at.get("download_button"))


def test_a_failed_run_says_why_and_can_go_on(open_page, project, home):
    made = project()
    run = started(home, made)
    store(home).finish(run, "failed", "the disk is full; free some space and resume the run.")
    at = open_page("run", project=made.id)
    assert "the disk is full" in texts(at, "error")
    at.button(key=f"resume.{run}").click().run()
    assert store(home).run(run).state == "queued"


def test_impossible_settings_are_refused_in_place(open_page, project):
    made = project()
    at = open_page("run", project=made.id)
    for name in ("task", "soft_logits", "hard_labels", "features"):
        at.number_input(key=f"budget.{made.id}.loss.{name}").set_value(0.0)
    at.run()
    assert "losses" in texts(at, "error")
    assert at.button(key="run.start").disabled


def test_every_state_has_its_sentence_and_its_buttons(open_page, project, home):
    made = project()
    run = started(home, made)
    at = open_page("run", project=made.id)
    assert "Its worker died; it is started again" in texts(at, "caption")  # nobody holds the lock
    lock = FileLock(home / "runs" / run / "lock")
    assert lock.acquire()
    at.run()
    assert "Its worker died" not in texts(at, "caption")
    assert keys(at) >= {f"pause.{run}", f"stop.{run}", f"clone.{run}"}
    at.button(key=f"pause.{run}").click().run()
    assert store(home).run(run).state == "pausing"
    assert "saves a checkpoint at its next step and pauses" in texts(at, "caption")
    store(home).finish(run, "stopped", step=30)
    lock.release()
    at.run()
    assert "It is paused with a checkpoint and keeps its place" in texts(at, "caption")
    assert "It is number 1 of 1 in the queue" in texts(at, "caption")
    at.button(key=f"resume.{run}").click().run()
    assert store(home).run(run).state == "queued"
    at.button(key=f"stop.{run}").click().run()
    assert store(home).run(run).state == "stopped"
    assert "It was stopped, with a checkpoint" in texts(at, "caption")
    assert not at.exception


def test_the_queue_can_be_reordered_and_widened(open_page, project, home):
    made = project()
    for name in ("distill-a", "distill-b", "distill-c"):
        store(home).add(name, made.spec("distill", options={"target": {"macs": 0.5}}))
        (home / "runs" / name).mkdir()
    at = opened(open_page("run", project=made.id, run="distill-c"), "run.list")
    assert "number 3 of 3" in texts(at, "caption")
    assert list(at.dataframe[0].value["In the queue"]) == ["3", "2", "1"]
    at.button(key="up.distill-c").click().run()
    assert [run.id for run in store(home).queue()] == ["distill-a", "distill-c", "distill-b"]
    at.button(key="first.distill-c").click().run()
    assert [run.id for run in store(home).queue()] == ["distill-c", "distill-a", "distill-b"]
    at.button(key="down.distill-c").click().run()
    assert [run.id for run in store(home).queue()] == ["distill-a", "distill-c", "distill-b"]
    at.number_input(key="run.parallel").set_value(3).run()
    assert Policy.of(home).parallel == 3
    assert opened(open_page("run", project=made.id), "run.list").number_input(key="run.parallel").value == 3
    assert not at.exception


@pytest.mark.usefixtures("no_workers")
def test_the_form_and_the_list_are_drawn_for_whoever_opens_them(open_page, project, home):
    made = project()
    run = started(home, made)
    at = open_page("run", project=made.id)
    closed = keys(at)
    assert "run.start" not in closed
    assert f"stop.{run}" in closed
    assert not at.number_input
    opened(at, "run.form.")
    at.number_input(key="run.target.share").set_value(40).run()
    at.session_state["run.form."] = False  # closed, and opened again: what was chosen is still there
    assert not at.run().number_input
    assert opened(at, "run.form.").number_input(key="run.target.share").value == 40
    at.button(key="run.start").click().run()
    assert [other.spec.options["target"] for other in store(home).list_runs(made.id) if other.id != run] == [{"macs": 0.4}]
    assert not at.exception


def test_a_clone_opens_the_form_with_the_runs_own_settings(open_page, project, home):
    made = project()
    options = {"target": {"params": 0.4}, "plan": None, "epochs": 3.0, "lr": 0.007, "corridor": 0.02, "teacher": "timm:resnet34"}
    store(home).add("distill-old", made.spec("distill", 11, options))
    (home / "runs" / "distill-old").mkdir()
    at = open_page("run", project=made.id)
    at.button(key="clone.distill-old").click().run()
    assert "A clone of **distill-old**" in texts(at, "markdown")
    assert "timm:resnet34" in texts(at, "caption")
    assert at.number_input(key=f"budget.{made.id}.distill-old.corridor").value == 2.0
    at.number_input(key=f"budget.{made.id}.distill-old.lr").set_value(0.003).run()
    at.button(key="run.start").click().run()
    assert not at.exception
    new = store(home).list_runs(made.id)[0]
    assert new.id != "distill-old"
    chosen = {name: new.spec.options[name] for name in options}
    assert (chosen, new.spec.seed) == (options | {"lr": 0.003}, 11)
    assert "A clone of" not in texts(at, "markdown")
    at.button(key=f"clone.{new.id}").click().run()
    at.button(key="run.afresh").click().run()
    assert "A clone of" not in texts(at, "markdown")


def test_a_run_is_rolled_back_from_the_screen(open_page, project, home):
    made = project()
    run = started(home, made)
    place = home / "runs" / run / "checkpoints"
    save_checkpoint(place, {"step": 10}, 10, {"macs": 0.8, "params": 0.7, "metric": 0.97, "name": "top1"})
    save_checkpoint(place, {"step": 30}, 30)
    store(home).finish(run, "stopped", step=30)
    at = open_page("run", project=made.id)
    chosen = at.selectbox(key=f"back.step.{run}")
    assert chosen.value == 10  # the newest that lies before a cut
    assert chosen.options == ["step 30 · one of the last two", "step 10 · before a cut, 80.0 % of the MACs, 97.0 %"]
    chosen.set_value(10).run()
    at.button(key=f"back.go.{run}").click().run()
    assert f"Goes on from **{run}**, step 10 · before a cut" in texts(at, "markdown")
    at.number_input(key=f"run.{run}.10.target.share").set_value(60).run()
    at.button(key="run.start").click().run()
    assert not at.exception
    new = store(home).list_runs(made.id)[0]
    assert new.spec.options["begin"] == {"run": run, "step": 10}
    assert new.spec.options["target"] == {"macs": 0.6}
    assert store(home).metrics(new.id)["train/loss"].steps == tuple(range(11))
    assert [path.name for path in (home / "runs" / new.id / "checkpoints").glob("*.json")] == ["step-0000000010.noted.json"]
    assert f"from step 10 of {run}" in texts(at, "caption")


def test_an_undone_cut_and_a_restart_are_marked_and_told(open_page, project, home):
    made = project()
    run = started(home, made)
    text = "the cut of step 10 (stage1.conv1) is undone: top1 91.00% is 7.50 points below the teacher, 2.00 are allowed"
    store(home).add_event(run, 20, "undo", text, {"groups": ["stage1.conv1"]})
    store(home).add_event(run, 15, "resume", "resumed from the checkpoint of step 15")
    store(home).advance(run, [(20, "probe/floor/top1", 0.965), (20, "probe/top1", 0.91), (5, "train/lr", 0.01), (5, "train/images_per_s", 321.0)])
    at = open_page("run", project=made.id)
    traces = {trace.get("name"): trace for chart in at.get("plotly_chart") for trace in json.loads(chart.proto.spec)["data"]}
    assert traces["undone"]["x"] == [20]
    assert traces["undone"]["customdata"] == [text]
    assert traces["restarted"]["x"] == [15]
    assert traces["least allowed"]["y"] == [0.965, 0.965]
    assert metric(at, "Images per second").value == "321"
    assert metric(at, "Learning rate").value == "1.00e-02"
    told = at.dataframe[0].value
    assert list(told["What"]) == ["undo", "resume", "cut"]
    assert "one cut undone" in [expander.label for expander in at.expander][-1]


def test_marks_that_lie_too_close_become_one_and_none_is_lost():
    marks = [training.Mark(step, f"cut {step}") for step in range(0, 100_000, 100)]
    found = training.gathered(marks, 100_000)
    assert len(found) <= training.MOST_MARKS
    assert found[0].text.startswith("cut 0<br>cut 100<br>")
    few = [training.Mark(3, "a"), training.Mark(3, "b"), training.Mark(70, "c")]
    assert training.gathered(few, 150) == [training.Mark(3, "a<br>b"), training.Mark(70, "c")]


def test_the_time_left_follows_the_workers_own_clock(project, home, monkeypatch):
    made = project()
    run = started(home, made)
    book = store(home)
    assert how_far(book.run(run)) == "30 %"  # no pace yet
    book.advance(run, [], (40, 100), 2.0)
    assert how_far(book.run(run)) == "40 %, about 2 min 00 s left"
    monkeypatch.setattr("time.time", lambda: 0.0)  # the clock goes back to 1970
    assert how_far(book.run(run)) == "40 %, about 2 min 00 s left"
