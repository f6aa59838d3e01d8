"""The Sensitivity screen: what a scan says, how it starts, fills, stops and goes stale, and what its charts draw."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scans
import synthetic

from app import sense
from app.charts.sensitivity import GAIN, accuracy_curves, latency_curves, latency_stairs, sensitivity_map
from cpd.comb.record import CombRecord
from cpd.prune.plan import plan_ratios
from cpd.runs.project import project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database
from cpd.sensitivity.settings import SenseSettings
from cpd.sensitivity.table import SensitivityTable

RECORD = synthetic.chain()  # 8, 16, 16 and 32 units
NAMES = [group.name for group in RECORD.groups]
WIDTHS = {group.name: group.width for group in RECORD.groups}


def texts(at, *kinds: str) -> str:
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def metric(at, label: str):
    return next(element for element in at.metric if element.label.startswith(label))


@pytest.fixture
def scanned(project, home):
    """Make a project whose scan is on disk."""

    def make(table: SensitivityTable, record: CombRecord = RECORD):
        made = project(record)
        table.save(project_folder(home, made.id) / "sensitivity.json")
        return made

    return make


# What the table says -------------------------------------------------------------------------------------------------


def test_a_group_reaches_as_far_as_its_curve_stays_within_the_limit() -> None:
    table = scans.scan(RECORD)  # 0.4, 1.6, 3.6 and 6.4 points an eighth
    far = {name: sense.reach(table, name, WIDTHS[name], 0.017) for name in NAMES}
    assert [far[name].ratio for name in NAMES] == [4 / 8, 1 / 8, 0, 0]
    assert (far[NAMES[0]].kept, far[NAMES[1]].kept) == (4, 14)
    assert far[NAMES[0]].drop == pytest.approx(0.016)
    assert far[NAMES[0]].saved_ms == pytest.approx(0.2)
    assert not far[NAMES[0]].sure  # 1.6 points, give or take 1.645 * 0.4
    assert sense.reach(table, NAMES[1], 16, 0.0227).sure  # 1.6 points again, and room for the error
    assert sense.reach(table, NAMES[0], 8, 0.5).open


def test_a_lucky_point_beyond_a_bad_one_does_not_count() -> None:
    table = scans.scan(RECORD)
    points = list(table.groups[NAMES[3]].points)
    points[5] = replace(points[5], value=table.dense)
    lucky = replace(table, groups={**table.groups, NAMES[3]: replace(table.groups[NAMES[3]], points=tuple(points))})
    assert sense.reach(lucky, NAMES[3], 32, 0.01).ratio == 0


def test_the_most_robust_group_comes_first() -> None:
    rows = sense.ranked(scans.scan(RECORD), RECORD, 0.05)
    assert [row.group for row in rows] == NAMES
    assert [row.ratio for row in rows] == sorted((row.ratio for row in rows), reverse=True)


def test_stairs_are_said_in_words() -> None:
    said = sense.stairs_in_words(scans.scan(RECORD).groups[NAMES[3]].points)
    assert "From 28 to 24 units buys 1.00 ms." in said
    assert "32 to 28 units take equally long: keep 32." in said
    assert sense.stairs_in_words(()) == []


# Charts --------------------------------------------------------------------------------------------------------------


def test_curves_show_the_selected_group_with_its_band_and_all_others_in_one_trace() -> None:
    table = scans.scan(RECORD)
    fig = accuracy_curves(table, WIDTHS, NAMES[1], cut=0.25)
    traces = {trace.name: trace for trace in fig.data}
    line = traces[NAMES[1]]
    np.testing.assert_allclose(line.x, [i / 8 for i in range(8)])
    np.testing.assert_allclose(line.y, [0.95 - 0.016 * i for i in range(8)])
    band = traces["90 % interval"].y
    np.testing.assert_allclose(np.subtract(band[:8], line.y), [0, *[1.645 * 0.004] * 7], atol=1e-9)  # of the difference: none at dense
    assert {data[0] for data in traces["other groups"].customdata if data} == set(NAMES) - {NAMES[1]}
    assert fig.layout.shapes[0].x0 == 0.25
    times = {trace.name: trace for trace in latency_curves(table, WIDTHS, NAMES[1]).data}
    assert list(times[NAMES[1]].y) == [10, 10, 9, 9, 8, 8, 7, 7]


def test_one_disturbed_timing_does_not_flatten_the_curves() -> None:
    table = scans.scan(RECORD)
    points = list(table.groups[NAMES[3]].points)
    points[2] = replace(points[2], latency_high=500.0)
    group = replace(table.groups[NAMES[3]], points=tuple(points))
    noisy = replace(table, groups={**table.groups, NAMES[3]: group})
    for fig in (latency_curves(noisy, WIDTHS, NAMES[3]), latency_stairs(group.points, 32, 32)):
        low, high = fig.layout.yaxis.range
        assert 6 < low < 7
        assert 10 < high < 11


def test_every_measured_width_is_one_cell_of_the_map_and_cells_do_not_overlap() -> None:
    table = scans.scan(RECORD, floor=0.7)  # the last group stops at its fourth cut
    bars = sensitivity_map(table, WIDTHS, cuts={NAMES[0]: 0.5}, selected=NAMES[2]).data[0]
    rows = np.asarray(bars.y)
    assert [int((rows == i).sum()) for i in range(4)] == [7, 7, 7, 4]
    ends = np.add(bars.base, bars.x)
    for row in range(4):
        assert (np.diff(np.asarray(bars.base)[rows == row]) > 0).all()
        np.testing.assert_allclose(np.asarray(bars.base)[rows == row][1:], ends[rows == row][:-1])
    drops = np.asarray(bars.marker.color)[rows == 1]
    np.testing.assert_allclose(drops, [0.016 * i for i in range(1, 8)], atol=1e-9)
    assert (bars.marker.cmax, list(bars.marker.colorbar.ticktext)) == (0.1, ["0", "5", "10+"])
    gains = np.asarray(sensitivity_map(table, WIDTHS, GAIN).data[0].marker.color)[rows == 1]
    np.testing.assert_allclose(gains, [0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3], atol=1e-9)


def test_steps_that_buy_time_and_steps_that_buy_nothing_are_told_apart() -> None:
    table = scans.scan(RECORD)
    fig = latency_stairs(table.groups[NAMES[3]].points, 32, 32, kept=20)
    lines = {trace.name: [x for x in trace.x if x is not None] for trace in fig.data[:2]}
    assert lines == {"buys time": [28, 24, 20, 16, 12, 8], "buys nothing": [32, 28, 24, 20, 16, 12, 8, 4]}
    assert fig.layout.shapes[0].x0 == 20


@pytest.mark.parametrize("chart", [accuracy_curves, latency_curves, sensitivity_map])
def test_charts_of_nothing_keep_their_axes(chart) -> None:
    fig = chart(None, WIDTHS)
    assert not fig.data
    assert fig.layout.xaxis.title.text
    assert fig.layout.annotations[0].text


# The screen ----------------------------------------------------------------------------------------------------------


def test_nothing_measured_yet_starts_a_scan_with_what_the_form_says(open_page, project, home) -> None:
    made = project(RECORD, scored=("taylor",))
    at = open_page("sensitivity", project=made.id)
    assert not at.exception
    assert "Nothing has been measured" in texts(at, "markdown")
    at.number_input(key="sense.images").set_value(200)
    at.number_input(key="sense.floor").set_value(60.0)
    at.run()
    at.button(key="sense.go").click().run()
    assert not at.exception
    run = Store(database(home)).list_runs(made.id)[0]
    assert run.kind == "sense"
    asked = SenseSettings.from_dict(run.spec.options)  # the scan understands all of it
    assert asked.ratios == tuple(i / 10 for i in range(1, 10))
    assert (asked.images, asked.floor, asked.criterion, asked.batch) == (200, 0.6, "taylor", 32)
    assert at.button(key="sense.stop")
    assert not [button for button in at.button if button.key == "sense.go"]


@pytest.mark.usefixtures("no_workers")
def test_on_a_cluster_several_nodes_can_share_a_scan(open_page, project, home) -> None:
    made = project(RECORD)
    assert "sense.nodes" not in {field.key for field in open_page("sensitivity", project=made.id).number_input}
    (home / "cluster.json").write_text('{"ray": "127.0.0.1:1"}')
    at = open_page("sensitivity", project=made.id)
    at.number_input(key="sense.nodes").set_value(3).run()
    at.button(key="sense.go").click().run()
    assert not at.exception
    book = Store(database(home))
    (scan,) = book.list_runs(made.id, ("sense",))
    assert [run.spec.options["scan"] for run in book.list_runs(made.id, ("share",))] == [scan.id] * 2
    assert len([button for button in at.button if button.label == "Stop"]) == 1  # of the scan; helpers are not shown


def test_without_a_floor_of_ones_own_the_scan_takes_its_own(open_page, project, home) -> None:
    at = open_page("sensitivity", project=project(RECORD).id)
    at.button(key="sense.go").click().run()
    assert Store(database(home)).list_runs()[0].spec.options["floor"] is None


def test_a_finished_scan_is_ranked_and_shown(open_page, scanned, home) -> None:
    made = scanned(scans.scan(RECORD))
    plan_ratios(RECORD, {NAMES[3]: 0.25}, None).save(project_folder(home, made.id) / "plan.json")
    at = open_page("sensitivity", project=made.id, group=NAMES[3])
    assert not at.exception
    assert metric(at, "Groups measured").value == "4 of 4"
    assert metric(at, "Accuracy (top-1), dense").value == "95.00 %"
    frame = at.dataframe[0].value
    assert list(frame["group"]) == NAMES
    assert list(frame["reach"]) == [0.25, 0, 0, 0]
    at.number_input(key="sense.within").set_value(5.0).run()
    assert list(at.dataframe[0].value["reach"]) == [7 / 8, 3 / 8, 1 / 8, 0]
    assert "From 28 to 24 units buys 1.00 ms." in texts(at, "markdown")
    shapes = [json.loads(chart.proto.spec)["layout"].get("shapes", []) for chart in at.get("plotly_chart")]
    assert [[shape["x0"] for shape in row] for row in shapes if row][0] == [0.25]
    assert "a test bench" in texts(at, "caption")


def test_choosing_a_group_changes_the_link_and_every_chart(open_page, scanned) -> None:
    at = open_page("sensitivity", project=scanned(scans.scan(RECORD)).id, group=NAMES[0])
    at.selectbox(key="sense.group").set_value(NAMES[2]).run()
    assert at.query_params["group"] == NAMES[2]
    assert len([text for text in at.markdown if text.value.endswith(f" · {NAMES[2]}")]) == 3


def test_a_scan_under_way_shows_what_there_is_and_grows(open_page, scanned, home) -> None:
    made = scanned(scans.scan(RECORD, groups=1, done=False))
    book = Store(database(home))
    book.add("sense-1", made.spec("sense"))
    book.begin("sense-1")
    at = open_page("sensitivity", project=made.id)
    assert not at.exception
    assert metric(at, "Groups measured").value == "1 of 4"
    scans.scan(RECORD, groups=3, done=False).save(project_folder(home, made.id) / "sensitivity.json")
    at.run()
    assert metric(at, "Groups measured").value == "3 of 4"
    at.button(key="sense.stop").click().run()
    assert book.run("sense-1").state == "stopping"


def test_a_scan_that_was_stopped_says_how_far_it_got_and_goes_on(open_page, scanned, home) -> None:
    made = scanned(scans.scan(RECORD, groups=2, done=False))
    book = Store(database(home))
    book.add("sense-1", made.spec("sense"))
    book.finish("sense-1", "stopped")
    at = open_page("sensitivity", project=made.id)
    assert "ended after 2 groups" in texts(at, "markdown")
    at.button(key="sense.resume").click().run()
    assert not at.exception
    assert book.run("sense-1").state == "queued"


def test_a_scan_of_another_comb_is_not_shown(open_page, scanned) -> None:
    at = open_page("sensitivity", project=scanned(scans.scan(synthetic.chain((8, 16)))).id)
    assert not at.exception
    assert "made of another comb" in texts(at, "markdown")
    assert not at.dataframe


def test_a_damaged_table_is_said_in_words_and_can_be_made_again(open_page, scanned, home) -> None:
    made = scanned(scans.scan(RECORD))
    (project_folder(home, made.id) / "sensitivity.json").write_text('{"schema": 1}')
    at = open_page("sensitivity", project=made.id)
    assert not at.exception
    assert "scan again" in texts(at, "error")
    assert at.button(key="sense.go")


def test_a_locked_group_says_why_it_has_no_curve(open_page, scanned) -> None:
    record = synthetic.chain(locked=(1,))
    made = scanned(scans.scan(record), record)
    at = open_page("sensitivity", project=made.id, group=NAMES[1])
    assert "is locked: an operator without a rule reads it" in texts(at, "caption")
    assert metric(at, "Groups measured").value == "3 of 3"


def test_a_hundred_and_fifty_groups_are_drawn_in_good_time(open_page, scanned) -> None:
    record = synthetic.chain((64,) * 150)
    at = open_page("sensitivity", project=scanned(scans.scan(record), record).id)
    assert not at.exception
    assert len(at.dataframe[0].value) == 150
