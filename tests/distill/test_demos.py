"""The demos' stored weights are what the project says they are."""

from __future__ import annotations

import pytest

import cpd
from cpd.measure.accuracy import accuracy
from cpd.tasks import load_task
from cpd.tasks.demos import DEMOS, Demo

IMAGES = {"classification": ((1343, 454), 0.97), "segmentation": ((1200, 300), 0.75)}  # and the least accuracy or mIoU


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.id)
def test_a_demo_opens_with_weights_that_know_the_digits(demo: Demo) -> None:
    model, inputs = cpd.load_model(demo.model, demo.weights, settings=demo.settings)
    task = load_task(demo.data, inputs, demo.model)
    images, least = IMAGES[demo.task]
    assert (task.train_images, task.val_images) == images
    assert accuracy(model, task) >= least


@pytest.mark.parametrize("task", IMAGES)
def test_the_weights_fit_into_twelve_megabytes(task: str) -> None:
    assert 0 < sum(demo.weights.stat().st_size for demo in DEMOS if demo.task == task) <= 12e6
