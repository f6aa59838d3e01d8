"""Finished runs as workers would have written them, with numbers that can be checked by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpd.comb.record import CombRecord
from cpd.measure.answers import Answers, Labelled
from cpd.measure.measurement import Latency, Measurement, Memory
from cpd.prune.cost import CostModel
from cpd.prune.plan import plan_ratios
from cpd.runs.project import Project
from cpd.runs.store import Store
from cpd.runs.workspace import database

IMAGES = 1000
CLASSES = ("cat", "do*g", "cow")


def measured(quality: float, ms: float, parameters: int, macs: float) -> Measurement:
    """The 10th and 90th percentile are 0.9 and 1.2 times the median; batch 32 takes 32 times as long as one image.

    A pass takes its weights and 1,000 bytes an image at its fullest moment."""
    rows = tuple(Latency(batch, ms * batch, 0.9 * ms * batch, 1.2 * ms * batch, 50, 1) for batch in (1, 32))
    return Measurement(parameters, macs, "top1", quality, IMAGES, rows, "cpu", "a small machine", "2.13.0",
                       memory=tuple(Memory(batch, 4 * parameters + 1000 * batch) for batch in (1, 32)))  # fmt: skip


def finish(
    home: Path,
    project: Project,
    record: CombRecord,
    name: str,
    *,
    lost: Sequence[int] = (),
    won: Sequence[int] = (),
    ms: float = 4.0,
    ratio: float = 0.5,
    **options: Any,
) -> str:
    """A run whose dense model is right on images 0 to 949 of 1,000, takes 8 ms for an image and is `record`'s.

    Args:
        lost: images below 950 that the pruned model gets wrong; won: from 950 on, that it gets right.
        ratio: of every group that may be cut.
    """  # fmt: skip
    dense = np.where(np.arange(IMAGES) < 950, 0, 1)
    pruned = dense.copy()
    pruned[list(lost)], pruned[list(won)] = 2, 0
    flipped = (dense != pruned).astype(float)
    shown = np.flatnonzero(flipped)[:24]
    pictures = np.full((len(shown), 8, 8, 3), 128, np.uint8)
    sure = Labelled(dense, np.full(IMAGES, 0.9))
    answers = Answers("top1", CLASSES, np.zeros(IMAGES, np.int64), sure, Labelled(pruned, np.full(IMAGES, 0.6)), flipped, shown, pictures)
    plan = plan_ratios(record, {group.name: ratio for group in record.groups if group.prunable}, criterion="fisher")
    costs = CostModel(record)
    left = costs.price(plan.keep)
    book = Store(database(home))
    spec = project.spec("distill", options={"target": {"macs": 0.5}} | options)
    book.add(name, spec)
    book.launch(name)
    book.begin(name)
    folder = home / "runs" / name
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "model.safetensors").write_bytes(b"x" * 1000)
    (folder / "spec.json").write_text(spec.to_json())
    answers.save(folder / "answers.npz")
    quality = (950 - len(lost) + len(won)) / IMAGES
    result = {
        "dense": measured(0.95, 8.0, costs.dense.parameters, costs.dense.macs).to_dict(), "pruned": measured(quality, ms, left.parameters, left.macs).to_dict(),
        "plan": json.loads(plan.to_json()), "bundle": "bundle/model.safetensors", "seconds": 61.0, "steps": 10, "settings": {"lr": 0.001, "losses": {"task": 0.5}},
        "comb": {"groups": len(record.groups), "prunable": len(record.groups), "certified": len(record.groups), "locked": []},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    rows = [(step, "val/top1", value) for step, value in ((0, 0.95), (5, 0.9), (10, quality))]
    rows += [(step, "cost/macs", value) for step, value in ((0, 1.0), (5, 0.5))] + [(0, "teacher/top1", 0.95)]
    book.add_event(name, 4, "cut", "stage0.conv0 loses 4 units", {})
    book.advance(name, rows, (10, 10))
    book.finish(name, "finished")
    return name
