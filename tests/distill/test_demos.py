"""The demos' stored weights are what the project says they are."""

from __future__ import annotations

import pytest

import cpd
from cpd.measure.accuracy import accuracy
from cpd.tasks import load_task
from cpd.tasks.demos import DEMOS, Demo


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.id)
def test_a_demo_opens_with_weights_that_know_the_digits(demo: Demo) -> None:
    model, inputs = cpd.load_model(demo.model, demo.weights, settings=demo.settings)
    task = load_task(demo.data, inputs, demo.model)
    assert (task.train_images, task.val_images) == (1343, 454)
    assert accuracy(model, task) >= 0.97


def test_the_weights_fit_into_twelve_megabytes() -> None:
    assert sum(demo.weights.stat().st_size for demo in DEMOS) <= 12e6
