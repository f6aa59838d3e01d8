"""A workspace with real processes, and a clean end whatever a test leaves behind."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cpd.runs.lock import holder
from cpd.runs.policy import Policy
from cpd.runs.store import Run, Store
from cpd.runs.workspace import open_workspace

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An open workspace whose workers know the kind "walk"."""
    monkeypatch.setenv("CPD_JOBS", "tests.runs.rehearsal")
    monkeypatch.setenv("CPD_HOME", str(tmp_path / "home"))
    root = open_workspace()
    set_policy(root, poll_s=0.03, backoff_s=0.05)
    yield root
    end_processes(root)


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    store = Store(root / "runs.db")
    yield store
    store.close()


def set_policy(root: Path, **values: float) -> None:
    assert Policy(**values)  # type: ignore[arg-type]
    (root / "policy.json").write_text(json.dumps(values))


def end_processes(root: Path) -> None:
    """The supervisor first, or it would start the workers again."""
    for path in [root / "supervisor.lock", *root.glob("runs/*/lock")]:
        kill(path)


def kill(lock: Path, number: int = signal.SIGKILL) -> bool:
    """Signal whoever holds the lock; whether there was somebody."""
    pid = holder(lock)
    if pid is None or pid == os.getpid():
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait(condition: Callable[[], bool], seconds: float = 20.0, what: str = "the condition") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds:g} s"
        time.sleep(0.01)


def wait_over(store: Store, run: str, seconds: float = 20.0) -> Run:
    wait(lambda: store.run(run).is_over, seconds, f"the end of {run}")
    return store.run(run)


def walked(seed: int, steps: int) -> list[float]:
    """Where the walk of tests/runs/rehearsal/walk.py is after each step, without any engine."""
    dice = random.Random(seed)
    places, place = [], 0.0
    for _ in range(steps):
        place += dice.gauss(0, 1)
        places.append(place)
    return places
