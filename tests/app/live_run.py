"""A run as a worker would have written it so far, and its screen with what is closed there opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cpd.runs.store import Store
from cpd.runs.workspace import database


def started(home: Path, made, steps: int = 30) -> str:
    """A run that a worker would have written so far."""
    book, run = Store(database(home)), "distill-1"
    book.add(run, made.spec("distill", options={"target": {"macs": 0.25}}))
    (home / "runs" / run).mkdir()
    book.launch(run)
    book.begin(run)
    rows = [(step, "train/loss", 1.0 / (step + 1)) for step in range(steps)]
    rows += [(0, "val/top1", 0.98), (20, "val/top1", 0.96), (0, "teacher/top1", 0.985), (20, "cost/macs", 0.5), (20, "cost/params", 0.4),
             (20, "latency/ms_b1", 1.0), (10, "width/stage1.conv1", 16)]  # fmt: skip
    book.add_event(run, 10, "cut", "stage1.conv1 keeps 16 of 32", {"group": "stage1.conv1"})
    book.advance(run, rows, (steps, 100))
    return run


def opened(at: Any, *drawers: str) -> Any:
    """The page again, with these expanders open: they are drawn for whoever opens them."""
    for key in drawers:
        at.session_state[key] = True
    return at.run() if drawers else at
