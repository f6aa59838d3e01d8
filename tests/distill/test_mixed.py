"""Mixup and label smoothing on the way into a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cpd.distill.mixed import Mixed
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.errors import RunError
from cpd.tasks import load_task
from cpd.tasks.task import Task

X, Y = torch.arange(8.0).view(4, 2), torch.tensor([0, 2, 1, 1])


def test_images_and_labels_are_mixed_by_one_share() -> None:
    mixed = Mixed(TrainSettings(mixup=0.8, smoothing=0.1), 3)
    np.random.seed(0)
    x, y = mixed(X, Y)
    share = (x[0, 0] - X[3, 0]) / (X[0, 0] - X[3, 0])
    assert 0 < share < 1
    torch.testing.assert_close(x, share * X + (1 - share) * X.flip(0))
    smooth = 0.9 * torch.eye(3)[Y] + 0.1 / 3
    torch.testing.assert_close(y, share * smooth + (1 - share) * smooth.flip(0))
    assert torch.equal(X, torch.arange(8.0).view(4, 2))  # the batch itself is left alone


def test_smoothing_alone_leaves_images_as_they_are() -> None:
    x, y = Mixed(TrainSettings(mixup=0.8, smoothing=0.3, augment=False), 3)(X, Y)
    assert x is X
    torch.testing.assert_close(y, 0.7 * torch.eye(3)[Y] + 0.1)
    assert not Mixed.wanted(TrainSettings(mixup=0.8, augment=False))


def test_what_cannot_be_mixed_is_said(memory: Any) -> None:
    with pytest.raises(RunError, match="batch_size 33 is odd"):
        TrainSettings(mixup=0.2, batch_size=33)
    net = nn.Conv2d(3, 11, 1)
    with pytest.raises(RunError, match="one a pixel; set them to 0"):
        train(
            net,
            (torch.zeros(2, 3, 32, 32),),
            load_task("digit-scenes", (3, 32, 32)),
            TrainSettings(steps=1, smoothing=0.1),
            memory(),
        )


def test_a_resumed_run_mixes_the_same(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    settings = TrainSettings(steps=6, batch_size=16, mixup=0.4, smoothing=0.1, accumulate=2)
    whole = train(net, inputs, task, settings, memory()).module
    told = memory(stop_at=3)
    train(net, inputs, task, settings, told)
    np.random.seed(99)
    again = train(net, inputs, task, settings, told).module
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    plain = train(net, inputs, task, TrainSettings(steps=6, batch_size=16), memory()).module
    assert not torch.equal(plain[1].weight, again[1].weight)
