"""The story of a run: numbers by hand, sentences that follow from them, and a page that nothing can get out of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cpd.measure.answers import Answers, Labelled
from cpd.measure.measurement import Latency, Measurement
from cpd.prune.plan import GroupPlan, Plan
from cpd.report.appendix import appendix
from cpd.report.comparison import comparison, front
from cpd.report.page import page
from cpd.report.story import tell
from cpd.report.verdict import loss_of, speed_up
from cpd.report.words import big, loss, milliseconds, points, points_range
from cpd.runs.finished import FinishedRun
from cpd.runs.spec import RunSpec
from cpd.runs.store import Event, Series

HOSTILE = "</script><script>alert('x')</script>"


def measured(quality: float, ms: float, parameters: int, macs: float) -> Measurement:
    rows = tuple(Latency(batch, ms * batch, 0.9 * ms * batch, 1.2 * ms * batch, 50, 1) for batch in (1, 32))
    return Measurement(parameters, macs, "top1", quality, 1000, rows, "cpu", "a small machine", "2.13.0")


def finished(folder: Path, lost: int = 20, won: int = 10, speed: float = 2.0, name: str = "net.py:Net") -> FinishedRun:
    """950 of 1,000 right before; `lost` of them wrong after, `won` others right."""
    targets = np.zeros(1000, np.int64)
    dense = np.where(np.arange(1000) < 950, 0, 1)
    pruned = dense.copy()
    pruned[:lost] = 2
    pruned[950 : 950 + won] = 0
    answers = Answers(
        "top1",
        ("cat", HOSTILE, "cow"),
        targets,
        Labelled(dense, np.ones(1000)),
        Labelled(pruned, np.ones(1000)),
        (dense != pruned).astype(float),
    )
    folder.mkdir(exist_ok=True)
    answers.save(folder / "answers.npz")
    before = measured(0.95, 8.0, 4_000_000, 2e9)
    after = measured((950 - lost + won) / 1000, 8.0 / speed, 1_000_000, 5e8)
    plan = Plan(
        "digest",
        (GroupPlan("stem", 4, (0, 1), 0.5), GroupPlan("head", 4, (0, 1, 2, 3), 0.9, f"locked {HOSTILE}")),
        "fisher",
    )
    result = {
        "dense": before.to_dict(), "pruned": after.to_dict(), "plan": json.loads(plan.to_json()), "bundle": "bundle/model.safetensors",
        "seconds": 61.0, "steps": 10, "comb": {"groups": 2, "prunable": 1, "certified": 1, "locked": ["head"]},
    }  # fmt: skip
    metrics = {
        "val/top1": Series((0, 10), (0.9, 0.94)),
        "teacher/top1": Series((0, 10), (0.95, 0.95)),
        "cost/macs": Series((0, 10), (1.0, 0.25)),
    }
    events = (Event(1, 3, "cut", "stem loses 2 units", {}, 0.0),)
    return FinishedRun(
        folder,
        RunSpec("distill", model=name, data="digits", options={"losses": {"task": 0.5}}),
        result,
        events,
        metrics,
    )


def test_numbers_of_the_story_by_hand(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    change = loss_of(run)
    # Agresti and Min: (10 - 20) / 1002 -+ 1.96 sqrt((10 + 20 + 1) - 100 / 1002) / 1002
    assert change.value == pytest.approx(-0.01)
    assert (change.low, change.high) == pytest.approx((-0.02085, 0.00089), abs=2e-5)
    assert speed_up(run) == (32, pytest.approx(2.0))
    story = tell(run)
    assert [step.title for step in story.steps] == [
        "What we had", "What we cut, and why that is safe", "What it costs", "What it buys on this machine", "What we recommend",
    ]  # fmt: skip
    values = {number.label: number.value.replace("\u00a0", " ") for step in story.steps for number in step.numbers}
    assert values["answers right"] == "95.0 %"
    assert values["internal channels removed"] == "25.0 %"
    assert values["proved before cutting"] == "1"
    assert values["images answered differently"] == "3.0 %"
    assert values["faster, one image at a time"] == "2.00×"
    assert values["work for an image"] == "25 %"
    text = " ".join(line for step in story.steps for line in step.text)
    assert (
        "30 images of 1,000 get another answer than before: 20 went from right to wrong, 10 from wrong to right."
        in text
    )
    assert "cannot be told from none at all; a loss larger than 2.1 points is unlikely" in text


@pytest.mark.parametrize(
    ("lost", "won", "speed", "headline"),
    [
        (0, 0, 2.0, "Switch: it does the same job with less."),
        (8, 0, 2.0, "Switch where a loss of 0.8 points is worth a network 2.00× as fast."),
        (40, 0, 2.0, "Do not switch yet: cut less, or train longer."),
        (0, 0, 1.0, "Switch only for the smaller size: it is not noticeably faster here."),
        (60, 48, 2.0, "Promising; test it on more images before you switch."),
    ],
)
def test_the_recommendation_follows_from_the_numbers(
    tmp_path: Path, lost: int, won: int, speed: float, headline: str
) -> None:
    assert tell(finished(tmp_path / "run", lost, won, speed)).steps[-1].headline == headline


def test_nothing_is_said_that_was_not_measured(tmp_path: Path) -> None:
    """Without labels there is no accuracy; without certificates nothing was proved; without timings nothing is faster."""
    run = finished(tmp_path / "run")
    bare = {name: {**run.result[name], "metric": "", "quality": None, "latency": []} for name in ("dense", "pruned")}
    story = tell(replace(run, result={**run.result, **bare, "comb": None}, metrics={}))
    text = " ".join(
        [
            *(step.headline for step in story.steps),
            *(n.label for s in story.steps for n in s.numbers),
            *(t for s in story.steps for t in s.text),
        ]
    )
    for word in ("accuracy", "as fast", "proved", "tested on the network"):
        assert word not in text
    assert "It was not measured" in text
    assert "its speed was not measured" in text


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.links: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script"
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts.append(data)


def test_the_page_stands_alone_and_names_cannot_break_out_of_it(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", name=f"net.py:{HOSTILE}")
    story = tell(run)
    text = page([story], [appendix(story)], plotly="/* plotly */")
    reader = Reader()
    reader.feed(text)
    assert reader.links == []
    charts = [json.loads(script) for script in reader.scripts if script.startswith("{")]
    assert len(charts) == 3
    assert all(set(chart) == {"data", "layout"} for chart in charts)
    assert "alert(" not in "".join(script for script in reader.scripts if not script.startswith("{"))
    assert len(reader.scripts) == len(charts) + 2
    assert "default-src 'none'" in text


def test_with_plotly_the_page_stays_below_six_megabytes(tmp_path: Path) -> None:
    runs = [finished(tmp_path / f"run{i}") for i in range(6)]
    stories = [tell(run) for run in runs]
    text = page(stories, [appendix(story) for story in stories], comparison(runs))
    assert len(text.encode()) < 6e6
    assert not re.search(r"<script[^>]+src=", text)


def test_the_front_against_a_slow_definition() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        places = [(float(c), float(q)) for c, q in random.integers(0, 6, (12, 2))]
        slow = {
            i
            for i, (c, q) in enumerate(places)
            if all(not ((d <= c and p >= q) and (d, p) != (c, q)) for d, p in places)
        }
        assert front(places) == slow
    assert front([(None, 0.9), (1.0, None), (1.0, 0.5)]) == {2}


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [(points, -0.0131, "−1.3 points"), (points, 0.0, "0 points"), (points, -0.0003, "−0.03 points"), (points, 1e-7, "0 points"),
     (loss, -0.0131, "1.3 points"), (milliseconds, 0.123, "0.12\u00a0ms"), (milliseconds, 181.4, "181\u00a0ms"), (big, 179.5e6, "180 million"), (big, 12_345, "12.3 thousand")],
)  # fmt: skip
def test_numbers_read_well(function: Callable[[float], str], value: float, text: str) -> None:
    assert function(value) == text


def test_a_range_keeps_its_signs() -> None:
    assert points_range(-0.026, -0.0003) == "−2.6 to −0.03 points"
