"""Each loss against its formula written out with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from cpd.distill.losses import LOSSES
from cpd.distill.losses.term import Seen

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


def test_features_are_compared_in_units_of_the_teachers_variance() -> None:
    pairs = [(RNG.normal(size=(2, 3, 4)), scale * RNG.normal(size=(2, 3, 4))) for scale in (1.0, 100.0)]
    expected = np.mean([((a - b) ** 2).mean() / b.var() for a, b in pairs])
    value = LOSSES["features"].load()(seen(pairs=tuple((torch.tensor(a), torch.tensor(b)) for a, b in pairs)))
    assert value.item() == pytest.approx(expected)


def test_every_loss_says_what_it_needs() -> None:
    assert {name for name, entry in LOSSES.items() if entry.needs_teacher} == {"soft_logits", "hard_labels", "features"}
