"""Numbers as people read them, and how far criteria agree."""

from __future__ import annotations

import numpy as np
import pytest

from app import agree, numbers
from app.projects import settings_from, settings_text
from cpd.errors import ModelError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (numbers.count(0), "0"),
        (numbers.count(9_999), "9,999"),
        (numbers.count(12_345), "12.3 k"),
        (numbers.count(1_813_566_464, "MACs"), "1.81 G MACs"),
        (numbers.count(320, "MACs"), "320 MACs"),
        (numbers.percent(0.1234), "12.3 %"),
        (numbers.percent(None), numbers.DASH),
        (numbers.points(-0.018), "-1.80 pts"),
        (numbers.points(-1e-9), "+0.00 pts"),
        (numbers.milliseconds(0.0421), "0.0421 ms"),
        (numbers.milliseconds(64.04), "64.0 ms"),
        (numbers.times(2.345), "2.35×"),
        (numbers.duration(95), "1 min 35 s"),
        (numbers.duration(7_260), "2 h 01 min"),
        (numbers.plural(1, "batch", "batches"), "1 batch"),
        (numbers.plural(8, "batch", "batches"), "8 batches"),
    ],
)
def test_numbers_are_shown_with_units_and_three_figures(said, shown):
    assert said == shown


def test_matrix_is_the_mean_over_groups_that_have_an_order():
    scores = {"x": {"g": np.array([1.0, 2, 3]), "h": np.array([1.0])}, "y": {"g": np.array([3.0, 2, 1]), "h": np.array([2.0])}}
    found = agree.by_group(scores, ["g", "h"])
    np.testing.assert_allclose(agree.matrix(found, ["x", "y"]), [[1, -1], [-1, 1]])


def test_settings_are_read_and_written_back():
    settings = settings_from("num_classes=10, in_chans=1 act_layer=gelu global_pool=avg bias=false drop=0.1 channels=[8, 16],depth=2")
    assert settings == {"num_classes": 10, "in_chans": 1, "act_layer": "gelu", "global_pool": "avg", "bias": False, "drop": 0.1, "channels": [8, 16], "depth": 2}
    assert settings_from(settings_text(settings)) == settings
    with pytest.raises(ModelError, match="NAME=VALUE"):
        settings_from("num_classes:10")
