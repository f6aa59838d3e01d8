"""The Importance screen: scores by group and by layer, on one scale or another; agreement in words; heat maps of images."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic
from plan_page import click
from scipy.stats import spearmanr

from app import agree, palette
from app.charts import importance
from app.charts.attribution import heat_maps
from cpd.attribution.record import Answer, Attribution, Explained, save_arrays
from cpd.importance.normalise import normalise
from cpd.importance.scores import ScoreTable
from cpd.prune.cost import CostModel
from cpd.prune.plan import plan_ratios
from cpd.runs.project import create_project, project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database

RECORD = synthetic.chain()
NAMES = [group.name for group in RECORD.groups]


def texts(at, *kinds: str) -> str:
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def specs(at) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def titles(spec: dict) -> tuple[str, str]:
    return tuple(spec["layout"][axis].get("title", {}).get("text", "") for axis in ("xaxis", "yaxis"))


def show(at, view: str):
    at.segmented_control(key="importance.view").set_value(view).run()
    assert not at.exception
    return at


# Charts and words ----------------------------------------------------------------------------------------------------


def test_a_global_ranking_takes_the_lowest_units_wherever_they_are() -> None:
    scores = {"a": [1.0, 9.0, 9.0, 9.0], "b": [2.0, 3.0], "c": [8.0, 8.0]}
    assert importance.lowest(scores, 3 / 8) == {"a": 0.25, "b": 1.0, "c": 0.0}
    fig = importance.global_cut(scores, 3 / 8, "b")
    assert list(fig.data[0].y) == [0.25, 1.0, 0.0]
    assert fig.data[0].marker.color[1] == palette.SELECTION
    assert tuple(fig.data[0].customdata[0]) == ("a", 1, 4)


def test_scores_per_mac_are_drawn_as_they_are_and_on_a_logarithm_when_worlds_apart() -> None:
    scores = {"a": [4.0, 2.0, 1.0], "b": [4000.0, 2000.0]}
    fig = importance.sorted_curves(scores, "a", unit="Score per MAC")
    line = next(trace for trace in fig.data if trace.name == "this one")
    assert list(line.y) == [4, 2, 1]
    assert (fig.layout.yaxis.type, fig.layout.yaxis.title.text) == ("log", "Score per MAC")
    relative = importance.sorted_curves(scores, "a")
    assert list(next(trace for trace in relative.data if trace.name == "this one").y) == [4 / (7 / 3), 2 / (7 / 3), 1 / (7 / 3)]
    shown = np.asarray(importance.rank_map(scores, unit="Score per MAC", columns=2).data[0].z)
    assert shown[0].max() < shown[1].min()  # every unit of b is worth more than any of a


def test_where_criteria_disagree_is_said_with_figures() -> None:
    up, down = np.arange(8.0), np.arange(8.0)[::-1]
    scores = {"l2": {"g": up, "h": up}, "taylor": {"g": up, "h": down}, "random": {"g": down, "h": down}}
    found = agree.by_group(scores, ["g", "h"])
    assert found["l2", "taylor"] == pytest.approx([1.0, -1.0])
    rows = agree.disputes(scores, found, ["g", "h"])
    assert [(row.a, row.b, row.group, round(row.correlation, 9), row.shared) for row in rows] == [("l2", "taylor", "h", -1.0, 0.0)]
    said = agree.verdict(found, scores, ["g", "h"], {"taylor": {"h": 0.4}})
    assert "In 1 of 2 groups" in said[1]
    assert "`h`: **l2** and **taylor** give opposite orders (−1.00)" in said[2]
    assert "the other would cut 0 %" in said[2]
    assert "taylor would change with other batches" in said[2]


def test_criteria_that_agree_are_said_to_and_the_control_is_left_out() -> None:
    up = np.arange(8.0)
    scores = {"l1": {"g": up}, "l2": {"g": up**2}, "random": {"g": -up}}
    said = agree.verdict(agree.by_group(scores, ["g"]), scores, ["g"], {})
    assert "agree most (1.00" in said[0]
    assert "No two of them disagree" in said[1]
    assert agree.verdict(agree.by_group({"l1": {"g": up}}, ["g"]), {"l1": {"g": up}}, ["g"], {}) == []


def test_half_of_two_rankings_is_compared_by_hand() -> None:
    assert agree.shared_half(np.array([1.0, 2, 3, 4]), np.array([1.0, 4, 3, 2])) == 0.5


# Scores --------------------------------------------------------------------------------------------------------------


def test_importance_is_empty_until_scored_and_submits_what_was_chosen(open_page, project, home) -> None:
    made = project()
    at = open_page("importance", project=made.id)
    assert "Nothing has been scored" in texts(at, "markdown")
    at.multiselect(key="score.criteria").set_value(["l2", "fisher"])
    at.number_input(key="score.batches").set_value(3)
    at.run()
    at.button(key="score.go").click().run()
    assert not at.exception
    run = Store(database(home)).list_runs(made.id)[0]
    assert (run.kind, run.spec.options) == ("score", {"criteria": ["l2", "fisher"], "batches": 3})
    assert at.button(key="score.go").disabled


def test_the_chosen_group_is_drawn_with_the_plans_cut(open_page, project, home) -> None:
    made = project(RECORD, scored=("l2", "fisher"))
    plan_ratios(RECORD, {NAMES[3]: 0.25}, None).save(project_folder(home, made.id) / "plan.json")
    at = open_page("importance", project=made.id, group=NAMES[3])
    assert not at.exception
    curves = specs(at)[0]
    lengths = {trace["name"]: len(trace["x"]) for trace in curves["data"]}
    assert (lengths["kept by the plan"], lengths["cut by the plan"]) == (24, 8)
    assert len(specs(at)) == 4


def test_layers_take_the_place_of_groups_and_follow_the_chosen_group(open_page, project) -> None:
    at = open_page("importance", project=project(RECORD, scored=("l2",)).id, group=NAMES[2])
    at.segmented_control(key="importance.by").set_value("layers").run()
    assert not at.exception
    assert at.selectbox(key="importance.layer").value == NAMES[2]  # the layer that writes the group
    drawn = specs(at)
    assert len(drawn) == 3  # a global ranking is one of groups
    assert drawn[0]["layout"]["xaxis"]["title"]["text"] == importance.RANK_OF_LAYER
    assert "The groups that own its outputs" in texts(at, "markdown")


def test_a_row_of_the_map_that_is_clicked_is_looked_at(open_page, project) -> None:
    at = open_page("importance", project=project(RECORD, scored=("l2",)).id, group=NAMES[2])
    click(at, "importance.map", NAMES[1])
    assert at.query_params["group"] == NAMES[1]
    assert at.selectbox(key="importance.group").value == NAMES[1]
    at.segmented_control(key="importance.by").set_value("layers").run()
    click(at, "importance.map", NAMES[3])  # the chain's layers are called like its groups
    assert (at.selectbox(key="importance.layer").value, at.query_params["group"]) == (NAMES[3], NAMES[3])
    assert not at.exception


def test_scores_per_mac_rank_groups_as_the_library_does(open_page, project) -> None:
    record = synthetic.chain()
    at = open_page("importance", project=project(record, scored=("l2",)).id)
    at.selectbox(key="importance.within").set_value("none")
    at.selectbox(key="importance.per").set_value("macs").run()
    assert not at.exception
    expected = normalise(synthetic.table(record, "l2", 0).groups, "none", "macs", CostModel(record))
    share = importance.lowest({name: expected[name] for name in NAMES}, 0.3)
    bars = next(trace for spec in specs(at) for trace in spec["data"] if trace.get("name") == "would go")
    np.testing.assert_allclose([bars["y"][i] for i in range(4)] if isinstance(bars["y"], list) else _decoded(bars["y"]), [share[name] for name in NAMES])


def _decoded(column: dict) -> np.ndarray:
    """Plotly packs long columns as base64."""
    return np.frombuffer(base64.b64decode(column["bdata"]), np.dtype(column["dtype"]))


def test_time_is_asked_for_before_it_is_known(open_page, project, home) -> None:
    made = project(RECORD, scored=("l2",))
    at = open_page("importance", project=made.id)
    at.selectbox(key="importance.per").set_value("latency_ms").run()
    assert not at.exception
    assert "until then the scores are shown per unit" in texts(at, "warning")
    synthetic.latency_table(RECORD).save(project_folder(home, made.id) / "latency.json")
    at.run()
    assert not at.exception
    assert not texts(at, "warning")


# Agreement -----------------------------------------------------------------------------------------------------------


def test_agreement_and_stability_are_drawn_and_said(open_page, project, home) -> None:
    made = project(RECORD, scored=("l2", "fisher", "random"))
    path = project_folder(home, made.id) / "scores" / "fisher.json"
    table = ScoreTable.load(path)
    same, other = dict(table.groups), {name: values[::-1].copy() for name, values in table.groups.items()}
    replace(table, parts=(same, other)).save(path)
    at = show(open_page("importance", project=made.id), "agreement")
    said = texts(at, "markdown")
    assert "**fisher** and **l2**" in said
    assert "**fisher**: would repeat at −1.00" in said
    assert "score on more batches" in said
    names = {trace.get("name") for spec in specs(at) for trace in spec["data"]}
    assert {"fisher and l2", "fisher"} <= names


def test_one_criterion_has_nothing_to_be_compared_with(open_page, project) -> None:
    at = show(open_page("importance", project=project(RECORD, scored=("l2",)).id), "agreement")
    assert "Score a second criterion" in texts(at, "caption")
    assert "on two batches or more" in texts(at, "caption")


# Heat maps -----------------------------------------------------------------------------------------------------------


def explained(folder, plan: str = "", compared: str = "dense", model: str = RECORD.model, pruned: bool = False) -> Attribution:
    """Two images; the second one's answer changes."""
    rng = np.random.default_rng(0)
    images = []
    networks = ("dense", "pruned") if pruned else ("dense",)
    for number, second in ((3, 7), (17, 1)):
        answers = {"dense": Answer(((7, 0.9), (1, 0.1)), 4.0, 0.9)} | ({"pruned": Answer(((second, 0.6), (0, 0.4)), 2.0, 0.6)} if pruned else {})
        images.append(Explained(number, 7, 7, 1.0, answers, {f"integrated.{name}": 0.02 for name in networks}))
        arrays = {f"{method}.{name}": rng.random((8, 8), dtype=np.float32) for method in ("gradcam", "integrated") for name in networks}
        save_arrays(folder, number, {"image": rng.integers(0, 255, (8, 8, 1), dtype=np.uint8), **arrays})
    found = Attribution(model, compared, plan, tuple("0123456789"), ("gradcam", "integrated"), "stage1, 4 × 4", 256, 5, tuple(images), 3.0, True)
    found.save(folder)
    return found


def test_both_maps_share_one_scale_and_their_difference_is_exact() -> None:
    image = np.zeros((4, 6, 1), np.uint8)
    first, second = np.full((4, 6), 1.0, np.float32), np.full((4, 6), 4.0, np.float32)
    fig = heat_maps(image, {"dense": first, "pruned": second}, signed=False, difference="pruned − dense")
    panels = {trace.name: trace for trace in fig.data if trace.type == "heatmap"}
    assert {trace.zmax for trace in panels.values()} == {4.0}
    assert np.asarray(panels["pruned − dense"].z).max() == 3
    assert (panels["pruned − dense"].zmin, panels["dense"].zmin) == (-4.0, 0.0)
    own = {trace.name: trace.zmax for trace in heat_maps(image, {"dense": first, "pruned": second}, signed=False, shared=False).data if trace.type == "heatmap"}
    assert own == {"dense": 1.0, "pruned": 4.0}
    assert len(fig.layout.images) == 4
    # Both maps stand one above the other.
    assert panels["dense"].xaxis != panels["pruned"].xaxis
    assert fig.layout.xaxis2.domain == fig.layout.xaxis4.domain


def test_heat_maps_are_asked_for_with_the_plan_that_is_on_screen(open_page, project, home) -> None:
    made = project(RECORD)
    plan = plan_ratios(RECORD, {NAMES[1]: 0.5}, None)
    plan.save(project_folder(home, made.id) / "plan.json")
    at = show(open_page("importance", project=made.id), "images")
    assert "No image has been explained" in texts(at, "markdown")
    at.text_input(key="explain.wanted").set_value("3, 17").run()
    at.button(key="explain.go").click().run()
    assert not at.exception
    run = Store(database(home)).list_runs(made.id)[0]
    assert run.kind == "attribute"
    assert (run.spec.options["compared"], run.spec.options["wanted"], run.spec.options["images"]) == ("plan", [3, 17], 12)
    assert json.loads(plan.to_json()) == run.spec.options["plan"]


def test_numbers_that_are_none_are_refused_in_words(open_page, project, home) -> None:
    made = project(RECORD)
    at = show(open_page("importance", project=made.id), "images")
    at.text_input(key="explain.wanted").set_value("the third").run()
    at.button(key="explain.go").click().run()
    assert "name images by their numbers" in texts(at, "error")
    assert not Store(database(home)).list_runs(made.id)


def test_an_image_is_shown_with_both_answers_and_how_far_the_maps_agree(open_page, project, home) -> None:
    made = project(RECORD)
    plan = plan_ratios(RECORD, {NAMES[1]: 0.5}, None)
    home_of = project_folder(home, made.id)
    plan.save(home_of / "plan.json")
    explained(home_of / "attributions" / "plan", plan.digest, "plan", pruned=True)
    at = show(open_page("importance", project=made.id), "images")
    frame = at.dataframe[0].value
    assert list(frame["number"]) == [3, 17]
    assert list(frame["pruned"]) == ["7", "1"]
    assert frame["image"][0].startswith("data:image/png;base64,")
    at.session_state["explain.number"] = 17
    at.run()
    said = [annotation["text"] for annotation in specs(at)[0]["layout"]["annotations"]]
    assert said == ["the image", "dense: 7 (90 %)", "pruned − dense", "pruned: 1 (60 %)"]
    assert "rank correlation of their maps" in texts(at, "caption")
    assert "changes on 5 of 256" in texts(at, "markdown")
    assert not texts(at, "warning")
    at.segmented_control(key="explain.method").set_value("integrated").run()
    assert "the pixels miss the change of the score by 2.0 % (dense)" in texts(at, "caption")
    plan_ratios(RECORD, {NAMES[1]: 0.25}, None).save(home_of / "plan.json")
    at.run()
    assert "The plan has changed since" in texts(at, "warning")


@pytest.mark.parametrize("case", ["another comb", "damaged"])
def test_heat_maps_that_do_not_fit_are_not_shown(open_page, project, home, case) -> None:
    made = project(RECORD)
    folder = project_folder(home, made.id) / "attributions" / "dense"
    explained(folder, model="another" if case == "another comb" else RECORD.model)
    if case == "damaged":
        (folder / "index.json").write_text('{"schema": 1}')
    at = show(open_page("importance", project=made.id), "images")
    assert ("of another comb" in texts(at, "markdown")) if case == "another comb" else ("explain again" in texts(at, "error"))
    assert not at.get("plotly_chart")


def test_a_project_without_data_has_no_images(open_page, home, no_workers) -> None:
    made = create_project(home, "bare", "timm:chain")
    RECORD.save(project_folder(home, made.id))
    at = show(open_page("importance", project=made.id), "images")
    assert "no data" in texts(at, "markdown")


def test_agreement_is_spearmans_correlation_as_scipy_has_it() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 20).astype(float), rng.normal(size=20)
    found = agree.by_group({"l1": {"g": a, "flat": a}, "l2": {"g": b, "flat": np.ones(20)}}, ["g", "flat", "missing"])
    assert found["l1", "l2"][0] == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(found["l1", "l2"][1:]).all()
