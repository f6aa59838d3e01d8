"""Properties of what is cut when: a plan is met exactly, the cost falls as promised, ties and blocks hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as hs

from cpd.comb.comb import Comb
from cpd.comb.group import Group, Slice
from cpd.comb.record import CombRecord, OperatorCost, Ragged, TensorSize
from cpd.distill.schedule import Schedule, changes
from cpd.distill.settings import TrainSettings
from cpd.errors import PlanError, RunError
from cpd.prune.cost import CostModel
from cpd.prune.order import towards
from cpd.prune.plan import Constraints, plan_ratios

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def chain(widths: list[int], blocks: int = 1, tied: bool = False) -> CombRecord:
    """Linear layers one after another; group i is the output of layer i. Group 1 has blocks; 0 and 2 may be tied."""
    starts = np.concatenate([[0], np.cumsum(widths)])
    groups, tensors, operators = [], [], []
    for i, width in enumerate(widths):
        index = np.arange(width, dtype=np.int64).reshape(-1, 1)
        slices = [Slice(f"l{i}.weight", 0, index)]
        if i + 1 < len(widths):
            slices.append(Slice(f"l{i + 1}.weight", 1, index))
        block = tuple(u * blocks // width for u in range(width)) if i == 1 and blocks > 1 else None
        ties = {0: ("l2",), 2: ("l0",)}.get(i, ()) if tied else ()
        groups.append(Group(f"l{i}", width, tuple(slices), block, tied=ties))
        before = i - 1
        shape = (width, widths[before] if i else 3)
        extents = (i, before if i else -1)
        tensors.append(TensorSize(f"l{i}.weight", shape, extents, True))
        operators.append(
            OperatorCost(f"linear_{i}", f"l{i}", "linear", 1.0 if i else 3.0, tuple(e for e in extents if e >= 0))
        )
    extents_of = Ragged.of([list(range(starts[i], starts[i + 1])) for i in range(len(widths))])
    units = Ragged.of([[a] for a in range(starts[-1])])
    return CombRecord("chain", tuple(groups), int(starts[-1]), units, extents_of, tuple(tensors), tuple(operators))


def scores_of(record: CombRecord, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {g.name: rng.random(g.width) + 0.01 for g in record.groups}


@QUICK
@given(
    ratio=hs.lists(hs.floats(0, 0.95), min_size=3, max_size=3),
    seed=hs.integers(0, 99),
    chunks=hs.integers(1, 20),
    tied=hs.booleans(),
)
def test_chunks_lead_exactly_to_the_plan(ratio: list[float], seed: int, chunks: int, tied: bool) -> None:
    record = chain([12, 16, 12], blocks=4, tied=tied)
    scores = scores_of(record, seed)
    if tied:
        ratio[2] = ratio[0]
    chosen = scores_of(record, seed + 1)  # the plan keeps other units than today's scores would
    plan = plan_ratios(record, dict(zip(("l0", "l1", "l2"), ratio, strict=True)), chosen)
    keep = {g.name: tuple(range(g.width)) for g in record.groups}
    for cut in towards(CostModel(record), scores, keep, plan.keep, chunks):
        assert set(cut.keep) < set(keep[cut.group])
        assert set(plan.keep[cut.group]) <= set(cut.keep)
        gone, left = set(keep[cut.group]) - set(cut.keep), set(cut.keep) - set(plan.keep[cut.group])
        block = record.by_name[cut.group].blocks
        for b in set(block or [0]):
            here = [u for u in range(record.by_name[cut.group].width) if block is None or block[u] == b]
            worst_gone = max((scores[cut.group][u] for u in gone if u in here), default=0.0)
            assert all(scores[cut.group][u] >= worst_gone for u in left if u in here)
        if block:
            counts = np.bincount([block[u] for u in cut.keep])
            assert counts.min() == counts.max()
        keep[cut.group] = cut.keep
    assert keep == plan.keep


@QUICK
@given(share=hs.floats(0.05, 1), seed=hs.integers(0, 99), events=hs.integers(1, 12), tied=hs.booleans())
def test_a_target_is_met_step_by_step(share: float, seed: int, events: int, tied: bool) -> None:
    record = chain([24, 32, 24], blocks=2, tied=tied)
    schedule = Schedule(record, None, {"macs": share}, events)
    keep = schedule.whole()
    for event in range(1, events + 1):
        after = schedule.after(event, keep, scores_of(record, seed + event))
        assert all(set(after[name]) <= set(keep[name]) for name in keep)
        assert schedule.reached(after) <= schedule.goal(event) + 1e-12
        if tied:
            assert len(after["l0"]) == len(after["l2"])
        keep = after
    plan = schedule.finished(keep)
    assert plan.keep == keep
    assert plan.shortfall == ""
    # fine chunks at the end: less than the dearest single step below the target
    assert schedule.reached(keep) >= share - 0.12
    plan.check(record)


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1])
def test_equal_scores_prune_every_group_at_one_pace(share: float) -> None:
    """Six units or 768: where scores have nothing to say, groups keep about the same share."""
    record = chain([48, 768, 12, 200])
    schedule = Schedule(record, None, {"macs": share}, 8)
    keep = schedule.whole()
    for event in range(1, 9):
        keep = schedule.after(event, keep, {g.name: np.full(g.width, 7.0) for g in record.groups})
    left = [len(keep[g.name]) / g.width for g in record.groups]
    assert max(left) - min(left) < 0.2
    assert np.mean(left) == pytest.approx(share**0.5, abs=0.12)  # a layer's cost is a product of two widths


def test_a_target_out_of_reach_says_so() -> None:
    record = chain([8, 8, 8])
    schedule = Schedule(record, None, {"params": 0.05}, 2, constraints=Constraints(max_ratio=0.25))
    keep = schedule.whole()
    for event in (1, 2):
        keep = schedule.after(event, keep, scores_of(record, event))
    plan = schedule.finished(keep)
    assert [len(k) for k in keep.values()] == [6, 6, 6]
    assert "above the target" in plan.shortfall


def test_plan_and_target_exclude_each_other_and_plans_are_checked(comb: Comb) -> None:
    with pytest.raises(PlanError, match="either a plan or a target"):
        Schedule(comb.record, None, None, 3)
    other = plan_ratios(chain([8, 8, 8]), {})
    with pytest.raises(PlanError, match="made for another model"):
        Schedule(comb.record, other, None, 3)


def test_changes_name_what_went() -> None:
    before = {"a": (0, 1, 2), "b": (0, 1)}
    (change,) = changes(before, {"a": (1,), "b": (0, 1)})
    assert (change.group, change.removed, change.width) == ("a", 2, 1)


@QUICK
@given(
    total=hs.integers(2, 3000), share=hs.floats(0, 1), interval=hs.integers(0, 200), chunks=hs.integers(1, 40),
    kind=hs.sampled_from(["interval", "few-step", "one-shot"]),
)  # fmt: skip
def test_cut_steps_lie_in_the_run_and_leave_steps_after_them(
    total: int, share: float, interval: int, chunks: int, kind: str
) -> None:
    steps = TrainSettings(cut_share=share, interval=interval, chunks=chunks, schedule=kind).cut_steps(total)
    assert steps
    assert list(steps) == sorted(set(steps))
    assert 1 <= steps[0] <= steps[-1] <= total - 1
    assert steps[-1] <= max(1, round(total * share))
    if kind == "one-shot":
        assert len(steps) == 1
    if kind == "interval" and interval and len(steps) > 1:
        assert all(b - a >= interval for a, b in zip(steps, steps[1:], strict=False))


@pytest.mark.parametrize(
    "row, words",
    [
        ({"lr": -1}, "setting lr=-1: give a number of 0 or more"),
        ({"cut_share": 1.5}, r"setting cut_share=1.5 is outside 0..1"),
        ({"schedule": "often"}, "choose one of interval, few-step, one-shot"),
        ({"criterion": "l3"}, "setting criterion='l3'"),
        ({"losses": {"soft": 1}}, "no loss is called 'soft'; there are task, soft_logits"),
        ({"losses": {"task": 0}}, "one is above 0"),
        ({"learning_rate": 1}, "no training setting is called 'learning_rate'"),
        ({"batch_size": 10, "accumulate": 3}, "equal parts"),
        ({"epochs": "ten"}, "setting epochs='ten'"),
    ],
)
def test_impossible_settings_are_one_clear_line(row: dict[str, object], words: str) -> None:
    with pytest.raises(RunError, match=words):
        TrainSettings.from_dict(row)


def test_settings_survive_json() -> None:
    import json

    chosen = TrainSettings(steps=7, losses={"task": 1, "features": 0.5}, schedule="few-step")
    assert TrainSettings.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen
