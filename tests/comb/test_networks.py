"""Every structure, certified by relabelling and silencing, in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import NETWORKS

from cpd.comb.certify import measure, outputs, relative_error
from cpd.comb.comb import Comb, comb
from cpd.prune.plan import plan_ratios, uniform_plan
from cpd.prune.surgery import prune


def combed(name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], Comb]:
    torch.manual_seed(0)
    build, shape, _ = NETWORKS[name]
    model, inputs = build().eval(), (torch.randn(shape),)
    return model, inputs, comb(model, inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_are_certified(name: str) -> None:
    model, inputs, result = combed(name)
    checks = measure(model, inputs, result)
    assert len(checks) >= NETWORKS[name][2], [(g.name, g.width, g.reason) for g in result.groups]
    assert [c for c in checks if not c.passed] == []
    assert result.record.unknown == ()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.9])
def test_cut_networks_run_at_any_batch_and_train(name: str, ratio: float) -> None:
    model, inputs, result = combed(name)
    pruned = prune(model, result, uniform_plan(result, ratio))
    wide = torch.cat([inputs[0]] * 3)
    rows = [o[:2] for o in outputs(pruned, (wide,)) if o.ndim and o.shape[0] == 6]
    want = [o for o in outputs(pruned, inputs) if o.ndim and o.shape[0] == 2]
    assert relative_error(rows, want) < 1e-4
    pruned.train()
    sum(o.square().mean() for o in outputs(pruned, (wide,))).backward()  # type: ignore[union-attr]
    grads = [p.grad for p in pruned.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(g).all() for g in grads)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_cut_computes_the_same_to_the_last_bit(name: str) -> None:
    model, inputs, result = combed(name)
    whole = prune(model, result, uniform_plan(result, 0.0))
    for got, want in zip(outputs(whole, inputs), outputs(model, inputs), strict=True):
        assert torch.equal(got, want)
    assert list(whole.state_dict()) == list(model.state_dict()) or set(whole.state_dict()) == set(model.state_dict())


def test_halves_that_are_treated_differently_are_groups_of_their_own() -> None:
    _, _, result = combed("branches")
    stem = [g for g in result.groups if g.name.startswith("body.stem.0") and g.prunable]
    assert [g.width for g in stem] == [4, 4]


def test_one_axis_in_two_views_gets_the_structure_both_allow() -> None:
    _, _, result = combed("two_views")
    assert sorted(g.width for g in result.groups if g.prunable) == [2, 4, 8]


def test_a_flattened_channel_owns_a_run_of_columns() -> None:
    _, _, result = combed("flattened")
    piece = next(s for g in result.groups for s in g.slices if s.tensor == "hidden.weight" and s.axis == 1)
    assert piece.index.tolist() == [list(range(9 * c, 9 * c + 9)) for c in range(6)]


def test_heads_hold_their_channels() -> None:
    _, _, result = combed("attention")
    groups = {g.name: g for g in result.groups}
    assert groups["qkv:heads"].width == 4
    assert groups["qkv:channels"].parent == "qkv:heads"
    head = next(s for s in groups["qkv:heads"].slices if s.tensor == "qkv.weight")
    assert head.index[1].tolist() == [*range(4, 8), *range(20, 24), *range(36, 40)]


def test_a_missing_slice_is_found() -> None:
    """The certificate can fail: take one slice away, or swap two positions, and it does."""
    from dataclasses import replace

    from cpd.comb.certify import certify

    model, inputs, result = combed("residual")
    group = result.groups[0]
    maimed = result.with_groups((replace(group, slices=group.slices[:-1]), *result.groups[1:]))
    after = certify(model, inputs, maimed)
    assert after.groups[0].certified is False
    assert not after.groups[0].prunable
    assert "not certified" in after.groups[0].reason
    assert all(g.certified for g in after.groups[1:] if g.prunable)


class InTiles(torch.nn.Module):
    """Names its batch in a shape: a trace holds the batch that it was made with, two where one image was given."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // 4, 4, w // 4, 4).mean((3, 5))
        return self.two(self.one(x).relu())


def test_one_image_is_enough_for_the_certificate() -> None:
    model, inputs = InTiles().eval(), (torch.randn(1, 3, 12, 12),)
    checks = measure(model, inputs, comb(model, inputs))
    assert [check.group for check in checks] == ["one"]
    assert all(check.passed for check in checks)


def test_outputs_and_inputs_are_locked_with_words() -> None:
    _, _, result = combed("residual")
    reasons = {g.name: g.reason for g in result.groups if not g.prunable}
    assert reasons["fc"] == "output of the model"
    assert "input of the model" in reasons.values()


def test_ties_name_what_holds_a_group() -> None:
    _, _, result = combed("residual")
    words = [f"{t.operator} {t.module}: {t.effect}" for t in result.groups[0].ties]
    assert "conv2d body.stem.0: writes its units" in words
    assert any(w.startswith("add") and "ties position by position" in w for w in words)
    assert "linear fc: reads them" in words
    assert all(t.source.startswith("networks.py:") or t.source for t in result.groups[0].ties)


def test_a_plan_for_part_of_the_groups_leaves_the_others_whole() -> None:
    model, _, result = combed("concat")
    plan = plan_ratios(result, {result.groups[0].name: 0.5})
    pruned = prune(model, result, plan)
    assert pruned.state_dict()["body.b.0.weight"].shape == (4, 3, 3, 3)
    assert pruned.state_dict()["body.c.0.weight"].shape == (8, 7, 3, 3)


@pytest.mark.parametrize(
    "name", ["attention", "attention_separate", "attention_spelled_out", "attention_with_norm", "grouped"]
)
def test_rows_may_drop_positions_of_their_own_only_where_that_is_sound(name: str) -> None:
    """Free rows give blocks; forced rows give one unit a column, over all rows; both are certified."""
    torch.manual_seed(0)
    build, shape, _ = NETWORKS[name]
    model, inputs = build().eval(), (torch.randn(shape),)
    free, forced = comb(model, inputs), comb(model, inputs, free_rows=False)
    assert not any(g.blocks for g in forced.groups)
    # One scale for the channels of all heads takes the freedom back.
    assert any(g.blocks for g in free.groups) == (name != "attention_with_norm")
    for result in (free, forced):
        assert [c for c in measure(model, inputs, result) if not c.passed] == []


def test_query_and_key_go_apart_from_value_and_keep_as_many_under_one_projection() -> None:
    _, _, result = combed("attention")
    channels = {g.name: g for g in result.groups if "channels" in g.name}
    assert [g.width for g in channels.values()] == [16, 16]
    first, second = channels.values()
    assert first.tied == (second.name,)
    assert second.tied == (first.name,)
    assert first.blocks == second.blocks == tuple(np.repeat(range(4), 4).tolist())
    assert {s.tensor for s in first.slices} == {"qkv.weight", "qkv.bias"}
    assert {s.tensor for s in second.slices} == {"qkv.weight", "qkv.bias", "proj.weight"}
    _, _, apart = combed("attention_separate")
    assert all(g.tied == () for g in apart.groups)


def test_heads_and_their_channels_are_cut_together_as_asked() -> None:
    model, inputs, result = combed("attention")
    plan = plan_ratios(result, {"qkv:heads": 0.5, "qkv:channels": 0.5, "qkv:channels#2": 0.5})
    pruned = prune(model, result, plan)
    assert pruned.state_dict()["qkv.weight"].shape == (3 * 2 * 2, 16)
    assert pruned.state_dict()["proj.weight"].shape == (16, 4)
    pruned(*inputs)


class WritesThroughAView(torch.nn.Module):
    """A part of the channels is squashed in place; what is zero at a removed channel no longer is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x).clone()
        x[:, :4].sigmoid_()
        return self.b(x * x.sum(1, keepdim=True))


class Gram(torch.nn.Module):
    """Every position of a flattened Gram matrix belongs to two channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 6, 1), torch.nn.Linear(36, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.a(x).flatten(2)
        return self.b((rows @ rows.transpose(1, 2)).flatten(1))


@pytest.mark.parametrize(
    "build, words", [(WritesThroughAView, "would still count in sum"), (Gram, "hold the same positions of b.weight")]
)
def test_what_cannot_go_is_locked_with_words_before_any_check(build: type[torch.nn.Module], words: str) -> None:
    torch.manual_seed(0)
    model, inputs = build().eval(), (torch.randn(2, 3, 6, 6),)
    result = comb(model, inputs)
    reasons = [g.reason for g in result.groups if g.name.startswith("a")]
    assert any(words in reason for reason in reasons), reasons
    assert [c for c in measure(model, inputs, result) if not c.passed] == []
