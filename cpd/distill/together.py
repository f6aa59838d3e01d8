"""Whether settings, goal, teacher and machine go together: asked before a run is queued, and again where it computes.

No torch is needed for it: a screen asks, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpd.distill.losses import LOSSES
from cpd.distill.settings import TrainSettings
from cpd.errors import DeviceError, PlanError, RunError
from cpd.prune.solve import RUN_TARGETS, check_target

NO_PLAN = "schedule reference decides by itself what goes; give a target such as macs=0.25, not a plan."


def check_goal(settings: TrainSettings, plan: Any, target: Mapping[str, float] | None) -> None:
    """Refuse a goal that is none, two, or not for this schedule.

    Args:
        plan: whatever holds the plan; nothing is asked but whether there is one.
    Raises:
        RunError: neither plan nor target, or both. PlanError: a target that cannot be, or a schedule that takes no plan.
    """
    if bool(plan) == bool(target):
        raise RunError('pruning needs either a plan or a target such as {"macs": 0.25}, and not both.')
    if target:
        check_target(target, RUN_TARGETS)
    elif settings.schedule == "reference":
        raise PlanError(NO_PLAN)


def check_losses(settings: TrainSettings) -> None:
    """Refuse losses that another network than the dense one cannot teach.

    Raises:
        PlanError: naming them.
    """
    compared = [name for name in settings.weights if LOSSES[name].needs_features]
    if compared:
        fit = ", ".join(name for name, entry in LOSSES.items() if not entry.needs_features)
        raise PlanError(
            f"{' and '.join(compared)}: losses that compare features need the dense model as teacher, "
            f"another architecture has other features; with one use {fit}."
        )


def check_device(settings: TrainSettings, kind: str, index: int = 0, gpus: int | None = None) -> None:
    """Refuse what this kind of device cannot do.

    Args:
        kind: "cpu", "cuda" or "mps".
        index: which GPU was named, 0 where none was.
        gpus: how many there are, None where that is not known.
    Raises:
        DeviceError: naming what to choose in its place.
    """
    if settings.precision == "fp16" and kind == "cpu":
        raise DeviceError("precision fp16 needs a GPU; use bf16 or no on the CPU.")
    if kind == "cuda" and settings.processes > 1:
        if index:
            raise DeviceError(f"device {settings.device!r}: several processes take one GPU each; use cuda or auto.")
        if gpus is not None and gpus < settings.processes:
            raise DeviceError(
                f"processes={settings.processes} take one GPU each, and this machine has {gpus}; use fewer."
            )
