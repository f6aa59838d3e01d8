"""The doctor on small networks: right ones pass, and what is broken on purpose is found, named and locked."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import NETWORKS
from torch import Tensor, nn

import cpd.comb.mill
from cpd.comb.comb import Comb, comb
from cpd.comb.doctor import examine, unread
from cpd.comb.findings import Findings
from cpd.comb.threads import quickest
from cpd.errors import PlanError


def combed(name: str) -> tuple[nn.Module, tuple[Tensor, ...], Comb]:
    torch.manual_seed(0)
    build, shape, _ = NETWORKS[name]
    model, inputs = build().eval(), (torch.randn(shape),)
    return model, inputs, comb(model, inputs)


@pytest.mark.parametrize("name", ["residual", "grouped", "attention", "structured", "lstm"])
def test_a_right_model_passes_and_is_left_as_it_was(name: str) -> None:
    model, inputs, found = combed(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    calls: list[tuple[int, int]] = []
    report = examine(model, inputs, found, progress=lambda *now: calls.append(now))
    assert report.findings.well, report.table()
    tried = [row for row in report.rows if row.certified is not None]
    assert [row.group for row in tried] == [g.name for g in found.groups if g.prunable]
    assert all(row.verdict.startswith("fine") for row in tried)
    assert all(row.forward and row.backward and row.reload for row in tried if row.ratios)
    assert all(g.certified for g in report.comb.groups if g.prunable)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not model.training
    assert calls[-1][0] == calls[-1][1] == 3 * (len(tried) + 2)


def test_the_quicker_number_of_threads_is_taken_and_put_back() -> None:
    class Waits(nn.Module):
        """Pretends that threads get in each other's way."""

        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.01 * (torch.get_num_threads() - 1))
            return x

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with quickest(Waits(), (torch.zeros(1),)) as count:
            assert count == torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_trial_cuts_take_the_legal_widths_nearest_to_the_ratios() -> None:
    """8 channels in 4 blocks keep 8 or 4; of 6 channels 4.5, 3 and 0.6 are asked for and 5, 3 and 1 kept."""
    model, inputs, found = combed("group_norm")
    rows = {row.group: row for row in examine(model, inputs, found).rows}
    assert rows["body.0:channels"].ratios == (0.5,)
    assert [round(6 * (1 - ratio)) for ratio in rows["body.3"].ratios] == [5, 3, 1]


def test_a_comb_that_misses_a_slice_fails_in_that_group_alone() -> None:
    model, inputs, found = combed("concat")
    at = next(i for i, g in enumerate(found.groups) if g.prunable)
    victim = found.groups[at]
    maimed = found.with_groups(tuple(replace(g, slices=g.slices[:-1]) if g is victim else g for g in found.groups))
    report = examine(model, inputs, maimed)
    assert report.findings.failed == (victim.name,)
    row = report.rows[at]
    assert row.certified is False
    assert max(row.relabel_error, row.silence_error) > 1e-3
    locked = report.comb.groups[at]
    assert (locked.prunable, locked.certified) == (False, False)
    assert locked.reason.startswith("the doctor found: not certified: relabelling its units changes the output by")
    assert [g.prunable for i, g in enumerate(report.comb.groups) if i != at] == [
        g.prunable for i, g in enumerate(found.groups) if i != at
    ]
    assert f"locked now: {victim.name}" in report.table()


def breaking(monkeypatch: pytest.MonkeyPatch, tensor: str, dense: int, break_it: Any) -> None:
    """Surgery that breaks the network whenever `tensor` lost rows."""
    real = cpd.comb.mill.prune

    def prune(*arguments: Any) -> nn.Module:
        network = real(*arguments)
        if len(network.state_dict()[tensor]) < dense:
            break_it(network)
        return network

    monkeypatch.setattr("cpd.comb.mill.prune", prune)


def no_gradient(network: nn.Module) -> None:
    network.get_parameter("body.one.0.weight").register_hook(lambda grad: grad * float("nan"))


def rounds_when_saved(network: nn.Module) -> None:
    network.register_state_dict_post_hook(
        lambda _, state, *__: state.update({k: v.half().float() for k, v in state.items() if v.is_floating_point()})
    )


def fixed_batch(network: nn.Module) -> None:
    network.register_forward_hook(lambda _, __, y: y + len(y))


def another_shape(network: nn.Module) -> None:
    network.register_forward_hook(lambda _, __, y: y[:, :-1])


@pytest.mark.parametrize(
    ("break_it", "step", "words"),
    [
        (no_gradient, "backward", "the gradient of body.one.0.weight is not finite"),
        (rounds_when_saved, "reload", "loaded again it gives other outputs"),
        (fixed_batch, "forward", "one sample alone gives another answer"),
        (another_shape, "forward", "outputs of shape 2x4, 1x4 in place of 2x5, 1x5"),
    ],
)
def test_a_cut_that_breaks_the_network_locks_its_group(
    monkeypatch: pytest.MonkeyPatch, break_it: Any, step: str, words: str
) -> None:
    model, inputs, found = combed("residual")
    breaking(monkeypatch, "body.one.0.weight", 12, break_it)
    report = examine(model, inputs, found)
    assert report.findings.failed == ("body.one.0",)
    row = next(row for row in report.rows if row.group == "body.one.0")
    assert getattr(row, step) is False
    assert row.certified
    assert words in row.verdict
    group = report.comb.record.by_name["body.one.0"]
    assert not group.prunable
    assert f"{step} fails when cut alone by 25%" in group.reason


def test_groups_that_only_fail_together_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cut is fine, both at once are not: the later one is locked, and the rest goes on."""
    model, inputs, found = combed("concat")

    real = cpd.comb.mill.prune

    def prune(*arguments: Any) -> nn.Module:
        network = real(*arguments)
        state = network.state_dict()
        if len(state["body.a.0.weight"]) < 6 and len(state["body.c.0.weight"]) < 8:
            raise RuntimeError("these two do not get on")
        return network

    monkeypatch.setattr("cpd.comb.mill.prune", prune)
    report = examine(model, inputs, found)
    assert report.findings.failed == ("body.c.0",)
    assert (
        "with the groups before it (RuntimeError: these two do not get on)"
        in report.comb.record.by_name["body.c.0"].reason
    )


def test_when_time_is_up_groups_are_still_cut_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, found = combed("residual")
    report = examine(model, inputs, found, limit_s=0.0)
    tried = [row for row in report.rows if row.certified is not None]
    assert all(
        row.verdict == "fine; cut with all others only, time was up" and row.forward and not row.ratios for row in tried
    )
    breaking(monkeypatch, "body.one.0.weight", 12, no_gradient)
    late = examine(model, inputs, found, limit_s=0.0).findings
    assert late.faults[0].startswith("all groups cut by 25%: backward fails (the gradient of body.one.0.weight")
    assert not any(row.forward or row.verdict.startswith("fine") for row in late.rows)


class Untrainable(nn.Module):
    """Answers with a choice, through which no gradient flows, and holds a weight that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.spare = nn.Linear(5, 12), nn.Linear(12, 4), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.b(torch.relu(self.a(x))).detach() > 0).float()


def test_what_the_model_cannot_do_itself_is_a_fault_of_the_model() -> None:
    torch.manual_seed(0)
    model, inputs = Untrainable(), (torch.randn(2, 7, 5),)
    report = examine(model, inputs, comb(model, inputs), name="net.py:Untrainable")
    assert report.findings.failed == ()
    assert not report.findings.well
    assert "backward fails before anything is cut" in report.findings.faults[0]
    assert [row.backward for row in report.rows if row.group == "a"] == [None]
    assert unread(model, report.comb) == ("spare.weight", "spare.bias") == report.findings.unread
    text = report.table()
    assert "- model: `net.py:Untrainable`" in text
    assert "- `spare.weight`" in text
    assert f"torch {torch.__version__.partition('+')[0]}" in text


def test_findings_survive_the_file() -> None:
    model, inputs, found = combed("residual")
    rows = examine(model, inputs, found).findings
    rows = replace(rows, rows=(replace(rows.rows[0], relabel_error=float("inf")), *rows.rows[1:]))
    assert Findings.from_dict(json.loads(json.dumps(rows.to_dict(), allow_nan=False))) == rows


@pytest.mark.parametrize("ratios", [(), (0.5, 1.0), (0.0,)])
def test_ratios_that_cut_nothing_or_all_are_refused(ratios: tuple[float, ...]) -> None:
    model, inputs, found = combed("residual")
    with pytest.raises(PlanError, match="between 0 and 1"):
        examine(model, inputs, found, ratios)
