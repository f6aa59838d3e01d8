"""What a run keeps of its maps at every evaluation is true of the network at that step, stopped and resumed or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cpd
from cpd.comb.comb import Comb
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.measure import map_history
from cpd.measure.map_history import APART, CONFUSION, MapHistory
from cpd.prune.plan import plan_ratios
from cpd.runs.store import Event
from cpd.tasks.segmentation.digit_scenes import digit_scenes
from cpd.tasks.segmentation.task import SegmentationTask

SHORT = TrainSettings(
    steps=12, lr=5e-3, batch_size=8, chunks=3, evaluate_every=4, cut_share=0.7, losses={"soft_logits": 1.0, "task": 1.0}
)
CLASSES, IMAGES = 11, 10
Subject = tuple[nn.Module, tuple[Tensor, ...], Comb, SegmentationTask]


@pytest.fixture(scope="module")
def subject() -> Subject:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 12), (12, 12)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Conv2d(12, CLASSES, 1)).eval()
    inputs = (torch.zeros(1, 3, 32, 32),)
    return net, inputs, cpd.comb(net, inputs), digit_scenes((3, 32, 32), train=32, held_out=IMAGES)


def run(subject: Subject, told: Any, teacher: nn.Module | None = None) -> Any:
    net, inputs, comb, task = subject
    plan = plan_ratios(comb, {g.name: 0.5 for g in comb.groups if g.prunable})
    return train(net, inputs, task, SHORT, told, comb, plan, teacher=teacher)


def history(told: Any) -> MapHistory:
    events = [Event(i, step, "eval", "", data, 0.0) for i, (step, data) in enumerate(told.of("eval"))]
    found = MapHistory.of(events, IMAGES, CLASSES)
    assert found is not None
    return found


def maps(module: nn.Module, task: SegmentationTask) -> tuple[np.ndarray, np.ndarray]:
    """Answers and truth, asked image by image."""
    with torch.inference_mode():
        rows = [(module(x[None])[0].argmax(0), mask) for images, masks in task.val_batches(3) for x, mask in zip(images, masks, strict=True)]
    answers, truth = (torch.stack(list(column)).numpy() for column in zip(*rows, strict=True))
    return answers, truth


def test_maps_are_compared_at_every_evaluation(subject: Subject, memory: Any) -> None:
    net, _, _, task = subject
    told = memory()
    result = run(subject, told)
    found = history(told)
    assert found.steps.tolist() == [4, 8, 12]
    assert found.numbers.tolist() == list(range(IMAGES))
    (dense, truth), (pruned, _) = maps(net, task), maps(result.module, task)
    assert np.allclose(found.apart[-1], (dense != pruned).reshape(IMAGES, -1).mean(1), atol=1e-5)
    assert 0 < found.apart[-1].mean() < 1
    table = np.array([[((truth == a) & (pruned == b)).sum() for b in range(CLASSES)] for a in range(CLASSES)])
    assert found.confusion is not None
    assert np.array_equal(found.confusion[-1], table)
    for number in range(CLASSES):
        either = table[number].sum() + table[:, number].sum() - table[number, number]
        assert found.classes[-1, number] == pytest.approx(table[number, number] / either, abs=1e-5) if either else True

    broken = memory(6)  # stopped where the dense model's maps are only in memory
    assert not run(subject, broken).finished
    assert run(subject, broken).finished
    assert broken.of("eval") == told.of("eval")


def test_it_is_the_dense_model_that_is_compared_with_whoever_teaches(subject: Subject, memory: Any) -> None:
    net, _, _, task = subject
    torch.manual_seed(1)
    told = memory()
    result = run(subject, told, teacher=nn.Conv2d(3, CLASSES, 1))
    (dense, _), (pruned, _) = maps(net, task), maps(result.module, task)
    assert np.allclose(history(told).apart[-1], (dense != pruned).reshape(IMAGES, -1).mean(1), atol=1e-5)


def test_what_is_kept_is_bounded(subject: Subject, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_history, "MOST_PIXELS", 4 * 32 * 32)
    monkeypatch.setattr(map_history, "MOST_CONFUSED", 3)
    monkeypatch.setattr("cpd.distill.evaluations._ANSWERS", 2)
    told = memory()
    result = run(subject, told)
    assert [step for step, data in told.of("eval") if APART in data] == [8, 12]
    assert all(CONFUSION not in data for _, data in told.of("eval"))
    found = history(told)
    assert found.numbers.tolist() == [0, 3, 6, 9]
    (dense, _), (pruned, _) = maps(subject[0], subject[3]), maps(result.module, subject[3])
    assert np.allclose(found.apart[-1], (dense != pruned).reshape(IMAGES, -1).mean(1)[found.numbers], atol=1e-5)
