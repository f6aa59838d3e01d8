"""What is cut away is taken over by what stays: exactly where it can be, and as nearly as least squares where not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

import cpd
from cpd.comb.comb import Comb
from cpd.prune.index import kept_positions
from cpd.prune.plan import GroupPlan, Plan, uniform_plan
from cpd.prune.surgery import prune
from cpd.prune.takeover import mixtures, take_over


def whole(model: nn.Module, comb: Comb) -> GraphModule:
    network = prune(model, comb, uniform_plan(comb.record, 0.0)).train()
    assert isinstance(network, GraphModule)
    return network


def keeping(comb: Comb, name: str, keep: tuple[int, ...]) -> Plan:
    everything = uniform_plan(comb.record, 0.0)
    rows = tuple(GroupPlan(r.group, r.width, keep if r.group == name else r.keep) for r in everything.groups)
    return Plan(comb.record.model, rows)


def cut(model: nn.Module, comb: Comb, plan: Plan, images: list[Tensor]) -> nn.Module:
    """The network cut with a takeover; `model` is left as it is."""
    changed = copy.deepcopy(model)
    take_over(changed, mixtures(whole(model, comb), kept_positions(comb.record, plan.keep), images))
    return prune(changed, comb, plan)


def twins() -> tuple[nn.Sequential, tuple[int, ...]]:
    """Units 1 and 4 of the first layer are twice unit 0 and three times unit 2: what stays can say all that they did."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1), nn.Flatten(2))
    first = model[0]
    with torch.no_grad():
        for gone, like, times in ((1, 0, 2.0), (4, 2, 3.0)):
            first.weight[gone], first.bias[gone] = times * first.weight[like], times * first.bias[like]  # type: ignore[index]
    return model, (0, 2, 3, 5)


def test_what_others_say_as_well_is_not_lost() -> None:
    model, keep = twins()
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    comb = cpd.comb(model.eval(), (images[:2],))
    plan = keeping(comb, "0", keep)
    with torch.no_grad():
        dense, taken = model(images), cut(model, comb, plan, [images])(images)
        plain = prune(model, comb, plan)(images)
    assert (taken - dense).abs().max() < 0.02 * dense.abs().max()  # all but the ridge
    assert (plain - dense).abs().max() > 0.3 * dense.abs().max()


@pytest.mark.parametrize(("batches", "bias"), [(1, True), (3, True), (2, False)])
def test_a_linear_layer_gets_what_least_squares_gives(batches: int, bias: bool) -> None:
    """numpy's solution of the same problem, with the ridge as rows of its own; a bias takes the means out of it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 9), nn.GELU(), nn.Linear(9, 4, bias=bias))
    images = torch.randn(240, 7)
    comb = cpd.comb(model.eval(), (images[:2],))
    keep, gone = [0, 1, 3, 4, 7, 8], [2, 5, 6]
    found = mixtures(
        whole(model, comb), kept_positions(comb.record, keeping(comb, "0", tuple(keep)).keep), images.chunk(batches)
    )
    assert set(found) == {"2.weight"}
    hidden = model[1](model[0](images)).detach().double().numpy()
    mean = hidden.mean(0) if bias else np.zeros(9)
    hidden = hidden - mean
    ridge = (1e-3 + 6 / 240) * (hidden[:, keep] ** 2).mean()
    rows = np.concatenate([hidden[:, keep], np.sqrt(ridge * 240) * np.eye(6)])
    want = np.linalg.lstsq(rows, np.concatenate([hidden[:, gone], np.zeros((6, 3))]), rcond=None)[0].T
    assert np.allclose(found["2.weight"].weights.numpy(), want, atol=1e-4)
    before, constant = model[2].weight.detach().clone(), model[2].bias
    constant = None if constant is None else constant.detach().clone()
    take_over(model, found)
    after = before.clone()
    after[:, keep] += before[:, gone] @ torch.from_numpy(want).float()
    assert torch.allclose(model[2].weight, after, atol=1e-5)
    if constant is not None:
        more = before[:, gone] @ torch.from_numpy(mean[gone] - want @ mean[keep]).float()
        assert torch.allclose(model[2].bias, constant + more, atol=1e-5)


def test_without_a_bias_batch_norm_expects_the_mean_that_is_left() -> None:
    """Right after the cut, in evaluation, its statistics are those of what it is given."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3),
        nn.Sigmoid(),
        nn.Conv2d(12, 5, 3, bias=False),
        nn.BatchNorm2d(5, momentum=1.0),
        nn.Flatten(2),
    )
    images = torch.randn(64, 3, 10, 10)
    model.train()(images)
    comb = cpd.comb(model.eval(), (images[:2],))
    plan = uniform_plan(comb.record, 0.5)
    found = mixtures(whole(model, comb), kept_positions(comb.record, plan.keep), [images])
    assert found["2.weight"].holder == "3.running_mean"
    taken = cut(model, comb, plan, [images]).train()
    expected, dense = dict(taken.named_buffers())["3.running_mean"].clone(), model[3].running_mean
    taken(images)  # a momentum of 1: the statistics are now this batch's
    off = (dict(taken.named_buffers())["3.running_mean"] - expected).abs().max()
    # Not to the last digit: a kernel's positions see the image without one border or another.
    assert off < 2e-3
    assert off < 0.05 * (expected - dense).abs().max()


def test_nothing_else_of_the_network_changes() -> None:
    """Running statistics, modes, layers that lose no input, grouped ones, and a weight that is also an embedding."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
            self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.mix, self.table = nn.Conv2d(8, 6, 1), nn.Embedding(10, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.mix(self.depth(self.stem(x))).mean((2, 3)) + self.table.weight.mean(0)
            return nn.functional.linear(x, self.table.weight)

    torch.manual_seed(0)
    model, images = Net().eval(), torch.randn(32, 3, 8, 8)
    comb = cpd.comb(model, (images[:2],))
    network = whole(model, comb)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    plan = uniform_plan(comb.record, 0.5)
    found = mixtures(network, kept_positions(comb.record, plan.keep), [images])
    assert set(found) == {"mix.weight"}
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    take_over(network, found)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"mix.weight", "mix.bias"}
    gone = found["mix.weight"].gone
    assert torch.equal(network.get_parameter("mix.weight")[:, gone], before["mix.weight"][:, gone])


def test_few_images_move_little() -> None:
    """Eight images cannot tell sixteen units apart: the ridge keeps the takeover within what they can say."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10))
    few, many = torch.randn(8, 20), torch.randn(2000, 20)
    comb = cpd.comb(model.eval(), (few[:2],))
    plan = uniform_plan(comb.record, 0.5)
    with torch.no_grad():
        off = [(net(many) - model(many)).square().mean() for net in
               (prune(model, comb, plan), cut(model, comb, plan, [few]), cut(model, comb, plan, [many]))]  # fmt: skip
    assert off[2] < off[1] < 1.02 * off[0]
    assert off[2] < 0.9 * off[0]
