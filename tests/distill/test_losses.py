"""Each loss against its formula written out with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from cpd.distill.losses import LOSSES
from cpd.distill.losses.term import Pair, Seen
from cpd.errors import RunError

RNG = np.random.default_rng(1)
STUDENT, TEACHER = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 4))
TARGETS = np.array([0, 3, 1, 1, 2])


def seen(**kwargs: object) -> Seen:
    base = {
        "student": torch.tensor(STUDENT, requires_grad=True),
        "teacher": torch.tensor(TEACHER),
        "targets": torch.tensor(TARGETS),
        "task_loss": functional.cross_entropy,
    }
    return Seen(**(base | kwargs))  # type: ignore[arg-type]


def softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_task_is_the_cross_entropy_of_the_labels() -> None:
    expected = -np.log(softmax(STUDENT)[np.arange(5), TARGETS]).mean()
    assert LOSSES["task"].load()(seen()).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_logits_are_t_squared_times_the_divergence(temperature: float) -> None:
    p, q = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert LOSSES["soft_logits"].load()(seen(temperature=temperature)).item() == pytest.approx(expected)


def test_soft_logits_gradient_hardly_depends_on_a_high_temperature() -> None:
    """Hinton's reason for T^2: at high T the gradient tends to (student - teacher) / classes, centred."""
    batch = seen(temperature=500.0)
    LOSSES["soft_logits"].load()(batch).backward()
    centred = lambda x: x - x.mean(1, keepdims=True)  # noqa: E731
    expected = (centred(STUDENT) - centred(TEACHER)) / 4 / 5
    np.testing.assert_allclose(batch.student.grad.numpy(), expected, rtol=0.02, atol=1e-4)  # type: ignore[union-attr]


def test_soft_logits_of_maps_are_the_mean_over_pixels() -> None:
    student, teacher = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))
    p, q = softmax(teacher), softmax(student)
    expected = (p * np.log(p / q)).sum(1).mean()
    value = LOSSES["soft_logits"].load()(seen(student=torch.tensor(student), teacher=torch.tensor(teacher)))
    assert value.item() == pytest.approx(expected)


def test_hard_labels_are_the_teachers_decisions() -> None:
    expected = -np.log(softmax(STUDENT)[np.arange(5), TEACHER.argmax(1)]).mean()
    assert LOSSES["hard_labels"].load()(seen()).item() == pytest.approx(expected)


def pair(student: np.ndarray, teacher: np.ndarray, whole: np.ndarray | None = None, axis: int = 1) -> Pair:
    whole = teacher if whole is None else whole
    return Pair(torch.tensor(student, requires_grad=True), torch.tensor(teacher), torch.tensor(whole), axis)


def test_features_are_compared_in_units_of_the_teachers_variance() -> None:
    pairs = [(RNG.normal(size=(2, 3, 4)), scale * RNG.normal(size=(2, 3, 4))) for scale in (1.0, 100.0)]
    expected = np.mean([((a - b) ** 2).mean() / b.var() for a, b in pairs])
    value = LOSSES["features"].load()(seen(pairs=tuple(pair(a, b) for a, b in pairs)))
    assert value.item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_channel_wise_is_a_divergence_over_the_pixels_of_each_channel(temperature: float) -> None:
    student, teacher = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))
    total = 0.0
    for image in range(2):
        for channel in range(3):
            p = np.exp(teacher[image, channel] / temperature) / np.exp(teacher[image, channel] / temperature).sum()
            q = np.exp(student[image, channel] / temperature) / np.exp(student[image, channel] / temperature).sum()
            total += temperature**2 / 3 * (p * np.log(p / q)).sum() / 2
    batch = seen(student=torch.tensor(student), teacher=torch.tensor(teacher), temperature=temperature)
    assert LOSSES["channel_wise"].load()(batch).item() == pytest.approx(total)
    # a channel's overall height says nothing of where its class is
    lifted = seen(student=torch.tensor(student + RNG.normal(size=(2, 3, 1, 1))), teacher=torch.tensor(teacher), temperature=temperature)
    assert LOSSES["channel_wise"].load()(lifted).item() == pytest.approx(total)


def test_channel_wise_needs_scores_a_pixel() -> None:
    with pytest.raises(RunError, match="set its weight to 0"):
        LOSSES["channel_wise"].load()(seen())


@pytest.mark.parametrize("axis", [1, 3])
def test_attention_transfer_compares_maps_of_unit_length(axis: int) -> None:
    """By hand: two layers, of which the student has lost channels, positions in any order of axes."""
    total, pairs = 0.0, []
    for _ in range(2):
        student, whole = RNG.normal(size=(2, 4, 5, 3)), RNG.normal(size=(2, 4, 5, 6))
        for image in range(2):
            maps = [(a[image] ** 2).sum(-1).ravel() for a in (student, whole)]
            a, b = (m / np.sqrt((m**2).sum()) for m in maps)
            total += np.sqrt(((a - b) ** 2).sum()) / 2 / 2
        student, whole = (np.moveaxis(x, -1, axis) for x in (student, whole))
        pairs.append(pair(student, np.take(whole, range(3), axis), whole, axis))
    value = LOSSES["attention_transfer"].load()(seen(pairs=tuple(pairs)))
    assert value.item() == pytest.approx(total)
    # the scale of the activations does not count
    louder = [Pair(5 * p.student, p.teacher, p.whole, p.axis) for p in pairs]
    assert LOSSES["attention_transfer"].load()(seen(pairs=tuple(louder))).item() == pytest.approx(total)


def test_attention_transfer_has_a_gradient_where_student_and_teacher_agree() -> None:
    same = RNG.normal(size=(2, 3, 4, 4))
    alike = pair(same, same)
    LOSSES["attention_transfer"].load()(seen(pairs=(alike,))).backward()
    assert torch.isfinite(alike.student.grad).all()  # type: ignore[arg-type]


def test_every_loss_says_what_it_needs() -> None:
    assert {name for name, entry in LOSSES.items() if not entry.needs_teacher} == {"task"}
    assert {name for name, entry in LOSSES.items() if entry.needs_features} == {"features", "attention_transfer"}
