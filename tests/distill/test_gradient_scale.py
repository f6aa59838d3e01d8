"""fp16's gradient scale: kept in checkpoints, and steps that overflow teach nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpd.comb.comb import Comb
from cpd.distill.engine import Engine
from cpd.distill.settings import TrainSettings
from cpd.distill.student import Student
from cpd.distill.trainer import train
from cpd.tasks.task import Task


def scaled(settings: TrainSettings) -> Engine:
    """An engine with a scaler that works without a GPU; the arithmetic of the scale is the same."""
    engine = Engine(settings)
    engine.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)
    return engine


def learn(engine: Engine, student: Student, factor: float) -> tuple[float, bool]:
    """One step on x -> factor * sum(w x); the scale after it, and whether its gradients were numbers."""
    engine.backward(student.module(torch.ones(1, 4)).sum() * factor)
    sound = engine.sound()
    engine.step(0.0)
    return engine.gradient_scale(), sound


def test_the_scale_is_taken_along() -> None:
    settings = TrainSettings(optimizer="sgd", lr=0.01)
    engine = scaled(settings)
    student = Student(nn.Linear(4, 2), settings)
    engine.adopt(student)
    # An overflow halves the scale, three good steps in a row double it.
    steps = [learn(engine, student, f) for f in (1.0, float("inf"), 1.0, 1.0)]
    assert steps == [(64.0, True), (32.0, False), (32.0, True), (32.0, True)]
    assert all(torch.isfinite(p).all() for p in student.module.parameters())  # the bad step was left out
    state = engine.state()
    other = scaled(settings)
    other.adopt(student)
    other.load(state)
    assert other.state() == state
    assert learn(other, student, 1.0) == learn(engine, student, 1.0) == (64.0, True)
    fresh = scaled(settings)
    fresh.adopt(student)
    fresh.load({})
    assert learn(fresh, student, 1.0) == (64.0, True)
    assert Engine(settings).state() == {}


def test_a_resumed_run_goes_on_with_it(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpd.distill.trainer.Engine", scaled)
    settings = TrainSettings(steps=8, batch_size=16, schedule="few-step", evaluate_every=8)
    told = memory(stop_at=4)
    train(model, inputs, task, settings, told, comb, target={"macs": 0.6})
    assert told.saved[-1][1]["engine"]["scale"] == 128.0  # doubled once in four steps
    assert told.saved[-1][1]["engine"]["_growth_tracker"] == 1
    train(model, inputs, task, settings, told, comb, target={"macs": 0.6})
    assert told.saved[-1][1]["engine"]["scale"] == 256.0
    assert told.saved[-1][1]["engine"]["_growth_tracker"] == 2
