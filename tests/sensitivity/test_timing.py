"""Latency by turns: ratios of networks whose time is known because they sleep."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

import cpd
from cpd.prune.plan import plan_ratios
from cpd.sensitivity.timing import ratios, shapes_key


class Sleeper(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.batches = seconds, set()

    def forward(self, x):
        assert not self.training
        self.batches.add(len(x))
        time.sleep(self.seconds)
        return x


def test_ratios_are_those_of_the_times():
    dense, half, alike = Sleeper(0.02), Sleeper(0.01), Sleeper(0.02)
    found, dense_ms = ratios(dense, {1: half, 2: alike}, (torch.zeros(2, 3),), 4, torch.device("cpu"), 0.2)
    assert dense_ms == pytest.approx(20, rel=0.5)
    assert found[1].median == pytest.approx(0.5, rel=0.3)
    assert found[1].low <= found[1].median <= found[1].high
    assert found[2].median == pytest.approx(1.0, rel=0.3)
    assert dense.batches == half.batches == {4}


def test_equal_work_has_one_name_and_other_widths_another(net, comb, inputs):
    def cut(name: str, ratio: float):
        return shapes_key(cpd.prune(net, comb, plan_ratios(comb, {name: ratio})), inputs)

    assert cut("block1.conv1", 0.5) == cut("block1.conv1", 0.5)
    assert cut("block1.conv1", 0.5) != cut("block1.conv1", 0.25)
    assert cut("block1.conv1", 0.5) != cut("block2.conv1", 0.5)
    twins = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(4)))
    found = cpd.comb(twins, (torch.zeros(2, 4, 3, 3),))
    keys = {
        name: shapes_key(cpd.prune(twins, found, plan_ratios(found, {name: 0.5})), (torch.zeros(2, 4, 3, 3),))
        for name in ("0", "1", "2")
    }
    assert keys["0"] == keys["1"] == keys["2"]
