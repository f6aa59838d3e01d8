"""Re-estimated batch-norm statistics: torch's own routine and hand-made means are the oracles."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import cpd
from cpd.errors import DataError
from cpd.measure.recalibrate import recalibrate


class Net(nn.Module):
    """Batch norm at three depths, one of them applied twice a pass, and one that has no statistics."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.blank = nn.BatchNorm2d(8, track_running_stats=False)
        self.drop, self.fc = nn.Dropout(dropout), nn.Linear(8, 6)
        self.bn3, self.head = nn.BatchNorm1d(6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = self.blank(self.bn2(self.conv2(x)))
        out: Tensor = self.head(self.bn3(self.fc(self.drop(x.mean((2, 3))))))
        return out


@pytest.fixture
def net() -> Net:
    torch.manual_seed(4)
    net = Net().double()
    for part in (net.bn1, net.bn2, net.bn3):
        part.running_mean.normal_()
        part.running_var.uniform_(0.2, 3.0)
    return net.eval()


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(6)
    images = [2 * torch.randn(16, 3, 8, 8, generator=generator, dtype=torch.double) + i for i in range(5)]
    return [(x, torch.zeros(16)) for x in images]


def traced(net: nn.Module) -> nn.Module:
    comb = cpd.comb(net, (torch.zeros(2, 3, 8, 8, dtype=torch.double),))
    return cpd.prune(net, comb, cpd.uniform_plan(comb, 0.0))


@pytest.mark.parametrize("graph", [False, True])
def test_statistics_are_those_of_torchs_own_routine(net, batches, graph):
    expected = copy.deepcopy(net)
    update_bn(batches, expected)
    found = traced(net) if graph else net
    weights = {name: value.clone() for name, value in found.named_parameters()}
    recalibrate(found, batches)
    torch.testing.assert_close(found.state_dict(), expected.state_dict() if not graph else _counted(expected, 5))
    assert all(torch.equal(value, weights[name]) for name, value in found.named_parameters())
    x = batches[0][0]
    torch.testing.assert_close(found(x), expected.eval()(x))
    assert not found.training


def _counted(net: nn.Module, batches: int) -> dict[str, Tensor]:
    """A graph counts batches, not the calls of a norm that is applied twice."""
    state = dict(net.state_dict())
    state["bn2.num_batches_tracked"] = torch.tensor(batches)
    return state


def test_the_mean_of_the_first_norm_is_the_mean_over_all_images(net, batches):
    found = traced(net)
    recalibrate(found, [images for images, _ in batches])
    seen = net.conv1(torch.cat([images for images, _ in batches]))
    torch.testing.assert_close(found.get_buffer("bn1.running_mean"), seen.mean((0, 2, 3)).detach())


@pytest.mark.parametrize("graph", [False, True])
def test_dropout_is_off_and_modes_are_put_back(batches, graph):
    torch.manual_seed(4)
    net = Net(dropout=0.9).double().eval()
    calm = copy.deepcopy(net)
    calm.drop.p = 0.0
    update_bn(batches, calm)
    found = traced(net) if graph else net
    found.train()
    if not graph:
        found.fc.eval()
    recalibrate(found, batches)
    torch.testing.assert_close(found.get_buffer("bn3.running_mean"), calm.bn3.running_mean)
    torch.testing.assert_close(found.get_buffer("bn3.running_var"), calm.bn3.running_var)
    assert found.training
    assert graph or not found.fc.training


@pytest.mark.parametrize("graph", [False, True])
def test_statistics_that_are_not_numbers_leave_no_trace(net, batches, graph):
    net.bn2.running_var.fill_(torch.nan)
    found = traced(net) if graph else net
    recalibrate(found, batches)
    assert found(batches[0][0]).isfinite().all()


def test_a_cut_network_gets_the_statistics_of_its_own_activations(net, batches):
    comb = cpd.comb(net, (torch.zeros(2, 3, 8, 8, dtype=torch.double),))
    plan = cpd.uniform_plan(comb, 0.5)
    pruned = cpd.prune(net, comb, plan)
    recalibrate(pruned, batches)
    keep = plan.keep["conv1"]
    seen = net.conv1(torch.cat([images for images, _ in batches]))[:, list(keep)]
    torch.testing.assert_close(pruned.get_buffer("bn1.running_mean"), seen.mean((0, 2, 3)).detach())


def test_without_batch_norm_nothing_is_read():
    recalibrate(nn.Linear(2, 2), iter([]))
    with pytest.raises(DataError, match="no images"):
        recalibrate(nn.BatchNorm1d(2), [])
