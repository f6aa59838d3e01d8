"""Every page through the app's entry: what it shows without and with a project, and what an action changes on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from live_run import started

from cpd.comb.findings import Findings, Row
from cpd.prune.plan import uniform_plan
from cpd.runs.project import list_projects, project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database
from cpd.tasks.demos import DEMOS

ROOT = Path(__file__).resolve().parents[2]
SCREENS = ("start", "comb", "importance", "sensitivity", "plan", "run")


def texts(at, *kinds: str) -> str:
    """Everything that these kinds of elements say."""
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def metric(at, label: str):
    return next(element for element in at.metric if element.label == label)


def store(home: Path) -> Store:
    return Store(database(home))


# Without a project ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", SCREENS[1:])
def test_without_a_project_every_page_says_where_to_begin(open_page, page):
    at = open_page(page)
    assert not at.exception
    assert "No project is open" in texts(at, "markdown")
    assert at.title[0].value == page.capitalize()  # which screen this is shows without a project, too
    assert at.button(key="go").label == "Go to Start"


def test_a_link_to_a_project_that_is_gone_says_so(open_page):
    at = open_page("comb", project="gone")
    assert not at.exception
    assert "'gone'" in texts(at, "warning")


# Start ---------------------------------------------------------------------------------------------------------------


def test_start_is_empty_and_tells_the_story(open_page):
    at = open_page("start")
    assert not at.exception
    assert at.title[0].value == "Make a vision model smaller and faster"
    assert all(name in texts(at, "markdown") for name in ("1 Start", "2 Comb", "3 Importance", "4 Sensitivity", "5 Plan", "6 Run"))
    assert "No project yet" in texts(at, "markdown")
    assert [at.button(key=f"demo.{demo.id}").label for demo in DEMOS] == ["Open this demo"] * len(DEMOS)


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.id)
def test_a_demo_opens_in_one_click_and_only_once(open_page, home, demo):
    at = open_page("start")
    at.button(key=f"demo.{demo.id}").click().run()
    assert not at.exception
    made = list_projects(home)
    assert [(project.model, project.data) for project in made] == [(demo.model, demo.data)]
    assert at.query_params["project"] == made[0].id
    assert sorted(run.kind for run in store(home).list_runs(made[0].id)) == ["comb", "measure"]
    assert "Getting to know the model" in texts(at, "subheader")
    assert len(at.get("progress")) == 2
    again = open_page("start")
    again.button(key=f"demo.{demo.id}").click().run()
    assert len(list_projects(home)) == 1


@pytest.mark.usefixtures("no_workers")
def test_a_project_of_ones_own_needs_a_model_and_loses_nothing_that_was_typed(open_page, home):
    at = open_page("start")
    at.text_input(key="form.settings").set_value("num_classes:10")
    at.run()
    at.button(key="form.create").click().run()
    assert "Name a model" in texts(at, "error")
    at.text_input(key="form.model").set_value("timm:resnet18").run()
    at.button(key="form.create").click().run()
    assert "'num_classes:10' is not NAME=VALUE" in texts(at, "error")
    assert at.text_input(key="form.model").value == "timm:resnet18"
    at.text_input(key="form.settings").set_value("num_classes=10").run()
    at.button(key="form.create").click().run()
    assert not at.exception
    made = list_projects(home)[0]
    assert (made.model, made.settings, made.data, made.device) == ("timm:resnet18", {"num_classes": 10}, "digits", "cpu")


def test_what_a_job_refuses_is_said_once_and_can_be_corrected(open_page, project, home):
    made = project(combed=False, measured=False)
    reason = "timm has no model 'chain'; the nearest names are a, b and c."
    for kind in ("comb", "measure"):
        store(home).add(f"{kind}-1", made.spec(kind))
        store(home).finish(f"{kind}-1", "failed", reason)
    at = open_page("start", project=made.id)
    assert [element.value for element in at.error] == [reason]
    at.button(key="start.correct").click().run()
    assert at.text_input(key="form.model").value == "timm:chain"
    assert at.text_input(key="form.settings").value == "num_classes=10"


def test_start_shows_the_baseline_with_its_conditions_and_what_comes_next(open_page, project):
    at = open_page("start", project=project().id)
    assert not at.exception
    accuracy = metric(at, "Accuracy (top-1)")
    assert (accuracy.value, accuracy.delta) == ("98.00 %", "on 360 held-out images")
    assert (metric(at, "Latency, batch 32").value, metric(at, "Latency, batch 32").delta) == ("64.0 ms", "60.8–70.4 ms")
    assert "median of 30 runs on 2 threads" in texts(at, "caption")
    assert at.button(key="onward").label == "Next: Importance"


def test_a_workspace_that_cannot_be_used_is_said_in_words(open_page, project, home, monkeypatch):
    made = project()
    database(home).unlink(missing_ok=True)
    database(home).write_bytes(b"not a database at all" * 100)
    at = open_page("start", project=made.id)
    assert not at.exception
    assert "damaged" in texts(at, "error")


# Comb ----------------------------------------------------------------------------------------------------------------


def test_comb_before_it_is_made_offers_to_make_it(open_page, project, home):
    made = project(combed=False)
    at = open_page("comb", project=made.id)
    at.button(key="guard.comb").click().run()
    assert not at.exception
    assert [run.kind for run in store(home).list_runs(made.id)] == ["comb"]
    assert "Combing" in texts(at, "markdown")


def test_comb_that_failed_says_why(open_page, project, home):
    made = project(combed=False)
    store(home).add("comb-1", made.spec("comb"))
    store(home).finish("comb-1", "failed", "timm has no model 'chain'; the nearest names are a, b and c.")
    at = open_page("comb", project=made.id)
    assert "nearest names" in texts(at, "error")


def test_comb_shows_groups_locks_reasons_and_the_chosen_group(open_page, project):
    made = project(synthetic.chain(locked=(1,)))
    at = open_page("comb", project=made.id, group="stage1.conv0")
    assert not at.exception
    assert metric(at, "Can be pruned").value == "3 of 4"
    groups = at.dataframe[0].value
    assert list(groups["units"]) == [8, 16, 16, 32]
    assert "an operator without a rule reads it" in set(groups["reason"])
    assert "stage1.conv0" in texts(at, "subheader")
    slices = at.dataframe[1].value
    assert list(zip(slices["tensor"], slices["axis"], strict=True)) == [("stage1.conv0.weight", 0), ("stage1.conv1.weight", 1)]
    assert "aten.mystery" in texts(at, "markdown")


def examined(record, failed: str = "") -> Findings:
    """What the doctor would have found: all is well, or one group is not."""
    well = {"certified": True, "relabel_error": 1e-15, "silence_error": 2e-16, "forward": True, "reload": True, "ratios": (0.5,)}
    rows = [Row(g.name, g.width, "fine", backward=True, **well) for g in record.groups]
    rows = [replace(r, backward=False, verdict="backward fails when cut alone by 50%") if r.group == failed else r for r in rows]
    return Findings("timm:chain", record.model, tuple(rows), {"torch": "2.13"}, seconds=3.0)


def test_the_doctor_starts_as_a_run_and_shows_its_progress(open_page, project, home):
    made = project()
    at = open_page("comb", project=made.id)
    at.button(key="doctor.go").click().run()
    assert not at.exception
    run = store(home).list_runs(made.id)[0]
    assert (run.kind, run.spec.options["ratios"]) == ("doctor", [0.25, 0.5, 0.9])
    assert at.button(key="doctor.go").disabled


def test_the_doctors_verdict_stands_in_the_table_and_its_report_can_be_copied(open_page, project, home):
    made = project(synthetic.chain(locked=(1,)))
    folder = project_folder(home, made.id)
    found = examined(synthetic.chain(locked=(1,)), failed="stage0.conv1")
    (folder / "doctor.json").write_text(json.dumps(found.to_dict()))
    at = open_page("comb", project=made.id)
    assert not at.exception
    assert "locked now: stage0.conv1" in texts(at, "error")
    assert list(at.dataframe[0].value["doctor"]) == ["fine", "backward fails when cut alone by 50%", "fine", "fine"]
    assert at.code[0].value == found.table()
    at.button(key="doctor.look.stage0.conv1").click().run()
    assert at.query_params["group"] == "stage0.conv1"
    assert "backward fails when cut alone by 50%" in texts(at, "caption")
    other = replace(found, digest="of another model")
    (folder / "doctor.json").write_text(json.dumps(other.to_dict()))
    assert not open_page("comb", project=made.id).error


def test_the_picture_shows_the_plan_and_a_plan_that_cuts_a_locked_group_is_pointed_out(open_page, project, home):
    made = project(synthetic.chain(locked=(1,)))
    free = synthetic.chain()
    uniform_plan(free, 0.5).save(project_folder(home, made.id) / "plan.json")
    at = open_page("comb", project=made.id)
    drawn = {trace["name"]: trace for trace in json.loads(at.get("plotly_chart")[0].proto.spec)["data"] if trace["type"] == "bar"}
    assert drawn["cut by the plan"]["customdata"][0][5] == "8 → 4"
    assert "The plan still cuts stage0.conv1" in texts(at, "warning")


# The app as a process ------------------------------------------------------------------------------------------------


def test_no_page_ever_imports_torch(project, home):
    """In a fresh interpreter, since other tests of this process may have imported it."""
    made = project(scored=("l2", "fisher"))
    started(home, made)
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
import app.serve
for page in {SCREENS!r}:
    at = AppTest.from_file({str(ROOT / "app" / "main.py")!r}, default_timeout=60)
    at.query_params["project"] = {made.id!r}
    at.run()
    at.switch_page({str(ROOT / "pages")!r} + "/" + page + ".py").run()
    assert not at.exception, (page, at.exception[0].message)
assert "torch" not in sys.modules and "plotly.express" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
