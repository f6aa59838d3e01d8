"""The scan beside the plain loop: cut, re-estimate, evaluate everything, width by width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import cpd
from cpd.errors import PlanError, RunError
from cpd.measure.macs import counted_macs
from cpd.measure.recalibrate import recalibrate
from cpd.prune.plan import plan_ratios
from cpd.sensitivity.sample import calibration, held_out
from cpd.sensitivity.scan import scan
from cpd.sensitivity.settings import SenseSettings
from cpd.sensitivity.split import split
from cpd.sensitivity.walk import Walker

ALL = SenseSettings(images=0, ratios=(0.3, 0.6, 0.9), calibration=96, tolerance=0.0, floor=0.0, batch=0)


@pytest.fixture(scope="module")
def scores(comb):
    dice = np.random.default_rng(5)
    return {group.name: dice.random(group.width) for group in comb.groups}


@pytest.fixture(scope="module")
def table(net, inputs, comb, task, scores):
    return scan(net, inputs, comb, task, scores, ALL)


def plainly(net, comb, task, scores, family, ratio) -> tuple[int, float, float]:
    """(units kept, metric, MACs) by nothing but the public verbs."""
    plan = plan_ratios(comb, dict.fromkeys(family, ratio), scores)
    pruned = cpd.prune(net, comb, plan)
    recalibrate(pruned, calibration(task, 96, 0))
    metric = task.metric()
    with torch.no_grad():
        metric.update(pruned(task.images), task.targets)
    return len(plan.keep[family[0]]), float(metric.compute()), counted_macs(pruned, (task.images[:1],))


def test_the_table_is_that_of_the_plain_loop(net, comb, task, scores, table):
    prunable = [g for g in comb.groups if g.prunable]
    assert {"stem", "block1.conv1", "block2.conv1", "block2.conv2", "attention.qkv:heads"} <= {g.name for g in prunable}
    assert list(table.groups) == [g.name for g in prunable]
    for group in prunable:
        found = table.groups[group.name]
        rows = [plainly(net, comb, task, scores, (group.name, *group.tied), ratio) for ratio in ALL.ratios]
        expected = {kept: (value, macs) for kept, value, macs in rows if kept < group.width}
        assert {p.kept: p.value for p in found.points[1:]} == {
            k: pytest.approx(v, abs=1e-7) for k, (v, _) in expected.items()
        }
        if (
            "attention" not in group.name and "block2.conv2" not in group.name
        ):  # torch does not count attention on the CPU
            whole = counted_macs(net, (task.images[:1],))
            saved = {p.kept: found.points[0].macs - p.macs for p in found.points[1:]}
            assert saved == {kept: pytest.approx(whole - macs) for kept, (_, macs) in expected.items()}
        assert [p.kept for p in found.points] == sorted([*expected, group.width], reverse=True)
        assert all(p.images == 600 and p.low <= p.value <= p.high for p in found.points)
        assert found.tied == group.tied


def test_the_dense_network_is_measured_with_new_statistics(net, comb, task, table):
    assert table.dense == pytest.approx(plainly(net, comb, task, None, ("stem",), 0.0)[1])
    assert all(group.points[0].value == table.dense for group in table.groups.values())
    assert (table.done, table.images, table.calibration, table.metric) == (True, 600, 96, "top1")


@pytest.mark.parametrize("memory_mb", [0, 1])
def test_without_room_the_table_is_the_same(net, inputs, comb, task, scores, table, memory_mb):
    settings = replace(ALL, memory_mb=memory_mb, groups=("stem", "block1.conv1", "block2.conv1"), ratios=(0.6,))
    found = scan(net, inputs, comb, task, scores, settings)
    for name, points in values(found).items():
        assert len(points) == 2
        assert set(points) <= set(values(table)[name])


def values(table) -> dict[str, list[tuple[int, float, int]]]:
    return {name: [(p.kept, p.value, p.images) for p in group.points] for name, group in table.groups.items()}


def test_what_lies_before_a_group_is_shared_and_computed_nowhere_else(net, comb, scores):
    dense = Walker(cpd.prune(net, comb, cpd.uniform_plan(comb, 0.0)))

    def rest(name: str) -> list[str]:
        group = comb.record.by_name[name]
        cut = cpd.prune(net, comb, plan_ratios(comb, dict.fromkeys((name, *group.tied), 0.5), scores))
        found = split(dense, cut)
        return [str(read.target) for node in found.rest for read in node.all_input_nodes if read.op == "get_attr"]

    inner = rest("block2.conv1")
    assert "block2.conv1.weight" in inner
    assert "block2.conv2.weight" in inner
    assert "head.weight" in inner
    # The projection comes after the group in the graph and has nothing to do with it.
    assert not [name for name in inner if name.startswith(("stem", "norm", "block1", "block2.project"))]
    assert not [name for name in rest("attention.qkv:heads") if name.startswith("block")]
    assert "stem.weight" in rest("stem")


def test_a_scan_that_was_interrupted_goes_on_to_the_same_table(net, inputs, comb, task, scores, table):
    class Interrupted(Exception):
        pass

    reported = []

    def until(count: int):
        end = len(reported) + count

        def report(table, done, total):
            reported.append((table, done, total))
            if len(reported) == end:
                raise Interrupted

        return report

    groups = ("stem", "block1.conv1", "block2.conv1")
    settings = replace(ALL, tolerance=0.05, batch=2, latency_s=0.0, groups=groups)
    whole = scan(net, inputs, comb, task, scores, settings)
    known = None
    for count in (2, 5, 3):
        with pytest.raises(Interrupted):
            scan(net, inputs, comb, task, scores, settings, table=known, report=until(count))
        known = type(whole).from_dict(reported[-1][0].to_dict())
    found = scan(net, inputs, comb, task, scores, settings, table=known)
    assert values(found) == values(whole)
    kept = {name: group for name, group in known.groups.items() if group.points[-1].latency_ms is not None}
    assert kept
    assert all(found.groups[name] == group for name, group in kept.items())
    assert found.seconds > known.seconds
    done = [row[1] for row in reported]
    assert done[0] == 0
    assert max(done) <= reported[0][2]
    assert all(point.latency_ms is not None for group in found.groups.values() for point in group.points)


def test_fewer_images_where_they_say_enough_and_the_truth_within_tolerance(net, inputs, comb, task, scores, table):
    settings = replace(ALL, tolerance=0.03)
    found = scan(net, inputs, comb, task, scores, settings)
    apart = [
        (mine.value - full.value, mine.images)
        for name, group in found.groups.items()
        for mine, full in zip(group.points, table.groups[name].points, strict=True)
    ]
    assert 200 <= min(images for _, images in apart) < 600
    drops = np.array([abs(table.dense - p.value) for group in table.groups.values() for p in group.points])
    inside = np.abs([off for off, _ in apart]) <= np.maximum(0.03, 0.1 * drops)
    assert inside.mean() >= 0.9


def test_below_the_floor_a_group_is_cut_no_further(net, inputs, comb, task, scores, table):
    floor = sorted(p.value for group in table.groups.values() for p in group.points)[4]
    found = scan(net, inputs, comb, task, scores, replace(ALL, floor=floor))
    stopped = {name: group for name, group in found.groups.items() if group.stopped}
    assert stopped
    for name, group in found.groups.items():
        full = table.groups[name].points
        below = next((i for i, p in enumerate(full) if p.value < floor), len(full))
        assert values(found)[name] == values(table)[name][: below + 1]
        assert ("below the floor" in group.stopped) == (below < len(full))


def test_only_what_was_asked_for_is_scanned(net, inputs, comb, task, scores, table):
    settings = replace(ALL, groups=("block2.conv1",), multiple=4)
    found = scan(net, inputs, comb, task, scores, settings)
    assert [p.kept for p in found.groups["block2.conv1"].points] == [12, 8, 4]
    assert list(found.groups) == ["block2.conv1"]
    with pytest.raises(PlanError, match="no group is called 'nothing'"):
        scan(net, inputs, comb, task, scores, replace(ALL, groups=("nothing",)))
    locked = next(g.name for g in comb.groups if not g.prunable)
    with pytest.raises(PlanError, match="locked"):
        scan(net, inputs, comb, task, scores, replace(ALL, groups=(locked,)))


def test_a_metric_of_another_kind_is_scanned_alike(net, inputs, comb, task, scores):
    iou = replace(task, metric_name="miou")
    settings = replace(ALL, groups=("block1.conv1", "block2.conv2"))
    found = scan(net, inputs, comb, iou, scores, settings)
    for name, group in found.groups.items():
        rows = [plainly(net, comb, iou, scores, (name, *comb.record.by_name[name].tied), r) for r in ALL.ratios]
        assert {p.kept: p.value for p in group.points[1:]} == {k: pytest.approx(v, abs=1e-6) for k, v, _ in rows}
        assert all(0 <= p.low < p.value < p.high <= 1 for p in group.points)
    few = scan(net, inputs, comb, iou, scores, replace(settings, tolerance=0.04))
    assert min(p.images for group in few.groups.values() for p in group.points) < 600
    for name, group in few.groups.items():
        for mine, full in zip(group.points, found.groups[name].points, strict=True):
            assert abs(mine.value - full.value) < 0.1


def test_images_are_some_of_all_in_random_order(task):
    batches = held_out(task, 100, seed=3)
    assert [len(targets) for _, targets in batches] == [32, 32, 32, 4]
    assert batches[0][1].unique().numel() == 5  # the data set is sorted by class
    seen = torch.cat([images for images, _ in batches]).flatten(1)
    where = (seen[:, None] == task.images.flatten(1)).all(-1).nonzero()[:, 1]
    assert len(where) == len(where.unique()) == 100
    assert torch.equal(task.targets[where], torch.cat([targets for _, targets in batches]))
    assert sum(len(targets) for _, targets in held_out(task, 0, seed=3)) == 600


@pytest.mark.parametrize(
    "row, words",
    [
        ({"ratios": [0.0]}, "ratios"),
        ({"floor": 2}, "floor 2"),
        ({"images": "many"}, "setting images='many'"),
        ({"ratios": "0.5"}, "setting ratios='0.5'"),
        ({"speed": 1}, "no setting of a scan is called 'speed'"),
        ({"batch": -1}, "batch -1"),
    ],
)
def test_impossible_settings_are_refused(row, words):
    with pytest.raises(RunError, match=words):
        SenseSettings.from_dict(row)
    assert SenseSettings.from_dict(ALL.to_dict()) == ALL
