"""The released code's score and schedule, against a few lines that follow their description word by word."""

from __future__ import annotations

from typing import Any

import cpd._torchvision

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import cpd
from cpd.comb.comb import Comb
from cpd.distill.reference import Chunks, reference_cuts
from cpd.distill.schedule import Schedule
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.errors import PlanError
from cpd.importance import score
from cpd.prune.cost import CostModel
from cpd.prune.plan import Constraints, uniform_plan
from cpd.tasks.task import Task
from tests.distill.test_schedule import chain, scores_of


def test_the_score_by_hand() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()  # fmt: skip
    data = [(torch.randn(5, 1, 8, 8), torch.randint(0, 3, (5,))) for _ in range(2)]
    record = cpd.comb(net, (data[0][0],)).record
    found = score(net, record, data, ["reference"], 2)["reference"].groups
    expected = {"0": np.zeros(6), "3": np.zeros(4)}
    # The tensors that write, and the numel of their modules' outputs for one sample; how many read.
    tensors = {
        "0": ([("0.weight", 6 * 6 * 6), ("0.bias", 6 * 6 * 6), ("1.weight", 6 * 6 * 6), ("1.bias", 6 * 6 * 6)], 1),
        "3": ([("3.weight", 4 * 4 * 4), ("3.bias", 4 * 4 * 4)], 1),
    }
    for x, y in data:
        net.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        for group, (writers, readers) in tensors.items():
            rows = []
            for name, acts in writers:
                p = net.get_parameter(name)
                assert p.grad is not None
                rows.append((p * p.grad).detach().reshape(len(p), -1).sum(1).square().numpy() / acts)
            expected[group] += np.mean(rows, 0) / (len(writers) + readers)
    for group, values in expected.items():
        np.testing.assert_allclose(found[group], values, rtol=1e-4)


@pytest.mark.parametrize("blocks", [1, 4])
def test_the_schedule_word_by_word(blocks: int) -> None:
    record = chain([12, 16, 12], blocks=blocks, tied=False)
    scores = scores_of(record, 7)
    keep = {g.name: tuple(range(g.width)) for g in record.groups}
    now = {name: set(units) for name, units in keep.items()}
    for cut in reference_cuts(CostModel(record), scores, keep, Constraints()):
        sums = {}
        for group in record.groups:
            if len(now[group.name]) <= group.step:
                continue
            lowest: list[int] = []
            for block in sorted(set(group.blocks or [0])):
                here = [u for u in now[group.name] if group.blocks is None or group.blocks[u] == block]
                lowest.append(min(here, key=lambda u, s=scores[group.name]: s[u]))
            sums[group.name] = (sum(scores[group.name][u] for u in lowest), lowest)
        least = min(sums, key=lambda name: sums[name][0])
        assert cut.group == least
        now[least] -= set(sums[least][1])
        assert set(cut.keep) == now[least]
    assert {len(units) for units in now.values()} == {1, blocks}


def test_chunks_by_what_a_group_is() -> None:
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=24, depth=1, num_heads=3, num_classes=4
    )
    record = cpd.comb(vit.eval(), (torch.randn(2, 3, 16, 16),)).record
    chunks = Chunks(record)
    sizes = {g.name: chunks.of(g, g.width) for g in record.groups if g.prunable}
    assert sizes.pop("blocks.0.mlp.fc1") == 32
    assert sizes.pop("patch_embed.proj", 3) == 3  # one for each of three heads
    convs = nn.Sequential(nn.Conv2d(3, 70, 3), nn.ReLU(), nn.Conv2d(70, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 9), nn.Linear(9, 3))  # fmt: skip
    found = cpd.comb(convs.eval(), (torch.randn(2, 3, 8, 8),)).record
    first, _, hidden = (g for g in found.groups if g.prunable)
    assert [Chunks(found).of(first, left) for left in (70, 64, 63, 32, 31, 1)] == [4, 4, 2, 2, 1, 1]
    assert Chunks(found).of(hidden, 9) == 1


def test_a_run_by_it(model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    rows: dict[str, Any] = {
        "steps": 16,
        "batch_size": 16,
        "schedule": "reference",
        "criterion": "reference",
        "evaluate_every": 16,
    }
    told = memory()
    one = train(model, inputs, task, TrainSettings(**rows, interval=2), told, comb, target={"macs": 0.3})
    assert [(step, data["removed"]) for step, data in told.of("cut")] == [
        (2, 1),
        (4, 1),
        (6, 1),
        (8, 1),
    ]  # narrow layers
    assert one.plan is not None
    assert "one chunk every 2 steps, and there were 4" in one.plan.shortfall
    told = memory()
    met = train(model, inputs, task, TrainSettings(**rows), told, comb, target={"macs": 0.3})
    assert met.plan is not None
    assert not met.plan.shortfall
    assert told.metrics[16, "cost/macs"] <= 0.3
    with pytest.raises(PlanError, match="give a target such as"):
        Schedule(comb.record, uniform_plan(comb, 0.5), None, 4, reference=True)
