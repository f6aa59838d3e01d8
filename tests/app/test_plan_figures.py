"""The tiles: what is estimated, what is measured, and what is not known yet."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import synthetic
from plan_page import A, D, edit, known, metric, saved, texts

from cpd.measure.measurement import Latency, Measurement
from cpd.prune.plan import Plan
from cpd.prune.trial import Trial, add_trial
from cpd.runs.project import project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database


def test_what_is_not_known_yet_offers_the_work_that_finds_it(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    assert "No sensitivity yet" in texts(at, "caption")
    assert "Not profiled yet" in texts(at, "caption")
    assert [column for column in ("latency", "curve", "alone") if column in at.data_editor[0].value] == []
    for kind in ("profile", "sense"):
        at.button(key=f"plan.{kind}").click().run()
    runs = Store(database(home)).list_runs(made.id)
    assert sorted((run.kind, run.spec.options.get("batch")) for run in runs) == [("profile", 32), ("sense", None)]
    assert "waiting for its turn" in texts(at, "caption")


def test_estimates_follow_every_edit_with_their_errors(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    known(home, made, record)
    at = open_page("plan", project=made.id)
    edit(at, (3, {"requested": 18.75}))
    macs = synthetic.macs_by_hand((8, 16, 16, 26))
    latency = metric(at, "Latency, batch 32 · estimate")
    assert latency.value == f"{0.5 + macs * synthetic.MS_PER_MAC:.2f} ms"
    # Two checks that were off by 10 %, and 6 % from one hour to the next: 1.645 times their root, doubled for there being two.
    assert latency.proto.delta_description == "± 38 %"
    # The scan cut this group alone to 26 of 32 units and saw a tenth times 6/32 less.
    assert metric(at, "Accuracy (top-1) · predicted").value == f"{100 * (0.9 - 0.1 * 6 / 32):.1f} %"
    frame = at.data_editor[0].value
    assert frame["alone"][3] == pytest.approx(-100 * 0.1 * 6 / 32)
    assert list(frame["curve"][3]) == pytest.approx([0.9 - 0.1 * (1 - kept / 32) for kept in (32, 26, 20, 13, 7)])
    gone = synthetic.macs_by_hand((8, 16, 16, 0))
    whole = 0.5 + synthetic.macs_by_hand((8, 16, 16, 32)) * synthetic.MS_PER_MAC
    assert frame["latency"][3] == pytest.approx(100 - 100 * (0.5 + gone * synthetic.MS_PER_MAC) / whole)


def test_a_measurement_takes_the_place_of_the_estimate_for_its_own_plan_alone(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    folder = known(home, made, record)
    at = open_page("plan", project=made.id)
    edit(at, (3, {"requested": 50.0}))
    at.button(key="plan.measure").click().run()
    run = Store(database(home)).list_runs(made.id)[0]
    assert run.kind == "trial"
    assert Plan.from_json(json.dumps(run.spec.options["plan"])) == saved(home, made)
    assert at.button(key="plan.measure").disabled

    dense = Measurement(7_000, 2e6, "top1", 0.95, 400, (Latency(32, 2.0, 1.9, 2.1, 30, 1),), "cpu", "bench", "2.13")
    pruned = replace(dense, quality=0.9, latency=(Latency(32, 1.5, 1.4, 1.7, 30, 1),))
    add_trial(folder / "trial.json", Trial(saved(home, made).digest, dense, pruned, 8, 3.0, 1.0))
    at = open_page("plan", project=made.id)
    assert (metric(at, "Accuracy (top-1) · measured").value, metric(at, "Accuracy").delta) == ("90.0 %", "-5.00 pts")
    assert (metric(at, "Latency, batch 32 · measured").value, metric(at, "Latency").delta) == ("1.50 ms", "-25.0 %")
    assert metric(at, "Latency").proto.delta_description == "1.40–1.70 ms"
    assert "the machine was busy" not in texts(at, "caption")  # 2 ms, where the profile says 0.5 + 2.1
    add_trial(folder / "trial.json", Trial(saved(home, made).digest, replace(dense, latency=(Latency(32, 8.0, 7.0, 9.0, 30, 1),)), pruned, 8, 3.0, 1.0))
    at.run()
    assert "the dense model took 3.05× what its profile says" in texts(at, "caption")
    edit(at, (2, {"requested": 50.0}))
    assert metric(at, "Accuracy").label.endswith("predicted")
    assert metric(at, "Latency").label.endswith("estimate")
    assert "the last measurement was of another plan" in texts(at, "caption")
    at.button(key="plan.undo").click().run()
    assert metric(at, "Accuracy").label.endswith("measured")
    assert not at.exception


def test_a_scan_of_another_model_or_a_damaged_profile_is_said_and_nothing_breaks(open_page, project, home):
    made = project()
    folder = project_folder(home, made.id)
    synthetic.sensitivity_table(synthetic.chain((8, 16))).save(folder / "sensitivity.json")
    (folder / "latency.json").write_text('{"schema": 1}')
    at = open_page("plan", project=made.id)
    assert not at.exception
    assert "another model" in texts(at, "warning")
    assert "not a latency table" in texts(at, "warning")
    assert metric(at, "MACs per sample").value == "2.12 M"


def test_two_plans_are_told_apart_group_by_group(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    known(home, made, record)
    at = open_page("plan", project=made.id, view="Groups")
    edit(at, (3, {"requested": 50.0}))
    at.text_input(key="plan.branch.name").set_value("other").run()
    at.button(key="plan.branch.new").click().run()
    edit(at, (0, {"requested": 25.0}), (3, {"requested": 25.0}))
    at.segmented_control(key="view").set_value("Compare").run()
    at.selectbox(key="plan.compare.first").set_value("main, as it is now").run()
    at.selectbox(key="plan.compare.second").set_value("other, as it is now").run()
    assert not at.exception
    figures, groups = (element.value for element in at.dataframe[:2])
    assert list(groups["Group"]) == [A, D]
    assert [tuple(row) for row in groups[["Kept, first", "Kept, second"]].to_numpy()] == [(8, 6), (16, 24)]
    before, after = (synthetic.parameters_by_hand(widths) for widths in ((8, 16, 16, 16), (6, 16, 16, 24)))
    assert list(figures[figures["Quantity"] == "Parameters"].iloc[0])[1:] == [f"{before:,}", f"{after:,}", f"{100 * (after / before - 1):+.1f} %"]
    chart = json.loads(at.get("plotly_chart")[1].proto.spec)["data"]
    assert {trace["name"]: (trace["x"], trace["y"]) for trace in chart} == {
        "cut more by the second": ([0], [0.25]), "kept more by the second": ([3], [-0.25]),
    }  # fmt: skip
