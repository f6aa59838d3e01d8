"""Criteria that no training step can accumulate still order the cuts of a run towards a target."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import cpd
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.importance import score
from cpd.tasks import load_task


def test_a_target_is_pruned_to_by_what_was_seen_of_the_dense_network() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 10, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 10),
    ).eval()  # fmt: skip
    inputs = (torch.randn(2, 1, 8, 8),)
    comb = cpd.comb(net, inputs)
    task = load_task("digits", inputs)
    how = {"steps": 8, "batch_size": 16, "evaluate_every": 1000, "score_batches": 2, "chunks": 4}
    settings = TrainSettings(criterion="activation", **how)  # type: ignore[arg-type]
    done = train(net, inputs, task, settings, comb=comb, target={"macs": 0.5})
    assert done.plan is not None
    data = task.train_batches(16, 0, augment=False)
    seen = score(net, comb.record, data, ["activation"], 2, loss=task.loss, comb=comb)["activation"].groups
    cut = 0
    for group in comb.groups:
        kept = done.plan.keep[group.name]
        if len(kept) < group.width:
            cut += 1
            best = np.argsort(-seen[group.name], kind="stable")[: len(kept)]
            assert set(kept) == set(best.tolist())
    assert cut
