"""A workspace of its own for every test, with projects that need no worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
import synthetic
from streamlit.testing.v1 import AppTest

from cpd.comb.record import CombRecord
from cpd.runs.project import Project, create_project, project_folder
from cpd.runs.workspace import open_workspace

ROOT = Path(__file__).resolve().parents[2]
MEASURED = {
    "parameters": 7_000, "macs": 2_119_680.0, "metric": "top1", "quality": 0.98, "images": 360, "device": "cpu", "machine": "a test bench", "torch": "2.13.0",
    "latency": [{"batch": b, "median_ms": 2.0 * b, "p10_ms": 1.9 * b, "p90_ms": 2.2 * b, "runs": 30, "threads": 2} for b in (1, 32)],
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, and empty caches."""
    monkeypatch.setenv("CPD_HOME", str(tmp_path / "home"))
    st.cache_data.clear()
    st.cache_resource.clear()
    return open_workspace(tmp_path / "home")


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted runs stay queued."""
    monkeypatch.setattr("cpd.runs.supervisor.ensure", lambda *_: True)


MakeProject = Callable[..., Project]


@pytest.fixture
def project(home: Path, no_workers: None) -> MakeProject:
    """Make a project that is combed and measured; `scored` names criteria with made-up scores."""

    def make(record: CombRecord | None = None, scored: tuple[str, ...] = (), measured: bool = True, combed: bool = True) -> Project:
        made = create_project(home, "bench", "timm:chain", data="digits", settings={"num_classes": 10})
        folder = project_folder(home, made.id)
        record = record or synthetic.chain()
        if combed:
            record.save(folder)
        if measured:
            (folder / "baseline.json").write_text(json.dumps(MEASURED))
        for seed, criterion in enumerate(scored):
            synthetic.table(record, criterion, seed).save(folder / "scores" / f"{criterion}.json")
        return made

    return make


@pytest.fixture
def open_page(home: Path) -> Callable[..., AppTest]:
    """Draw a page of the app, as a link to it would."""

    def draw(page: str, **query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=30)
        for name, value in query.items():
            at.query_params[name] = value
        if page != "start":
            at.run()
            at.switch_page(str(ROOT / "pages" / f"{page}.py"))
            for name, value in query.items():
                at.query_params[name] = value
        return at.run()

    return draw
