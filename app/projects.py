"""Projects as the Start screen makes them: from the demos, or from what a user typed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import engine, state
from cpd.errors import ModelError
from cpd.runs.project import Project, create_project, list_projects

if TYPE_CHECKING:
    from cpd.tasks.demos import Demo


def settings_from(text: str) -> dict[str, Any]:
    """Read "num_classes=10 channels=[8, 16]" as {"num_classes": 10, "channels": [8, 16]}.

    Values are JSON where they can be, else text; words may be separated by commas.

    Raises:
        ModelError: a word without a name or "=".
    """
    settings: dict[str, Any] = {}
    for word in re.findall(r"[^\s=]+=\[[^\]]*\]|[^\s,][^\s]*", text):
        name, equals, value = word.rstrip(",").partition("=")
        if not equals or not name.isidentifier():
            raise ModelError(f"settings: {word!r} is not NAME=VALUE; write them as num_classes=10 in_chans=1.")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = {"True": True, "False": False, "None": None}.get(value, value)
    return settings


def settings_text(settings: Mapping[str, Any]) -> str:
    """The other way round, for a form that is filled in again."""
    return " ".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings.items())


def open_demo(demo: Demo) -> Project:
    """The demo's project: the one there is, else a new one with its first jobs under way."""
    root = state.workspace()
    weights = str(demo.weights)
    for project in list_projects(root):
        if (project.name, project.model, project.weights) == (demo.title, demo.model, weights):
            return project
    return new_project(demo.title, demo.model, weights, dict(demo.settings), demo.data, "cpu")


def new_project(name: str, model: str, weights: str, settings: Mapping[str, Any], data: str, device: str,
                bring: Callable[[Path], Mapping[str, str]] | None = None) -> Project:  # fmt: skip
    """Create a project, with the files that `bring` puts into it, and start combing and measuring it. Raises CpdError."""
    project = create_project(state.workspace(), name or model, model, weights, dict(settings), data, device, bring)
    engine.prepare(project)
    return project
