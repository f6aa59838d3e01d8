"""Channels last: the same network, laid out otherwise while it trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cpd
from cpd.comb.comb import Comb
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.errors import RunError
from cpd.prune.plan import uniform_plan
from cpd.tasks.task import Task

ROWS: dict[str, Any] = {
    "steps": 6,
    "batch_size": 16,
    "optimizer": "sgd",
    "lr": 0.05,
    "warmup": 0.0,
    "schedule": "few-step",
}


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.b(torch.relu(self.norm(self.a(x)))).mean((2, 3)))
        return out


def test_it_learns_the_same_and_hands_over_the_usual_layout(
    inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    torch.manual_seed(0)
    net = Pooled().eval()
    comb: Comb = cpd.comb(net, inputs)
    plan = uniform_plan(comb, 0.5)
    laid: list[bool] = []
    step = torch.optim.SGD.step

    def watched(self: Any, *arguments: Any, **named: Any) -> Any:
        weights = [p for group in self.param_groups for p in group["params"] if p.ndim == 4 and p.shape[1] > 1]
        laid.extend(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
        return step(self, *arguments, **named)

    usual = train(net, inputs, task, TrainSettings(**ROWS), memory(), comb, plan).module
    told = memory(stop_at=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", watched)
        train(net, inputs, task, TrainSettings(**ROWS, channels_last=True), told, comb, plan)
        other = train(net, inputs, task, TrainSettings(**ROWS, channels_last=True), told, comb, plan).module
    assert laid
    assert all(laid)  # before and after every cut, and after the resume
    for (name, a), b in zip(usual.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5, msg=name)
        assert b.is_contiguous()
    assert all(p.is_contiguous() for p in net.parameters())


def test_a_network_that_cannot_is_told_so(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    class Viewing(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.b(torch.relu(self.a(x)))
            out: Tensor = self.head(hidden.view(len(x), -1)[:, :12])
            return out

    with pytest.raises(RunError, match="channels_last does not work with this network"):
        train(Viewing(), inputs, task, TrainSettings(**ROWS, channels_last=True), memory())
