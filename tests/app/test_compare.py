"""Compare: places, front, differences and baselines by hand, and the page in every state."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import synthetic
from finished_runs import finish
from live_run import started

from app import compare, state
from app.charts.compare import Line, overlaid, parallel, trade
from app.compare import BASELINE, RANDOM, UNIFORM, axes, entry
from app.widgets.compare_baselines import at_random, uniform
from app.widgets.compare_choice import from_chart
from app.widgets.compare_when import when_changed
from cpd.measure.answers import Answers, Mapped
from cpd.measure.history import KEY, packed
from cpd.measure.map_history import event_data
from cpd.prune.cost import CostModel
from cpd.runs.finished import read_finished
from cpd.runs.store import Store
from cpd.runs.workspace import database


@pytest.fixture
def three(home, project):
    """Three runs of a chain that is cut by half: A loses 20 images in 4 ms, B loses 40 in 3 ms, C loses 40 in 5 ms."""
    record = synthetic.chain()
    made = project(record, scored=("fisher",))
    for name, lost, ms in (("a", 20, 4.0), ("b", 40, 3.0), ("c", 40, 5.0)):
        finish(home, made, record, f"distill-{name}", lost=range(lost), won=range(950, 960), ms=ms)
    return made, [read(home, made, i, f"distill-{name}") for i, name in enumerate("abc")]


def read(home, made, position, name):
    run = read_finished(home / "runs" / name)
    return entry(position, made, run, compare.change_of(run))


def texts(at, *kinds: str) -> str:
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


# Numbers -------------------------------------------------------------------------------------------------------------


def test_places_and_front_by_hand(three):
    _, entries = three
    places, best = compare.places(entries, axes(entries)["ms32"])
    assert [(place.letter, place.x, place.y) for place in places] == [
        ("A", 128.0, 0.94), ("B", 96.0, 0.92), ("C", 160.0, 0.92), ("dense", 256.0, 0.95),
    ]  # fmt: skip
    assert {places[i].letter for i in best} == {"A", "B", "dense"}
    assert places[0].x_range == pytest.approx((0.9 * 128, 1.2 * 128))
    # Wilson: centre (p + z2/2n) / (1 + z2/n), p = 0.94, n = 1000
    assert places[0].y_range == pytest.approx((0.9235, 0.9531), abs=2e-4)
    share, _ = compare.places(entries, axes(entries)["time1"])
    assert [place.x for place in share] == pytest.approx([0.5, 0.375, 0.625, 1.0])
    held, best = compare.places(entries, axes(entries)["memory32"])
    left = synthetic.parameters_by_hand((4, 8, 8, 16))
    assert [place.x for place in held] == [4 * left + 32_000] * 3 + [4 * synthetic.parameters_by_hand((8, 16, 16, 32)) + 32_000]
    assert {held[i].letter for i in best} == {"A", "dense"}
    macs, best = compare.places(entries, axes(entries)["macs"])
    assert macs[0].x == synthetic.macs_by_hand((4, 8, 8, 16))
    assert {macs[i].letter for i in best} == {"A", "dense"}


def test_two_runs_are_compared_image_by_image(three):
    _, entries = three
    change = compare.against(entries[1].run, entries[0].run)
    assert change is not None
    assert change.value == pytest.approx(-0.02)  # images 20 to 39 and no other
    # Agresti and Min: (0 - 20)/1002 -+ 1.96 sqrt(21 - 400/1002)/1002
    assert (change.low, change.high) == pytest.approx((-0.02885, -0.01108), abs=2e-5)
    apart = compare.settings_apart(entries)
    assert apart == {}


def test_curves_over_what_is_left(three):
    _, entries = three
    assert compare.over_steps(entries[0].run) == ([0.0, 5.0, 10.0], [0.95, 0.9, 0.94])
    assert compare.over_cost(entries[0].run) == ([1.0, 0.5, 0.5], [0.95, 0.9, 0.94])


def test_side_by_side(three, home):
    made, entries = three
    finish(home, made, synthetic.chain(), "distill-d", ratio=0.75)
    entries = [entries[0], read(home, made, 1, "distill-d")]
    names, rows, apart = compare.kept_shares(entries)
    assert (names, apart) == (["stage0.conv0", "stage0.conv1", "stage1.conv0", "stage1.conv1"], 4)
    assert rows == [[0.5] * 4, [0.25] * 4]
    columns, values = compare.quantities(entries)
    assert columns[0] == "Accuracy"
    assert dict(zip(columns, values[0], strict=True))["Latency, batch 1"] == 0.5


def test_charts_draw_what_they_are_given(three):
    _, entries = three
    axis = axes(entries)["ms32"]
    places, best = compare.places(entries, axis)
    fig = trade(places, best, axis, "Accuracy", "distill-b")
    front = fig.data[0]
    assert (list(front.x), list(front.y)) == ([96.0, 128.0, 256.0], [0.92, 0.94, 0.95])
    assert front.line.shape == "hv"  # between two models there is none
    marked = [trace.customdata[0][0] for trace in fig.data[1:] if trace.marker.line.width == 3]
    assert marked == ["distill-b"]
    assert fig.data[1].error_y.arrayminus[0] == pytest.approx(0.94 - 0.9235, abs=2e-4)
    line = Line("x", "A", "#7A68D8", [1.0, 0.5], [0.9, 0.8])
    assert overlaid([line], [0.95], "Share", "Accuracy", shares=True).layout.xaxis.autorange == "reversed"
    assert [trace.name for trace in parallel(["a", "b"], [line], "Kept").data] == ["dense", "A"]
    for empty in (trade([], set(), axis, "Accuracy"), overlaid([], [], "x", "y"), parallel([], [], "y")):
        assert len(empty.data) == 0
        assert len(empty.layout.annotations) == 1


def test_baselines_keep_the_same_macs(three):
    made, entries = three
    record = synthetic.chain()
    comb = state.Combed(record, CostModel(record))
    tables = {"fisher": synthetic.table(record, "fisher", 0)}
    wanted = comb.cost.price(entries[0].run.plan.keep).macs
    even = uniform(entries[0], comb, tables)
    assert comb.cost.price(even.keep).macs == wanted  # half of every group is what the run itself keeps
    for row in even.groups:
        scores = np.asarray(tables["fisher"].groups[row.group])
        assert min(scores[list(row.keep)]) >= max(np.delete(scores, list(row.keep)))
    any_ = at_random(entries[0], comb, tables)
    assert comb.cost.price(any_.keep).macs == wanted
    assert any_.keep != even.keep
    assert any_.criterion == "random"


# The page ------------------------------------------------------------------------------------------------------------


def test_nothing_to_compare_yet(open_page, project):
    at = open_page("compare", project=project().id)
    assert not at.exception
    assert "Nothing to compare yet" in texts(at, "markdown")


def test_without_a_project_it_says_where_to_begin(open_page):
    at = open_page("compare")
    assert not at.exception
    assert "No project is open" in texts(at, "markdown")


def test_the_first_run_is_under_way(open_page, project, home):
    made = project()
    started(home, made)
    at = open_page("compare", project=made.id)
    assert not at.exception
    assert "The first run is under way" in texts(at, "markdown")
    assert "30 %" in "\n".join(element.proto.text for element in at.get("progress"))


def test_what_is_chosen_is_in_the_address(open_page, three):
    made, _ = three
    at = open_page("compare", project=made.id, runs="distill-a", run="distill-c")
    assert at.multiselect(key="compare.runs").value == ["distill-a", "distill-c"]  # a link from that run's own screen
    at.multiselect(key="compare.runs").set_value(["distill-b", "distill-a"]).run()
    at.selectbox(key="compare.axis").set_value("params").run()
    assert not at.exception
    assert at.query_params["runs"] == "distill-b,distill-a"
    assert at.query_params["axis"] == "params"
    assert "run" not in at.query_params
    assert list(at.dataframe[0].value["Id"]) == ["distill-b", "distill-a"]


def test_the_page_follows_the_address(open_page, three):
    made, _ = three
    at = open_page("compare", project=made.id, runs="distill-b,distill-a", run="distill-a", axis="macs")
    assert not at.exception
    table = at.dataframe[0].value
    assert list(table["Run"]) == ["A", "B"]
    assert list(table["Id"]) == ["distill-b", "distill-a"]
    assert list(table["top-1"]) == ["92.00 %", "94.00 %"]
    assert list(table["Against B, points"]) == ["−2.0 (−2.9 to −1.1)", "–"]
    assert list(table["Unbeaten"]) == ["", "yes"]
    assert table["Latency, batch 1"][0] == "3.00 ms (2.67×)"
    assert at.metric[0].value == "94.00 %"
    assert "**30 images** of 1,000 get another answer (3.0 %): 20 from right to wrong, 10 from wrong to right." in texts(at, "markdown")
    assert "pruned :orange[cow], 60 %" in texts(at, "caption")
    confusions = at.dataframe[1].value
    assert confusions.to_dict("records") == [{"Is": "cat", "Taken for": "cow", "Dense": 0, "Pruned": 20, "More": 20}]


def test_names_from_data_stay_text(open_page, three):
    made, _ = three
    at = open_page("compare", project=made.id, runs="distill-a", run="distill-a")
    at.session_state["compare.way.distill-a"] = "wrong to right"
    at.run()
    assert "dense :orange[do\\*g], 90 %" in texts(at, "caption")
    assert "One run so far" in texts(at, "info")


def test_a_point_that_is_clicked_is_looked_at(monkeypatch):
    chosen = {}
    monkeypatch.setattr("app.widgets.compare_choice.look_at", lambda run: chosen.update(run=run))

    class Picked:
        def __init__(self, *points):
            self.selection = type("Selection", (), {"points": points})

    for points, run in (
        ([{"customdata": ["distill-b"]}], "distill-b"),
        ([{"customdata": [""]}, {"customdata": ["distill-c"]}], "distill-c"),
        ([], "distill-c"),
    ):
        monkeypatch.setattr("app.widgets.compare_choice.st.session_state", {"chart": Picked(*points)})
        from_chart("chart")
        assert chosen["run"] == run


def test_damage_is_said_and_the_others_are_compared(open_page, three, home):
    made, _ = three
    (home / "runs" / "distill-b" / "answers.npz").write_bytes(b"no archive")
    (home / "runs" / "distill-c" / "result.json").write_text("{}")
    at = open_page("compare", project=made.id, runs="distill-a,distill-b,distill-c,distill-gone")
    assert not at.exception
    assert "lacks dense" in texts(at, "error")
    assert "cannot read the answers" in texts(at, "error")
    assert "distill\\-gone" in texts(at, "warning")
    assert at.metric[0].value == "94.00 %"


@pytest.mark.parametrize("kind", [UNIFORM, RANDOM])
def test_a_baseline_is_queued_with_the_settings_of_the_run(open_page, three, home: Path, kind):
    made, entries = three
    at = open_page("compare", project=made.id, run="distill-a")
    at.button(key=f"compare.add.{kind}.distill-a").click().run()
    assert not at.exception
    queued = next(run for run in Store(database(home)).list_runs(made.id, ("distill",)) if run.state == "queued")
    assert queued.spec.options[BASELINE] == {"of": "distill-a", "kind": kind}
    assert queued.spec.options["target"] is None
    assert [len(row["keep"]) for row in queued.spec.options["plan"]["groups"]] == [4, 8, 8, 16]
    assert queued.id in texts(at, "success")
    at = open_page("compare", project=made.id, run="distill-a")
    assert at.button(key=f"compare.add.{kind}.distill-a").disabled
    from cpd.runs.subject import train_settings

    train_settings(queued.spec)  # the worker takes it
    json.dumps(queued.spec.to_dict())


def test_segmentation_is_compared_by_pixels(open_page, three, home):
    """Two classes on 40 images: the pruned model of A takes a tenth of each for the other, that of B none."""
    made, entries = three
    for name, wrong in (("a", 10), ("b", 0)):
        of = np.full((40, 2), 100)
        dense = Mapped(of, of, np.diag(of.sum(0)))
        pruned = Mapped(of - wrong, of, np.array([[4000 - 40 * wrong, 40 * wrong], [40 * wrong, 4000 - 40 * wrong]]))
        flipped = np.full(40, wrong / 100)
        answers = Answers("miou", ("sky", "road"), of, dense, pruned, flipped, np.arange(4), np.zeros((4, 8, 8, 3), np.uint8))
        folder = home / "runs" / f"distill-{name}"
        answers.save(folder / "answers.npz")
        row = json.loads((folder / "result.json").read_text())
        for model in ("dense", "pruned"):
            row[model] |= {"metric": "miou", "quality": answers.quality(model)}
        (folder / "result.json").write_text(json.dumps(row))
    at = open_page("compare", project=made.id, runs="distill-a,distill-b,distill-c", run="distill-a")
    assert not at.exception
    assert "same metric" in texts(at, "warning")  # C is of a classifier
    table = at.dataframe[0].value
    # 90 of 100 right, 100 taken, 100 there: IoU 90 / 110
    assert list(table["mIoU"]) == ["81.82 %", "100.00 %"]
    assert list(table["Against A, points"]) == ["–", "+18.2"]  # all images alike: resampling leaves no interval
    assert "On average **10.0 %** of an image's pixels" in texts(at, "markdown")
    assert {(row["Is"], row["Taken for"], row["More"]) for row in at.dataframe[1].value.to_dict("records")} == {("sky", "road", 400), ("road", "sky", 400)}
    at.button(key="compare.explain.distill-a").click().run()
    assert at.session_state["explain.wanted"] == "0, 1, 2, 3"


def test_it_says_at_which_cut_answers_changed(open_page, three, home):
    """Ten of the twenty images that A loses go at step 5, with what was cut at step 4; the others at step 10."""
    made, entries = three
    answers = entries[0].run.answers
    final, half = answers.pruned.answer, answers.dense.answer.copy()
    half[:10] = final[:10]
    book = Store(database(home))
    book.add_event("distill-a", 4, "cut", "stage1.conv0 loses 2 units", {"group": "stage1.conv0"})
    book.add_event("distill-a", 8, "cut", "stage1.conv1 loses 2 units", {"group": "stage1.conv1"})
    for step, found in ((5, half), (10, final)):
        book.add_event("distill-a", step, "eval", f"evaluated {step}", {KEY: packed(found)})
    changed = when_changed(read_finished(home / "runs" / "distill-a"), answers)
    flips = np.flatnonzero(answers.flipped)
    assert dict(zip(flips.tolist(), changed.since[flips].tolist(), strict=True)) == {i: 5 if i < 10 else 10 for i in flips.tolist()}
    at = open_page("compare", project=made.id, run="distill-a", runs="distill-a,distill-b")
    assert not at.exception
    table = next(frame.value for frame in at.dataframe if "Changed for good" in frame.value)
    assert table.to_dict("records") == [
        {"Step": 5, "Changed for good": 10, "Right before": 10, "After": "cut 1 (stage1.conv0)"},
        {"Step": 10, "Changed for good": 20, "Right before": 10, "After": "cut 2 (stage1.conv1)"},
    ]  # ten lost, and ten won at images 950 to 959
    confused = next(frame.value for frame in at.dataframe if "Taken for" in frame.value)
    assert set(confused["Since step"]) == {5}
    assert confused["After"].iloc[0] == "cut 1 (stage1.conv0)"
    shown = texts(at, "caption")
    assert "since step 5" in shown
    assert "Every cut was followed by an evaluation before the next." in shown
    at = open_page("compare", project=made.id, run="distill-b", runs="distill-a,distill-b")  # kept none on its way
    assert not any("Changed for good" in frame.value for frame in at.dataframe)


def test_it_says_at_which_cut_pixels_changed(open_page, three, home):
    """Two classes on 40 images. Of the first twenty a tenth of the pixels goes at step 5, after one cut; of the others at
    step 10, after two that nothing was evaluated between."""
    made, _ = three
    of = np.full((40, 2), 100)
    pruned = Mapped(of - 10, of, np.array([[3600, 400], [400, 3600]]))
    answers = Answers("miou", ("sky", "road"), of, Mapped(of, of, np.diag(of.sum(0))), pruned, np.full(40, 0.1), np.arange(4), np.zeros((4, 8, 8, 3), np.uint8))
    folder = home / "runs" / "distill-a"
    answers.save(folder / "answers.npz")
    row = json.loads((folder / "result.json").read_text())
    for model in ("dense", "pruned"):
        row[model] |= {"metric": "miou", "quality": answers.quality(model)}
    (folder / "result.json").write_text(json.dumps(row))
    book = Store(database(home))
    for step, group in ((4, "stage1.conv0"), (6, "stage1.conv1"), (8, "stage0.conv1")):
        book.add_event("distill-a", step, "cut", f"{group} loses 2 units", {"group": group})
    half = np.where(np.arange(40) < 20, 0.1, 0.0)
    for step, apart, iou, wrong in ((5, half, [0.9, 0.95], 100), (10, np.full(40, 0.1), [9 / 11, 9 / 11], 400)):
        book.add_event("distill-a", step, "eval", f"evaluated {step}", dict(event_data(apart, iou, np.array([[4000 - wrong, wrong], [wrong, 4000 - wrong]]))))
    at = open_page("compare", project=made.id, run="distill-a", runs="distill-a,distill-b")
    assert not at.exception
    frames = {frame.value.columns[-1] + frame.value.columns[1]: frame.value for frame in at.dataframe}
    second = "cuts 2 to 3 (stage1.conv1, stage0.conv1)"
    table = frames["GroupsAfter"]
    assert table["Images over"].tolist() == [20, 20]
    assert table["Apart"].tolist() == pytest.approx([5, 10], abs=0.01)
    assert table["After"].tolist() == ["cut 1", "cuts 2 to 3"]
    assert table["Groups"].tolist() == ["stage1.conv0", "stage1.conv1, stage0.conv1"]
    classes = frames["AfterDense"].set_index("Class")
    assert classes["Half of it since step"].to_dict() == {"sky": 5, "road": 10}  # 10 of 18 points at step 5; 5 of them
    assert classes["After"].to_dict() == {"sky": "cut 1 (stage1.conv0)", "road": second}
    confused = next(frame.value for frame in at.dataframe if "Taken for" in frame.value)
    assert set(confused["Since step"]) == {10}
    assert set(confused["After"]) == {second}
    shown = texts(at, "caption")
    assert "half of them since step 5, cut 1" in shown
    assert "In one place nothing was evaluated between two or more cuts" in shown
    assert "evaluated every 2 steps tells single cuts apart" in shown
