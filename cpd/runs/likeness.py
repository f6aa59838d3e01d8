"""What a run like another would be: the same specification, with changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cpd.runs.spec import RunSpec

BEGIN = "begin"  # option of a run that goes on from a checkpoint of another: {"run": id, "step": step}


def like(spec: RunSpec, changes: Mapping[str, Any], seed: int | None = None, device: str = "") -> RunSpec:
    """A run from the start like one of this specification.

    Args:
        changes: options by name, None to leave one out; a `target` takes the place of a `plan`, and the reverse.
        seed, device: None and "" for the same.
    """
    options = changed(spec.options, changes)
    options.pop(BEGIN, None)
    return replace(spec, options=options, seed=spec.seed if seed is None else seed, device=device or spec.device)


def changed(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The options with these changes, as `like` takes them."""
    row = dict(options) | dict(changes)
    if changes.get("target"):
        row["plan"] = None
    elif changes.get("plan"):
        row["target"] = None
    return {name: value for name, value in row.items() if value is not None or name in ("plan", "target")}
