"""Code with short paths: the same answers to the bit, for copies, in training and exported, and fewer look-ups."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from cpd.comb.comb import comb
from cpd.prune.plan import uniform_plan
from cpd.prune.short_paths import shortened
from cpd.prune.surgery import prune


class Net(nn.Module):
    """Names that are no identifiers, one that the code might make up itself, and a tensor of the network's own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        )
        self.part_1 = nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.part_1(self.body(x).mean((2, 3))) * self.scale
        return out


def test_every_submodule_is_looked_up_once_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    model, images = Net().eval(), torch.randn(4, 3, 8, 8)
    found = comb(model, (images,))
    pruned = prune(model, found, uniform_plan(found, 0.0))
    code = pruned.code
    assert code.count("self.body") == 1
    assert code.count("self.part_1") == 1
    assert code.count('"3")') == 1
    assert "scale = self.scale" in code
    with torch.no_grad():
        want = model(images)
        assert torch.equal(pruned(images), want)
        twin = copy.deepcopy(pruned)
        assert twin.code == code
        twin.get_parameter("body.3.0.weight").zero_()  # the copy reads its own
        assert torch.equal(pruned(images), want)
        assert not torch.equal(twin(images), want)
        assert torch.allclose(torch.export.export(pruned, (images,)).module()(images), want, atol=1e-6)
    before = pruned.get_buffer("body.1.running_mean").clone()
    pruned.train()(images).sum().backward()
    assert not torch.equal(pruned.get_buffer("body.1.running_mean"), before)
    assert all(p.grad is not None for p in pruned.parameters())


def test_what_is_no_path_is_left_as_it_is() -> None:
    body = [
        "w = self.a.b", "\n", 'v = getattr(getattr(self.a, "0"), "1").c', ";  w = None\n", "part_1 = self.a(x)", "\n",
        'y = getattr(x, "shape")', "\n", "z = x.a.b", "\n", 'q = f(self.a.b, ", \\"")', "\n",
    ]  # fmt: skip
    text = "".join(shortened(body))
    assert text.splitlines() == [
        "part_1_ = self.a", "w = part_1_.b", 'part_2 = getattr(part_1_, "0")', 'part_3 = getattr(part_2, "1")',
        "v = part_3.c;  w = None", "part_1 = self.a(x)", 'y = getattr(x, "shape")', "z = x.a.b", 'q = f(self.a.b, ", \\"")',
    ]  # fmt: skip
