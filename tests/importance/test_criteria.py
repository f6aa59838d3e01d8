"""The criteria beside magnitude and gradients, each against arithmetic by hand, torch.func, hooks or Captum itself."""

from __future__ import annotations

import copy
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import cpd
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.importance import score
from cpd.importance.hessian import diagonal
from cpd.importance.integrated_gradients import STEPS

Data = list[tuple[Tensor, Tensor]]


def parts_of(net: nn.Module, unit: int) -> list[Tensor]:
    """Everything that leaves with one channel of the hand-written net's first convolution."""
    weights = dict(net.named_parameters())
    rows = [weights[n][unit] for n in ("conv1.weight", "conv1.bias", "bn.weight", "bn.bias")]
    return [t.detach().double().reshape(-1) for t in [*rows, weights["conv2.weight"][:, unit]]]


def test_geometric_median_by_brute_force(net: nn.Module, record: CombRecord) -> None:
    table = score(net, record, None, ["fpgm"])["fpgm"]
    vectors = [torch.cat(parts_of(net, unit)) for unit in range(4)]
    want = np.zeros(4)
    for a, b in combinations(range(4), 2):
        distance = float((vectors[a] - vectors[b]).square().sum().sqrt())
        want[a] += distance
        want[b] += distance
    np.testing.assert_allclose(table.groups["conv1"], want, rtol=1e-9)
    filters = dict(net.named_parameters())["conv2.weight"].detach().flatten(1).double()  # He et al.'s: one layer alone
    np.testing.assert_allclose(table.layers["conv2"].scores, torch.cdist(filters, filters).sum(1).numpy(), rtol=1e-6)


def test_a_copied_unit_is_the_first_to_go_by_geometric_median(net: nn.Module, record: CombRecord) -> None:
    with torch.no_grad():  # channel 3 stands exactly between the others: the median itself
        for name, axis in (
            ("conv1.weight", 0),
            ("conv1.bias", 0),
            ("bn.weight", 0),
            ("bn.bias", 0),
            ("conv2.weight", 1),
        ):
            weight = dict(net.named_parameters())[name]
            weight.select(axis, 3).copy_(weight.narrow(axis, 0, 3).mean(axis))
    assert int(score(net, record, None, ["fpgm"])["fpgm"].groups["conv1"].argmin()) == 3


def test_geometric_median_stays_within_blocks(record: CombRecord, net: nn.Module) -> None:
    from dataclasses import replace

    first, second = record.groups
    halves = replace(record, groups=(replace(first, blocks=(0, 1, 0, 1)), second))
    found = score(net, halves, None, ["fpgm"])["fpgm"].groups["conv1"]
    vectors = [torch.cat(parts_of(net, unit)) for unit in range(4)]
    across = [float((vectors[a] - vectors[b]).norm()) for a, b in ((0, 2), (1, 3), (2, 0), (3, 1))]
    np.testing.assert_allclose(found, across, rtol=1e-9)


def test_batch_norm_scale(net: nn.Module, record: CombRecord) -> None:
    with torch.no_grad():
        net.bn.weight[2] = -3.0  # its size counts, not its sign
    table = score(net, record, None, ["bn_scale"])["bn_scale"]
    np.testing.assert_allclose(table.groups["conv1"], net.bn.weight.detach().abs().numpy(), rtol=1e-7)
    # conv2 has no batch norm: nothing is said, and its units score what others score on average
    assert table.silent == ("conv2",)
    np.testing.assert_allclose(table.groups["conv2"], table.groups["conv1"].mean())
    np.testing.assert_allclose(table.layers["bn"].scores, table.groups["conv1"])


def test_lamp_by_hand(net: nn.Module, record: CombRecord) -> None:
    found = score(net, record, None, ["lamp"])["lamp"]
    size = np.array([float(torch.cat(parts_of(net, unit)).square().sum()) for unit in range(4)])
    want = [size[u] / size[size >= size[u]].sum() for u in range(4)]
    np.testing.assert_allclose(found.groups["conv1"], want, rtol=1e-5)
    assert found.groups["conv1"].max() == pytest.approx(1)
    assert found.groups["conv2"].max() == pytest.approx(1)


class Quadratic(nn.Module):
    """Loss sum_i a_i w_i^4 / 12, whose Hessian is diag(a_i w_i^2)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.w**4 / 12


def test_hutchinson_is_exact_for_a_diagonal_hessian() -> None:
    a = torch.tensor([[3.0, 1.0, 4.0]])
    found = diagonal(Quadratic(), a, a, lambda out, _: out.sum(), torch.Generator().manual_seed(0), probes=1)
    torch.testing.assert_close(found["w"], torch.tensor([3.0, 4.0, 1.0]))


def test_hutchinson_meets_torch_func_within_sampling_error(net: nn.Module, data: Data) -> None:
    images, targets = data[0]
    smooth = copy.deepcopy(net).double()
    weights = {name: p.detach() for name, p in smooth.named_parameters()}

    def loss(some: dict[str, Tensor]) -> Tensor:
        outputs = torch.func.functional_call(smooth, weights | some, (images.double(),))
        return functional.cross_entropy(outputs, targets)

    probes = 300
    generator = torch.Generator().manual_seed(1)
    found = diagonal(smooth, images.double(), targets, functional.cross_entropy, generator, probes)
    names = ["conv1.weight", "bn.weight", "conv2.bias"]
    rows = torch.func.hessian(loss)({name: weights[name] for name in weights})
    for name in names:
        n = weights[name].numel()
        want = rows[name][name].reshape(n, n).diagonal().reshape(weights[name].shape)
        # variance of a probe: the squared entries beside the diagonal, of the row over all weights
        beside = sum(rows[name][other].reshape(n, -1).square().sum(1) for other in weights) - want.flatten().square()
        error = (found[name] - want).flatten().abs()
        assert (error <= 5 * (beside / probes).sqrt() + 1e-12).all(), name


@pytest.mark.parametrize("in_place", [False, True])
def test_hard_sigmoids_have_a_second_derivative(data: Data, in_place: bool) -> None:
    """torch's has none; the same network spelled out has the same diagonal, drawn with the same signs."""

    class Spelled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + 3).clamp(0, 6) / 6

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Hardsigmoid(in_place), nn.Flatten(), nn.Linear(16, 2))
    spelled = nn.Sequential(net[0], Spelled(), net[2], net[3])
    found, want = (
        diagonal(n, *data[0], functional.cross_entropy, torch.Generator().manual_seed(3)) for n in (net, spelled)
    )
    for name, value in want.items():
        torch.testing.assert_close(found[name], value)
    assert want["0.weight"].abs().max() > 0


def test_hessian_score_is_half_w_squared_h(net: nn.Module, record: CombRecord, data: Data) -> None:
    table = score(net, record, data, ["hessian"], batches=2, seed=7)["hessian"]
    sums = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for number, (images, targets) in enumerate(data[:2]):
        generator = torch.Generator().manual_seed(7 * 65_537 + number)
        for name, h in diagonal(net, images, targets, functional.cross_entropy, generator).items():
            sums[name] += h / 2
    change = {name: (p.detach().square() * sums[name] / 2) for name, p in net.named_parameters()}
    for unit in range(4):
        own = [change[n][unit].sum() for n in ("conv1.weight", "conv1.bias", "bn.weight", "bn.bias")]
        total = sum(own) + change["conv2.weight"][:, unit].sum()
        assert table.groups["conv1"][unit] == pytest.approx(abs(float(total)), rel=1e-4, abs=1e-9)


def combed(net: nn.Module) -> cpd.Comb:  # type: ignore[name-defined]
    return cpd.comb(net, (torch.randn(2, 1, 4, 4),))


def test_activation_is_what_the_readers_see(net: nn.Module, data: Data) -> None:
    comb = combed(net)
    with torch.no_grad():
        net.bn.weight[1], net.bn.bias[1] = 0.0, -1.0  # never fires, whatever its weights are
    found = score(net, comb.record, data, ["activation"], batches=3, comb=comb)["activation"]
    seen: dict[str, list[Tensor]] = {"conv2": [], "head": [], "conv1": []}
    handles = [
        getattr(net, n).register_forward_pre_hook(lambda m, x, n=n: seen[n].append(x[0])) for n in ("conv2", "head")
    ]
    handles.append(net.conv1.register_forward_hook(lambda m, x, y: seen["conv1"].append(y)))
    with torch.no_grad():
        for images, _ in data:
            net(images)
    for handle in handles:
        handle.remove()
    want = torch.cat(seen["conv2"]).abs().mean((0, 2, 3))
    np.testing.assert_allclose(found.groups["conv1"], want.numpy(), rtol=1e-5)
    assert found.groups["conv1"][1] == 0
    spread = torch.cat(seen["head"]).abs().unflatten(1, (3, 16)).mean((0, 2))  # a flatten stands between
    np.testing.assert_allclose(found.groups["conv2"], spread.numpy(), rtol=1e-5)
    np.testing.assert_allclose(
        found.layers["conv1"].scores, torch.cat(seen["conv1"]).abs().mean((0, 2, 3)).numpy(), rtol=1e-5
    )


def test_integrated_gradients_are_captums(net: nn.Module, data: Data) -> None:
    from captum.attr import LayerIntegratedGradients

    comb = combed(net)
    ticks: list[tuple[int, int]] = []
    found = score(
        net, comb.record, data, ["integrated_gradients"], 2, comb=comb, progress=lambda a, b: ticks.append((a, b))
    )["integrated_gradients"]  # fmt: skip
    for name in ("conv1", "conv2"):
        layer = getattr(net, name)
        rows = []
        for images, targets in data[:2]:
            explain = LayerIntegratedGradients(
                lambda x, y: functional.cross_entropy(net(x), y, reduction="none"), layer
            )
            found_here = explain.attribute(images, additional_forward_args=(targets,), n_steps=STEPS)
            rows.append(found_here.sum((2, 3)).abs().mean(0).detach())
        np.testing.assert_allclose(found.groups[name], torch.stack(rows).mean(0).numpy(), rtol=1e-4, atol=1e-8)
    assert ticks[-1] == (4, 4)  # two batches, two layers
    assert len(found.parts) == 2


def test_attributions_add_up_to_the_change_of_the_loss(net: nn.Module, data: Data) -> None:
    """Completeness: over all positions of a layer they sum to the loss beside that of the baseline image."""
    from cpd.importance.integrated_gradients import IntegratedGradients
    from cpd.importance.observer import Subject

    comb = combed(net)
    images, targets = data[0]
    observer = IntegratedGradients(Subject(net, comb.record, None, functional.cross_entropy, comb))
    found = observer._attributions(next(iter(observer._layers_of.values())), images, targets)
    with torch.no_grad():
        change = functional.cross_entropy(net(images), targets, reduction="none")
        change = change - functional.cross_entropy(net(torch.zeros_like(images)), targets, reduction="none")
    torch.testing.assert_close(found.flatten(1).sum(1), change, atol=2e-2, rtol=5e-2)


def test_stopping_ends_the_scoring_between_layers(net: nn.Module, data: Data) -> None:
    comb = combed(net)

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise Enough

    net.conv1.weight.requires_grad_(False)
    with pytest.raises(Enough):
        score(net, comb.record, data, ["integrated_gradients"], 2, comb=comb, progress=stop)
    assert not net.conv1.weight.requires_grad  # left as it was all the same
    assert all(parameter.grad is None for parameter in net.parameters())


def test_what_says_nothing_of_a_model_says_so(data: Data) -> None:
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 2), nn.Flatten())
    record = cpd.comb(plain, (torch.randn(2, 1, 4, 4),)).record
    with pytest.raises(
        PlanError, match="bn_scale: nothing to score in this model, none of its groups has a batch norm"
    ):
        score(plain, record, None, ["bn_scale"])


def test_parts_are_the_scores_of_their_batches_alone(net: nn.Module, data: Data) -> None:
    comb = combed(net)
    names = ["taylor", "hessian", "activation"]
    whole = score(net, comb.record, [*data, *data], names, 6, comb=comb)
    assert all(len(whole[name].parts) == 4 for name in names)
    # batch b is in part b modulo 4: part 3 is the fourth batch, the data's first, alone
    alone = score(net, comb.record, data[:1], names[:1], 1, comb=comb)["taylor"]
    for name, values in alone.groups.items():
        np.testing.assert_allclose(whole["taylor"].parts[3][name], values, rtol=1e-5)
    for name in ("taylor", "activation"):  # parts 0 and 1 hold two batches, 2 and 3 one
        parts = [whole[name].parts[p]["conv1"] * (2, 2, 1, 1)[p] / 6 for p in range(4)]
        np.testing.assert_allclose(np.sum(parts, axis=0), whole[name].groups["conv1"], rtol=1e-5)
