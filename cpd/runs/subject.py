"""What a specification names, loaded: model, comb, data and settings. For jobs; imports torch when it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpd.comb.record import CombRecord
from cpd.errors import CpdError, DataError
from cpd.files import make_folder
from cpd.runs.context import RunContext
from cpd.runs.spec import RunSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cpd.comb.comb import Comb
    from cpd.distill.settings import TrainSettings
    from cpd.tasks.task import Task

BESIDE_SETTINGS = (
    "plan",
    "target",
    "batches",
    "certify",
    "timeout_s",
    "pretrained",
    "begin",
    "baseline",
    "teacher",
    "teacher_weights",
    "teacher_settings",
)  # options that say what, not how


def load_subject(spec: RunSpec, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The dense model and example inputs; `seed` is of initial weights, where there are no others."""
    from cpd.models import load_model

    pretrained = bool(spec.options.get("pretrained", False))
    return load_model(spec.model, spec.weights or None, dict(spec.settings), pretrained, seed=seed)


def load_data(context: RunContext, inputs: tuple[Tensor, ...], progress: Callable[[int, int], None]) -> Task:
    """The data set, its images made to fit the model."""
    from cpd.tasks import load_task

    if not context.spec.data:
        raise DataError("this run needs data; name a data set, e.g. digits.")
    return load_task(context.spec.data, inputs, context.spec.model, progress)


def load_comb(context: RunContext, model: nn.Module, inputs: tuple[Tensor, ...]) -> Comb:
    """The comb of the model, with what the project's certificate says of its groups; certified now where there is none."""
    from cpd.comb.certify import certify
    from cpd.comb.comb import comb

    found = comb(model, inputs, float(context.spec.options.get("timeout_s", 120.0)))
    saved = saved_record(context.folder)
    if saved is not None and saved.model == found.model and _certified(saved):
        return found.with_groups(saved.groups)
    if not context.spec.options.get("certify", True):
        return found
    context.check_stop()
    return certify(model, inputs, found)


def saved_record(folder: Path) -> CombRecord | None:
    """The comb that an earlier run left in `folder`, None where there is none that can be read."""
    if not (folder / "comb.json").exists():
        return None
    try:
        return CombRecord.load(folder)
    except CpdError:
        return None


def save_record(context: RunContext, record: CombRecord) -> None:
    """comb.npz and comb.json in the context's folder; each appears whole, and readers look for the second."""
    whole = make_folder(context.run_dir / "comb")
    record.save(whole)
    for name in ("comb.npz", "comb.json"):
        (whole / name).replace(context.folder / name)
    whole.rmdir()


def train_settings(spec: RunSpec) -> TrainSettings:
    """How to train, from the options; seed and device are the run's own."""
    from cpd.distill.settings import TrainSettings

    how: dict[str, Any] = {name: value for name, value in spec.options.items() if name not in BESIDE_SETTINGS}
    return TrainSettings.from_dict(how | {"seed": spec.seed, "device": spec.device})


def begin_step(spec: RunSpec) -> int:
    """Step of the other run's checkpoint that this run goes on from, 0 for none."""
    return int((spec.options.get("begin") or {}).get("step", 0))


def _certified(record: CombRecord) -> bool:
    return all(group.certified for group in record.groups if group.prunable)
