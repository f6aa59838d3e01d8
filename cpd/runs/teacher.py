"""The teacher that a run names, where it is not the dense model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpd.runs.spec import RunSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cpd.tasks.task import Task


def load_teacher(spec: RunSpec, inputs: tuple[Tensor, ...], task: Task) -> nn.Module | None:
    """The network that options `teacher` (SPEC), `teacher_weights` and `teacher_settings` name; None for the dense one.

    Raises:
        ModelError: no such model, or weights that do not fit it.
        DataError: it does not take the student's images, or does not tell the data's classes apart.
    """
    name = str(spec.options.get("teacher") or "")
    if not name:
        return None
    from cpd.distill.teacher import Teacher, check_teacher
    from cpd.models import load_model
    from cpd.tasks.classification.normalise import normalisation

    weights = spec.options.get("teacher_weights") or None
    network, _ = load_model(name, weights, dict(spec.options.get("teacher_settings") or {}))
    channels = int(inputs[0].shape[1])
    teacher = Teacher(network, normalisation(spec.model, channels), normalisation(name, channels)).eval()
    check_teacher(teacher, inputs, task, name)
    return teacher
