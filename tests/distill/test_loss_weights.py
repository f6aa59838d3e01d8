"""Weights of losses that move over the run."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpd.cli.training import add_settings, chosen_settings
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.distill.weights import Weight
from cpd.errors import RunError
from cpd.tasks.task import Task


def test_a_weight_moves_on_a_line() -> None:
    assert [Weight.of("x", 0.5).at(step, 5) for step in (0, 4)] == [0.5, 0.5]
    whole = Weight.of("x", {"from": 1, "to": 0.2})
    assert [whole.at(step, 5) for step in range(5)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    middle = Weight.of("x", {"from": 0, "to": 3, "begin": 0.25, "end": 0.75})
    assert [middle.at(step, 9) for step in range(9)] == pytest.approx([0, 0, 0, 0.75, 1.5, 2.25, 3, 3, 3])
    jump = Weight.of("x", {"from": 2, "to": 0, "begin": 0.5, "end": 0.5})
    assert [jump.at(step, 5) for step in range(5)] == [2, 2, 0, 0, 0]
    assert Weight.of("x", {"from": 1, "to": 0}).at(0, 1) == 1  # a run of one step
    assert [str(w) for w in (Weight(1, 1), whole, middle)] == ["1", "1 to 0.2", "0 to 3 between 25% and 75% of the run"]


@pytest.mark.parametrize(
    "value",
    [-1, "much", True, float("nan"), {}, {"from": 1}, {"from": 1, "to": -1}, {"from": 1, "to": 0, "end": 2}]
    + [{"from": 1, "to": 0, "begin": 0.6, "end": 0.4}, {"from": 1, "to": 0, "until": 1}, {"from": 1, "to": "0"}],
)
def test_what_is_no_weight_is_said(value: Any) -> None:
    with pytest.raises(RunError, match="weight of the loss soft_logits is"):
        TrainSettings(losses={"soft_logits": value})
    with pytest.raises(RunError, match="one is above 0"):
        TrainSettings(losses={"soft_logits": {"from": 0, "to": 0}})


def test_the_loss_is_the_sum_by_the_weights_of_its_step(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    losses = {"task": 0.5, "soft_logits": {"from": 1.0, "to": 0.0, "end": 0.5}}
    told = memory(stop_at=3)
    settings = TrainSettings(steps=5, batch_size=16, losses=losses, lr=0.1)
    assert TrainSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    train(net, inputs, task, settings, told, teacher=teacher)
    train(net, inputs, task, settings, told, teacher=teacher)  # goes on after step 3
    for step, weight in enumerate([1.0, 0.5, 0.0, 0.0, 0.0], 1):
        parts = {name: told.metrics[step, f"train/loss/{name}"] for name in losses}
        assert parts["soft_logits"] > 0
        assert told.metrics[step, "train/loss"] == pytest.approx(0.5 * parts["task"] + weight * parts["soft_logits"])


def test_the_command_line_has_a_short_form() -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser, pruning=True)
    given = [
        "--loss",
        "soft_logits=1:0.2",
        "--loss",
        "task=0.5",
        "--loss",
        "hard_labels={'from': 0, 'to': 1, 'end': 0.5}",
    ]
    row = chosen_settings(argparse.Namespace(**vars(parser.parse_args(given)), device="cpu"))
    assert row.losses == {
        "soft_logits": {"from": 1, "to": 0.2},
        "task": 0.5,
        "hard_labels": {"from": 0, "to": 1, "end": 0.5},
    }
