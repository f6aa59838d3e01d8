"""Whether a training can be at all, by its specification alone: no file is opened, no torch imported."""

from __future__ import annotations

from pathlib import Path

from cpd.distill.together import check_goal, check_losses
from cpd.errors import RunError
from cpd.measure.abilities import abilities
from cpd.runs.ray_launcher import FILE
from cpd.runs.spec import TRAINED, RunSpec
from cpd.runs.subject import train_settings


def check(root: Path, spec: RunSpec) -> None:
    """Refuse a training that cannot be, before it is queued in this workspace; other kinds of work pass.

    Raises:
        CpdError: one line that says what does not fit.
    """
    if spec.kind not in TRAINED:
        return
    check_training(spec)
    if not is_cluster(root):  # there another machine may have what this one lacks
        abilities(spec.device).check(train_settings(spec))


def check_training(spec: RunSpec) -> None:
    """Refuse settings, a goal and a teacher that do not go together.

    Raises:
        RunError, PlanError: one line that says what does not fit.
    """
    settings = train_settings(spec)
    if spec.kind != "distill":
        return
    check_goal(settings, spec.options.get("plan"), spec.options.get("target"))
    if spec.options.get("teacher"):
        check_losses(settings)
    elif spec.options.get("teacher_weights") or spec.options.get("teacher_settings"):
        raise RunError("weights or settings of a teacher are given and no teacher; name its architecture.")


def is_cluster(root: Path) -> bool:
    """Whether the workspace's runs start on the machines of a cluster."""
    return (root / FILE).exists()
