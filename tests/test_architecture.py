"""Arrows go one way, pages -> app -> cpd, and what the app imports costs no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "timm", "torchmetrics", "accelerate", "sklearn", "captum", "ray")
WITHOUT_TORCH = (
    "cpd", "cpd.access", "cpd.errors", "cpd.comb.group", "cpd.comb.record", "cpd.prune.plan", "cpd.prune.cost", "cpd.prune.solve", "cpd.prune.order",
    "cpd.prune.index", "cpd.prune.latency", "cpd.prune.predict", "cpd.prune.presets", "cpd.prune.trial", "cpd.prune.compare", "cpd.runs.store", "cpd.runs.spec", "cpd.runs.project", "cpd.runs.launcher", "cpd.runs.control", "cpd.runs.policy", "cpd.runs.memory", "cpd.runs.supervisor", "cpd.runs.crew", "cpd.runs.relay", "cpd.runs.ray_launcher",
    "cpd.runs.workspace", "cpd.measure", "cpd.measure.measurement", "cpd.measure.metrics", "cpd.measure.history", "cpd.measure.answers", "cpd.measure.machine", "cpd.models", "cpd.tasks",
    "cpd.importance", "cpd.importance.scores", "cpd.importance.registry", "cpd.importance.normalise", "cpd.importance.stability", "cpd.distill.settings", "cpd.distill.together", "cpd.measure.abilities", "cpd.runs.sound", "cpd.runs.command_line", "cpd.cli",
    "cpd.attribution", "cpd.attribution.record", "cpd.attribution.methods",
    "cpd.sensitivity", "cpd.sensitivity.table", "cpd.sensitivity.staircase", "cpd.sensitivity.settings", "cpd.sensitivity.ladder",
    "cpd.export.records", "cpd.runs.record", "cpd.uploads", "cpd.uploads.bring", "cpd.uploads.receive", "cpd.uploads.check", "cpd.uploads.unpack",
    "cpd.uploads.state_dict", "cpd.uploads.shapes", "cpd.models.header", "cpd.models.fit", "cpd.measure.map_history", "cpd.tasks.segmentation.meaning",
)  # fmt: skip


def python(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_core_does_not_know_the_shell() -> None:
    python(
        "import cpd._torchvision, cpd, importlib, pkgutil, sys\n"
        "for m in pkgutil.walk_packages(cpd.__path__, 'cpd.'):\n"
        "    m.name == 'cpd.__main__' or importlib.import_module(m.name)\n"
        "found = {'streamlit', 'app', 'pages'} & set(sys.modules)\n"
        "assert not found, found"
    )


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_the_app_imports_costs_no_torch(module: str) -> None:
    python(f"import {module}, sys\nfound = set({HEAVY}) & set(sys.modules)\nassert not found, found")


def test_the_app_itself_imports_no_torch() -> None:
    names = sorted(
        f"app.{'.'.join(p.relative_to(ROOT / 'app').with_suffix('').parts)}" for p in (ROOT / "app").rglob("*.py")
    )
    modules = [n.removesuffix(".__init__") for n in names if not n.endswith(".main")]  # main runs when it is imported
    assert modules
    python(
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        f"found = set({HEAVY}) & set(sys.modules)\nassert not found, found"
    )


@pytest.mark.parametrize("folder", ["pages", "app"])
def test_screens_name_no_torch(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]) and len(words) > 1:
                assert words[1].partition(".")[0] not in HEAVY, f"{path}: {line}"


def test_public_names_are_what_they_say() -> None:
    """Whatever was imported before, `cpd.score` is the function and `cpd.comb` can be called."""
    python(
        "import cpd.importance.scoring, cpd.comb.comb, cpd.prune.surgery, cpd\n"
        "from cpd import *\n"
        "for name in cpd.__all__: assert callable(getattr(cpd, name)), name"
    )
