"""Stochastic depth survives the trace: identity while evaluating, whole samples dropped while training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

import cpd
from cpd.comb.comb import comb
from cpd.comb.depth import stochastic_depth
from cpd.prune.plan import uniform_plan
from cpd.prune.surgery import prune


class DropPath(nn.Module):
    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        return stochastic_depth(x, self.drop_prob, self.training)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.drop = nn.Linear(5, 8), nn.Linear(8, 8), DropPath(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return (x + self.drop(self.b(x))).sum(1)


def test_samples_keep_or_lose_the_whole_path() -> None:
    model, x = Net().eval(), torch.randn(64, 5)
    result = comb(model, (x[:2],))
    twin = prune(model, result, uniform_plan(result, 0.0))
    assert torch.equal(twin(x), model(x))
    twin.train()
    torch.manual_seed(0)
    got = twin(x)
    base = model.a(x)
    without, with_path = base.sum(1), (base + 2 * model.b(base)).sum(1)
    dropped = torch.isclose(got, without)
    assert torch.isclose(got, torch.where(dropped, without, with_path), atol=1e-5).all()
    assert 10 < int(dropped.sum()) < 54
    assert torch.equal(copy.deepcopy(twin).eval()(x), model(x))


def test_the_model_keeps_its_own_forward() -> None:
    model = Net().eval()
    comb(model, (torch.randn(2, 5),))
    assert "forward" not in vars(model.drop)


def test_timm_models_train_with_it_from_the_cache_too() -> None:
    model, inputs = cpd.load_model("timm:test_vit", settings={"drop_path_rate": 0.4})
    for _ in range(2):  # the second comb reads the trace from disk
        result = comb(model, inputs)
        pruned = prune(model, result, uniform_plan(result, 0.5)).train()
        assert not torch.equal(pruned(*inputs), pruned(*inputs))
        pruned.eval()
        assert torch.equal(pruned(*inputs), pruned(*inputs))
        again = torch.export.export(pruned, inputs, strict=False)
        torch.testing.assert_close(again.module()(*inputs), pruned(*inputs))
