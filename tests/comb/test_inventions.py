"""Structures that no list names: certified where they can be cut, and whole where they cannot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from inventions import INVENTIONS, Pooled
from torch import Tensor, nn

import cpd
from cpd.comb.certify import measure, outputs, relative_error

# Coupled through two batches at a time (logits of a contrastive model), so that rows depend on what else is there.
MIXES_THE_BATCH = {"Contrastive"}


@pytest.mark.parametrize("name", INVENTIONS)
def test_inventions_are_certified_and_take_any_batch(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = INVENTIONS[name]()
    comb = cpd.comb(model.eval(), inputs)
    assert comb.record.unknown == ()
    checks = measure(model, inputs, comb)
    assert checks
    assert [c for c in checks if not c.passed] == []

    pruned = cpd.prune(model, comb, cpd.uniform_plan(comb, ratio=0.5))
    assert sum(p.numel() for p in pruned.parameters()) < 0.9 * sum(p.numel() for p in model.parameters())
    wide = tuple(torch.cat([x] * 3) for x in inputs)
    assert [o.shape for o in outputs(pruned, wide)] == [o.shape for o in outputs(model, wide)]
    if name not in MIXES_THE_BATCH:
        assert relative_error([o[:2] for o in outputs(pruned, wide)], outputs(pruned, inputs)) < 1e-4
    one = tuple(x[:1] for x in inputs)
    assert [o.shape for o in outputs(pruned, one)] == [o.shape for o in outputs(model, one)]
    pruned.train()
    sum(o.square().mean() for o in outputs(pruned, wide)).backward()  # type: ignore[union-attr]
    assert all(torch.isfinite(p.grad).all() for p in pruned.parameters() if p.grad is not None)


class Overwrites(nn.Module):
    """Two of the channels become a number."""

    def __init__(self, write: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.write, self.out = write, nn.Conv2d(8, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        self.write(x[:, :2])
        return self.out(x)


@pytest.mark.parametrize("write, free", [(Tensor.zero_, 8), (lambda x: x.fill_(0.0), 8), (lambda x: x.fill_(1.0), 6)])
def test_channels_that_a_number_replaces_stay_unless_it_is_zero(write: Callable[[Tensor], object], free: int) -> None:
    torch.manual_seed(0)
    model, inputs = Pooled(Overwrites(write), 6).eval(), (torch.randn(2, 3, 12, 12),)
    comb = cpd.comb(model, inputs)
    assert all(check.passed for check in measure(model, inputs, comb))
    stem = [g for g in comb.groups if any(s.tensor == "stem.0.weight" and s.axis == 0 for s in g.slices)]
    assert sum(g.width for g in stem if g.prunable) == free
    assert all("a number is written over it in fill" in g.reason for g in stem if not g.prunable)


def test_a_glus_halves_leave_together() -> None:
    model = Pooled(nn.Sequential(nn.Conv2d(8, 12, 1), nn.GLU(1)), 6).eval()
    comb = cpd.comb(model, (torch.randn(2, 3, 12, 12),))
    gate = next(s for g in comb.groups for s in g.slices if s.tensor == "middle.0.weight" and s.axis == 0)
    assert sorted(gate.index.tolist()) == [[i, i + 6] for i in range(6)]


class Mixed(nn.Module):
    """`mix` gives a value for every channel in which a mean over all channels has a part."""

    def __init__(self, mix: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.mix, self.inner, self.out = mix, nn.Conv2d(8, 10, 1), nn.Conv2d(10, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        y = self.mix(x, x.mean(1, keepdim=True))
        return self.out(y) * y.sum(1, keepdim=True)


MIXTURES = {
    "difference": lambda x, mean: x - mean,
    "product": lambda x, mean: x.sigmoid() * mean,
    "quotient": lambda x, mean: mean / x.exp(),
    "choice": lambda x, mean: torch.where(x > 0, x, mean),
    "sum of products": lambda x, mean: torch.addcmul(x, mean, mean),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mean_over_channels_is_not_zero_where_a_channel_was_removed(name: str) -> None:
    """What such values sum to over the channels changes when one leaves, so all of them stay."""
    torch.manual_seed(0)
    model, inputs = Pooled(Mixed(MIXTURES[name]), 6).eval(), (torch.randn(2, 3, 12, 12),)
    comb = cpd.comb(model, inputs)
    assert all(check.passed for check in measure(model, inputs, comb))
    inner = next(g for g in comb.groups if g.name.startswith("middle.inner"))
    assert not inner.prunable
    assert "removed positions would still count in sum" in inner.reason


def test_torchs_own_channel_shuffle_is_combed_like_the_one_spelt_out() -> None:
    torch.manual_seed(0)
    shuffled = nn.Sequential(nn.Conv2d(8, 12, 1), nn.ChannelShuffle(3), nn.Conv2d(12, 6, 1))
    model, inputs = Pooled(shuffled, 6).eval(), (torch.randn(2, 3, 12, 12),)
    comb = cpd.comb(model, inputs)
    assert comb.record.unknown == ()
    assert all(check.passed for check in measure(model, inputs, comb))
    assert any(g.prunable and g.name.startswith("middle.0") for g in comb.groups)
