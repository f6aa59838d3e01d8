"""The answers that a run keeps at its evaluations are those of the network at that step, stopped and resumed or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cpd.comb.comb import Comb
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.measure.answering import answers
from cpd.measure.answers import Labelled
from cpd.measure.history import KEY, History, sample, unpacked
from cpd.prune.plan import plan_ratios
from cpd.runs.store import Event
from cpd.tasks.task import Task

SHORT = TrainSettings(steps=24, lr=2e-3, batch_size=32, chunks=6, evaluate_every=8, cut_share=0.7)


def kept(told: Any) -> dict[int, str]:
    return {step: data[KEY] for step, data in told.of("eval")}


def test_answers_are_kept_at_every_evaluation(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    plan = plan_ratios(comb, {g.name: 0.6 for g in comb.groups if g.prunable})
    told = memory()
    result = train(model, inputs, task, SHORT, told, comb, plan)
    assert list(kept(told)) == [8, 16, 24]
    # The last ones, asked of the finished module image by image, without the batches of the evaluation.
    with torch.inference_mode():
        singles = [int(result.module(x[None]).argmax()) for images, _ in task.val_batches(64) for x in images]
    last = unpacked(kept(told)[24], len(sample(task.val_images)))
    assert last is not None
    assert np.array_equal(last, np.array(singles)[sample(task.val_images)])

    both = answers(model, result.module, task)
    assert isinstance(both.dense, Labelled)
    assert isinstance(both.pruned, Labelled)
    events = [Event(i, step, "eval", "", {KEY: text}, 0.0) for i, (step, text) in enumerate(kept(told).items())]
    history = History.of(events, both.images)
    assert history is not None
    changed = history.changed_at(both.dense.answer) >= 0
    assert np.array_equal(np.flatnonzero(both.flipped), history.numbers[changed])

    broken = memory(12)
    assert not train(model, inputs, task, SHORT, broken, comb, plan).finished
    assert train(model, inputs, task, SHORT, broken, comb, plan).finished
    assert kept(broken) == kept(told)
