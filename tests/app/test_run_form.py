"""The form of the Run screen: every setting of the command line reaches the run, and what cannot be is said before it is queued."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import tiny

from cpd.cli import main as cpd_main
from cpd.cli import training
from cpd.distill.settings import TrainSettings
from cpd.errors import CpdError
from cpd.measure import abilities as asked
from cpd.prune.plan import uniform_plan
from cpd.runs.project import create_project, project_folder
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.worker import main as worker_main
from cpd.runs.workspace import database

# Setting -> (key of its widget below budget.PROJECT, what is typed); the rest are chosen as the library counts.
CHOSEN = {
    "epochs": 3.5, "steps": 24, "batch_size": 48, "accumulate": 3, "lr": 3e-6, "weight_decay": 0.1, "warmup": 0.2, "least_lr": 0.3, "clip": 1.5, "optimizer": "lamb",
    "scheduler": "linear", "average": 0.9, "augment": False, "mixup": 0.2, "smoothing": 0.1, "temperature": 2.5, "cache_mb": 8.0, "schedule": "few-step", "interval": 4,
    "cut_share": 0.25, "chunks": 5, "criterion": "l2", "score_batches": 3, "multiple": 4, "minimum": 2, "max_ratio": 0.75, "corridor": 0.02, "corridor_images": 64,
    "evaluate_every": 9, "checkpoint_s": 11.0, "seed": 7, "device": "auto", "precision": "bf16", "processes": 2, "channels_last": True, "take_over": False,
}  # fmt: skip
KEYS = {"batch_size": "batch", "cut_share": "cut"}
SHOWN = {"cut_share": 25, "corridor": 2.0}


def specs(home: Path) -> list[RunSpec]:
    """Of all runs, newest first, as their folders have them."""
    store = Store(database(home))
    return [RunSpec.from_dict(json.loads((home / "runs" / run.id / "spec.json").read_text())) for run in store.list_runs() if run.kind == "distill"]


def widget(at, key: str):
    found = [element for kind in ("number_input", "selectbox", "slider", "toggle", "text_input") for element in getattr(at, kind) if element.key == key]
    assert len(found) == 1, (key, found)
    return found[0]


def said(at, *kinds: str) -> str:
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(asked, "usable_cores", lambda: 2)


def test_every_setting_of_the_command_line_reaches_the_run(open_page, project, home, monkeypatch):
    made = project()
    usual = TrainSettings().to_dict()
    assert {name for name, value in CHOSEN.items() if value != usual[name]} == set(usual) - {"losses", "compile"}  # none is left out
    at = open_page("run", project=made.id)
    for name, value in CHOSEN.items():
        widget(at, f"budget.{made.id}.{KEYS.get(name, name)}").set_value(SHOWN.get(name, value))
    widget(at, f"budget.{made.id}.loss.task").set_value(0.75)
    widget(at, f"budget.{made.id}.moving").set_value("soft_logits=1:0.25:0.1:0.5")
    widget(at, f"budget.{made.id}.teacher").set_value("timm:resnet34")
    widget(at, "run.target.name").set_value("latency")
    at.run()
    widget(at, f"budget.{made.id}.teacher_settings").set_value("num_classes=10")
    widget(at, f"budget.{made.id}.teacher_weights").set_value("/nets/teacher.safetensors")
    widget(at, "run.target.share").set_value(45.5)
    at.run()
    assert not at.exception
    line = next(element.value for element in at.code if "cpd run" in element.value)
    at.button(key="run.start").click().run()
    assert not at.exception
    spec = specs(home)[0]
    moving = {"task": 0.75, "soft_logits": {"from": 1.0, "to": 0.25, "begin": 0.1, "end": 0.5}}
    goal = {"plan": None, "target": {"latency": 0.455}}
    teacher = {"teacher": "timm:resnet34", "teacher_weights": "/nets/teacher.safetensors", "teacher_settings": {"num_classes": 10}}
    assert spec.options == CHOSEN | {"losses": moving, "compile": False} | goal | teacher
    assert (spec.seed, spec.device, spec.model, spec.data) == (7, "auto", "timm:chain", "digits")

    read: list[RunSpec] = []

    def taken(folder, again, watcher):
        read.append(again)
        raise CpdError("enough")

    monkeypatch.setattr(training, "run_foreground", taken)  # the line that was on screen means that very run
    assert cpd_main(shlex.split(line)[3:]) == 2
    assert (read[0].options, read[0].seed, read[0].device, dict(read[0].settings)) == (spec.options, spec.seed, spec.device, dict(spec.settings))

    # A clone shows all of it, carries all of it, and changes what is changed.
    run = Store(database(home)).list_runs(made.id)[0].id
    at.button(key=f"clone.{run}").click().run()
    key = f"budget.{made.id}.{run}"
    shown = {name: widget(at, f"{key}.{KEYS.get(name, name)}").value for name in CHOSEN}
    assert shown == {name: SHOWN.get(name, value) for name, value in CHOSEN.items()}
    assert widget(at, f"{key}.moving").value == "soft_logits=1.0:0.25:0.1:0.5"
    assert widget(at, f"run.{run}.None.target.share").value == 45.5
    at.button(key="run.start").click().run()
    assert specs(home)[0] == spec
    run = Store(database(home)).list_runs(made.id)[0].id
    key = f"budget.{made.id}.{run}"
    at.button(key=f"clone.{run}").click().run()
    widget(at, f"{key}.processes").set_value(1)
    widget(at, f"{key}.compile").set_value(True)
    widget(at, f"{key}.teacher").set_value("")
    widget(at, f"{key}.teacher_weights").set_value("")
    widget(at, f"{key}.teacher_settings").set_value("")
    at.run()
    at.button(key="run.start").click().run()
    assert not at.exception
    left = {name: value for name, value in spec.options.items() if name not in teacher}
    assert specs(home)[0].options == left | {"processes": 1, "compile": True}


def test_a_target_in_milliseconds_begins_at_half_of_what_the_dense_model_takes(open_page, project, home):
    made = project()
    at = open_page("run", project=made.id)
    widget(at, "run.target.name").set_value("latency_ms").run()
    assert "took 2.00 ms" in said(at, "caption")
    assert widget(at, "run.target.ms").value == 1.0
    widget(at, "run.target.ms").set_value(2.5).run()
    assert "as fast already" in said(at, "caption")
    widget(at, "run.target.ms").set_value(1.25).run()
    assert "as fast already" not in said(at, "caption")
    at.button(key="run.start").click().run()
    assert specs(home)[0].options["target"] == {"latency_ms": 1.25}


def test_the_plans_own_widths_are_the_goal_where_there_is_a_plan(open_page, project, home):
    import synthetic

    record = synthetic.chain()
    made = project(record)
    path = project_folder(home, made.id) / "plan.json"
    uniform_plan(record, 0.5).save(path)
    at = open_page("run", project=made.id)
    assert "The plan leaves" in said(at, "caption")
    line = next(element.value for element in at.code if "cpd run" in element.value)
    assert f"--plan {path}" in line
    assert "--target" not in line


@pytest.mark.parametrize(
    "typed, line",
    [
        ({"batch": 63, "processes": 2}, "batch_size 63 cannot be worked through by 2 processes in 1 equal parts; change it."),
        ({"compile": True, "processes": 2}, "compile works with one process"),
        ({"compile": True, "loss.features": 1.0}, "compile does not work with losses that compare features"),
        ({"teacher": "timm:resnet34", "loss.features": 1.0}, "another architecture has other features"),
        ({"mixup": 0.5, "batch": 63}, "mixup pairs images"),
        ({"moving": "soft_logits"}, "is not NAME=VALUE"),
        ({"moving": "kindness=1:0"}, "no loss is called 'kindness'"),
        ({"moving": "task=1:x"}, "weight of the loss task is"),
        ({"schedule": "reference", "run.what": "The current plan"}, "schedule reference decides by itself what goes"),
        ({"cut": 25, "max_ratio": 0.5, "accumulate": 5}, "in 5 equal parts"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_nothing_is_queued(typed, line, open_page, project, home):
    import synthetic

    record = synthetic.chain()
    made = project(record)
    uniform_plan(record, 0.5).save(project_folder(home, made.id) / "plan.json")
    at = open_page("run", project=made.id)
    at.session_state["run.what"] = typed.get("run.what", "A target")
    at.run()
    for name, value in typed.items():
        if name != "run.what":
            widget(at, f"budget.{made.id}.{name}").set_value(value)
    at.run()
    assert not at.exception
    assert len(at.error) == 1
    assert line in at.error[0].value
    assert "\n" not in at.error[0].value
    assert at.button(key="run.start").disabled
    assert not specs(home)


def test_what_this_machine_cannot_do_is_not_offered_and_why_is_said(open_page, project, monkeypatch):
    made = project()
    key = f"budget.{made.id}"
    at = open_page("run", project=made.id)
    assert not widget(at, f"{key}.compile").disabled
    assert widget(at, f"{key}.processes").max == 2
    assert "2 cores they share the work by gloo" in said(at, "caption")
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(asked, "usable_cores", lambda: 1)
    at.run()
    assert widget(at, f"{key}.compile").disabled
    assert "it needs a C++ compiler (g++ or clang++)" in said(at, "caption")
    assert widget(at, f"{key}.processes").disabled
    assert "one core here" in said(at, "caption")
    assert widget(at, f"{key}.precision").options == ["float32", "bf16, mixed"]
    assert "fp16 needs a GPU" in said(at, "caption")
    assert "NVIDIA GPU" not in widget(at, f"{key}.device").options
    monkeypatch.setattr(asked, "gpus", lambda: 4)
    at.run()
    widget(at, f"{key}.device").set_value("cuda").run()
    assert "4 GPUs here" in said(at, "caption")
    assert widget(at, f"{key}.precision").options == ["float32", "bf16, mixed", "fp16, mixed"]
    assert widget(at, f"{key}.processes").max == 4
    widget(at, f"{key}.precision").set_value("fp16").run()
    assert not at.error
    widget(at, f"{key}.device").set_value("cpu").run()  # the choice stays, and is refused
    assert not at.exception
    assert "precision fp16 needs a GPU" in said(at, "error")


def test_a_run_with_a_latency_target_and_channels_last_as_the_screen_queues_it(open_page, home, no_workers, monkeypatch):
    """A real network, a real worker: what was chosen on the screen is what it did."""
    import synthetic

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = create_project(home, "tiny", tiny.SPEC, data="digits", settings={"img_size": 32})
    synthetic.chain().save(project_folder(home, made.id))  # the worker combs for itself
    at = open_page("run", project=made.id)
    widget(at, "run.target.name").set_value("latency").run()
    widget(at, "run.target.share").set_value(80.0)
    for name, value in {"steps": 6, "chunks": 4, "batch": 32, "score_batches": 1, "evaluate_every": 6, "channels_last": True, "augment": False}.items():
        widget(at, f"budget.{made.id}.{name}").set_value(value)
    at.run()
    at.button(key="run.start").click().run()
    assert not at.exception
    run = Store(database(home)).list_runs(made.id)[0]
    assert worker_main([str(home / "runs" / run.id)]) == 0
    done = Store(database(home)).run(run.id)
    assert (done.state, done.error) == ("finished", "")
    result = json.loads((home / "runs" / run.id / "result.json").read_text())
    assert result["settings"]["channels_last"] is True
    plan = result["plan"]
    assert plan["target"] == {"latency": 0.8}
    assert "latency/share" in Store(database(home)).metrics(run.id)  # timed before every cut
    at = open_page("run", project=made.id, run=run.id)
    assert "80 % of the latency, measured" in said(at, "caption")
