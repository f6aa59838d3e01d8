"""The teacher is asked once for every image that never changes, and the student learns what it would have learned."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import Trained, train
from cpd.tasks import load_task
from cpd.tasks.task import Numbered, Task

STEADY = TrainSettings(steps=14, batch_size=256, augment=False, optimizer="sgd", lr=0.1, warmup=0.0, losses={"soft_logits": 1.0, "task": 0.5})  # fmt: skip


class Counted(nn.Module):
    """A teacher that counts the training batches it is shown; a deep copy counts on the same list."""

    def __init__(self, shown: list[int], evaluated: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.shown, self.evaluated = shown, evaluated

    def __deepcopy__(self, memo: Any) -> Counted:
        return Counted(self.shown, self.evaluated)

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(len(x))
        out: Tensor = self.net(x)
        return out


def student() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.1), nn.Linear(48, 10))


def run(inputs: tuple[Tensor, ...], task: Task, told: Any, **changed: Any) -> tuple[Trained, int]:
    """The run, and how often its teacher was asked beside being evaluated once."""
    shown: list[int] = []
    settings = TrainSettings(**(STEADY.to_dict() | changed))
    evaluations = 0 if told.saved else -(-task.val_images // 128)
    result = train(student(), inputs, task, settings, told, teacher=Counted(shown, evaluations))
    return result, len(shown) - evaluations


def test_the_student_learns_the_same(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    passes = -(-task.train_images // 256)
    assert task.steps(256) * 2 < 14
    with_cache, asked = run(inputs, task, memory())
    assert asked == passes
    without, asked = run(inputs, task, memory(), cache_mb=0)
    assert asked == 14
    for a, b in zip(with_cache.module.parameters(), without.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    in_parts, asked = run(inputs, task, memory(), accumulate=4)
    assert asked == passes
    assert in_parts.finished


@pytest.mark.parametrize("stop_at", [0, 8])
def test_a_resumed_run_looks_up_the_same(inputs: tuple[Tensor, ...], task: Task, memory: Any, stop_at: int) -> None:
    whole, _ = run(inputs, task, memory())
    told = memory(stop_at=stop_at)
    first, _ = run(inputs, task, told)
    assert (first.finished, first.step) == (False, stop_at)
    second, asked = run(inputs, task, told)
    assert asked == -(-task.train_images // 256)
    mine, theirs = whole.module.state_dict(), second.module.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_where_it_cannot_be_kept_the_teacher_is_asked(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    assert run(inputs, task, memory(), augment=True)[1] == 14  # every image is another one each time
    assert run(inputs, task, memory(), steps=task.steps(256) + 1)[1] == task.steps(256) + 1  # seen about once
    bytes_needed = task.train_images * 10 * 4
    assert (
        run(inputs, task, memory(), cache_mb=(bytes_needed - 1) / 1e6)[1] == 14 + 1
    )  # one batch told how large they are
    assert run(inputs, task, memory(), cache_mb=bytes_needed / 1e6)[1] == -(-task.train_images // 256)


@pytest.mark.parametrize("data, shape", [("digits", (1, 8, 8)), ("digit-scenes", (3, 32, 32))])
@pytest.mark.parametrize("rank, world", [(0, 1), (1, 2)])
def test_numbers_name_the_images_that_batches_show(
    data: str, shape: tuple[int, int, int], rank: int, world: int
) -> None:
    task = load_task(data, shape)
    assert isinstance(task, Numbered)
    few = 3
    every = torch.cat(list(task.train_unchanged(100)))
    assert len(every) == task.train_images
    batches = islice(task.train_batches(16, 5, 2, 4, False, rank, world), few)
    numbers = islice(task.train_numbers(16, 5, 2, 4, rank, world), few)
    for (images, _), number in zip(batches, numbers, strict=True):
        assert torch.equal(images, every[number])
