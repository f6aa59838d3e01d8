"""How to train, as names and numbers, for the dense baseline and for pruning while distilling alike."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any

from cpd.distill.losses import LOSSES
from cpd.distill.weights import Weight
from cpd.errors import RunError
from cpd.importance.registry import CRITERIA
from cpd.prune.plan import Constraints

SCHEDULES = ("interval", "few-step", "one-shot", "reference")
PRECISIONS = ("no", "bf16", "fp16")

_EVALUATIONS = 20  # over a run, where no interval is given
_EVENTS = {"few-step": 4, "one-shot": 1}


def _default_losses() -> dict[str, float | Mapping[str, float]]:
    return {"task": 0.5, "soft_logits": 1.0}


@dataclass(frozen=True)
class TrainSettings:
    """Every choice of a training run. A step is an optimizer step.

    Attributes:
        epochs: passes over the training images; ignored where `steps` is given.
        steps: steps in all, 0 for `epochs`.
        batch_size: images per step, over all processes.
        accumulate: parts that a step's batch is worked through in, to save memory.
        lr: peak learning rate.
        weight_decay: of all weights but biases and norms.
        warmup: share of the steps over which the rate rises from zero.
        least_lr: the rate at the end, as a share of `lr`.
        clip: largest gradient norm, 0 for no limit.
        optimizer: as timm knows it, e.g. adamw, sgd, lamb.
        scheduler: as timm knows it, e.g. cosine, linear, step; none that waits for a metric.
        average: decay of the weights' moving average, 0 for none; with one, the average is what is evaluated and
            handed over.
        augment: whether training images are changed at random, as the task does it.
        mixup: alpha of mixup (Zhang et al. 2018) between pairs of training images and their labels, 0 for none; only where
            augment is on, and for one label an image.
        smoothing: share of every label that is spread over all classes; for one label an image.
        losses: weight of every loss by name, or {"from": 1.0, "to": 0.2} for one that moves over the run, or between the
            shares "begin" and "end" of it. Without a teacher only "task" counts, with weight 1.
        temperature: of the soft logits.
        cache_mb: megabytes that the teacher's answers to the training images may take: where these never change (no
            augment) and are seen twice or more, it is asked once for each; 0 to ask in every step.
        schedule: "interval" cuts a chunk every `interval` steps, "few-step" cuts four times, "one-shot" once;
            "reference" is a baseline, the released code of the paper: every `interval` steps the group whose chunk has the
            least sum of scores loses it; with criterion reference its score, too. Without an interval the target is met
            on the path of "interval", by those chunks.
        interval: steps between two cuts, 0 for as many cuts as `chunks` spread over the cut phase.
        cut_share: share of the steps in which the network shrinks; the rest is distillation.
        chunks: a group goes in about this many chunks from full to empty.
        take_over: whether, at every cut, layers that read removed channels are given weights that make up for them with
            those that stay, from a batch of images (least squares, see `cpd.prune.takeover`).
        criterion: what ranks units: before the first cut for a plan, accumulated on the student for a target.
        score_batches: batches behind the ranking of a plan's cuts.
        multiple: widths are multiples of this where a target is pruned to; a plan brings its own.
        minimum: fewest units that a group keeps on the way to a target.
        max_ratio: largest pruning ratio of any group on the way to a target, 0..1.
        corridor: largest loss of accuracy (or mIoU) against the teacher, 0..1, that a cut may leave behind by the next
            chance to cut: more, and it is undone and other groups are tried; 0 for no limit.
        corridor_images: held-out images, always the same, that decide about it.
        evaluate_every: steps between evaluations, 0 for twenty over the run.
        checkpoint_s: seconds between checkpoints.
        seed: of every random choice.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto".
        precision: "no" for float32, or mixed "bf16", "fp16".
        processes: how many share every batch on one machine, each with a GPU of its own (or its share of the cores): data
            parallel, by torchrun.
        channels_last: lay images and weights out channel by channel at every pixel, which convolutions are often faster
            with.
        compile: train with torch.compile, student and teacher; the student is compiled anew after every cut, so it pays
            where cuts are few and steps are many, most of all on a GPU.
    """

    epochs: float = 15.0
    steps: int = 0
    batch_size: int = 64
    accumulate: int = 1
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    least_lr: float = 0.01
    clip: float = 0.0
    optimizer: str = "adamw"
    scheduler: str = "cosine"
    average: float = 0.0
    augment: bool = True
    mixup: float = 0.0
    smoothing: float = 0.0
    losses: Mapping[str, float | Mapping[str, float]] = field(default_factory=_default_losses)
    temperature: float = 4.0
    cache_mb: float = 512.0
    schedule: str = "interval"
    interval: int = 0
    cut_share: float = 0.5
    chunks: int = 16
    take_over: bool = True
    criterion: str = "fisher"
    score_batches: int = 8
    multiple: int = 1
    minimum: int = 1
    max_ratio: float = 1.0
    corridor: float = 0.0
    corridor_images: int = 512
    evaluate_every: int = 0
    checkpoint_s: float = 30.0
    seed: int = 0
    device: str = "cpu"
    precision: str = "no"
    processes: int = 1
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        for name, least in _POSITIVE.items():
            value = getattr(self, name)
            if not _is_number(value) or value < least:
                raise RunError(f"setting {name}={value!r}: give a number of {least:g} or more.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not _is_number(value) or not low <= value <= high:
                raise RunError(f"setting {name}={value!r} is outside {low:g}..{high:g}.")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise RunError(f"setting {name}={getattr(self, name)!r}: choose one of {', '.join(allowed)}.")
        self.check_parts(self.processes)
        if self.compile and self.processes > 1:
            raise RunError("compile works with one process; turn it off, or set processes to 1.")
        if self.mixup and self.augment and self.batch_size // self.processes % 2:
            each = f" of each of {self.processes} processes" if self.processes > 1 else ""
            raise RunError(
                f"mixup pairs images, and the share{each} of batch_size {self.batch_size} is odd; make it even."
            )
        unknown = [name for name in self.losses if name not in LOSSES]
        if unknown:
            raise RunError(f"no loss is called {unknown[0]!r}; there are {', '.join(LOSSES)}.")
        if not self.weights:
            raise RunError(f"losses {dict(self.losses)}: weights are 0 or more, and one is above 0.")
        if self.compile and any(LOSSES[name].needs_features for name in self.weights):
            raise RunError("compile does not work with losses that compare features; turn it off.")

    def check_parts(self, processes: int) -> None:
        """Raises RunError where a batch has no equal parts for so many processes."""
        if self.batch_size % (processes * self.accumulate):
            each = "in" if processes == 1 else f"by {processes} processes in"
            raise RunError(
                f"batch_size {self.batch_size} cannot be worked through {each} {self.accumulate} equal parts; change it."
            )

    @property
    def weights(self) -> dict[str, Weight]:
        """Of the losses that count at any time."""
        found = {name: Weight.of(name, value) for name, value in self.losses.items()}
        return {name: weight for name, weight in found.items() if weight.counts}

    @property
    def constraints(self) -> Constraints:
        return Constraints(self.multiple, self.minimum, self.max_ratio)

    def total_steps(self, steps_per_epoch: int) -> int:
        return self.steps or max(1, round(self.epochs * steps_per_epoch))

    def evaluation_interval(self, total: int) -> int:
        return self.evaluate_every or max(1, math.ceil(total / _EVALUATIONS))

    def cut_steps(self, total: int) -> tuple[int, ...]:
        """The steps after which the network is cut, ascending; the last one ends the cut phase.

        Before the first of them a target's criterion has seen that many batches.
        """
        phase = max(1, min(total - 1, round(total * self.cut_share)))
        if self.schedule in ("interval", "reference"):
            events = max(1, phase // self.interval) if self.interval else self.chunks * 2
        else:
            events = _EVENTS[self.schedule]
        events = min(events, phase)
        if self.schedule == "one-shot":  # as early as the scores allow, so that all the rest is distillation
            return (min(phase, self.score_batches),)
        return tuple(sorted({round(phase * (i + 1) / events) for i in range(events)}))

    def extra_chances(self, planned: Sequence[int], total: int) -> list[int]:
        """Steps after the planned cuts at which the last cut is judged and, where any were undone, cutting goes on: at
        the pace of the planned ones, until a quarter of what follows them is left to distil."""
        last = planned[-1]
        gap = last - planned[-2] if len(planned) > 1 else max(self.score_batches, (total - last) // 8)
        limit = last + 3 * (total - last) // 4
        return list(range(last + gap, limit + 1, gap)) or [min(total, last + gap)]

    def to_dict(self) -> dict[str, Any]:
        losses = {name: dict(value) if isinstance(value, Mapping) else value for name, value in self.losses.items()}
        return asdict(self) | {"losses": losses}

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> TrainSettings:
        """Settings from JSON or the command line; what is not named keeps its default.

        Raises:
            RunError: an unknown name or an impossible value.
        """
        names = [f.name for f in fields(TrainSettings)]
        unknown = [name for name in row if name not in names]
        if unknown:
            raise RunError(f"no training setting is called {unknown[0]!r}; there are {', '.join(names)}.")
        return TrainSettings(**row)


_POSITIVE: dict[str, float] = {
    "steps": 0, "batch_size": 1, "accumulate": 1, "lr": 0, "weight_decay": 0, "clip": 0, "interval": 0, "chunks": 1,
    "score_batches": 1, "corridor_images": 1, "multiple": 1, "minimum": 1, "evaluate_every": 0, "checkpoint_s": 0, "seed": 0, "temperature": 1e-3, "processes": 1,
    "epochs": 0, "cache_mb": 0, "mixup": 0,
}  # fmt: skip
_RANGES: dict[str, tuple[float, float]] = {
    "warmup": (0, 1), "least_lr": (0, 1), "average": (0, 0.99999), "cut_share": (0, 1), "max_ratio": (0, 1),
    "corridor": (0, 1), "smoothing": (0, 0.99),
}  # fmt: skip
_CHOICES: dict[str, tuple[str, ...]] = {
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "criterion": tuple(CRITERIA),
}


@cache
def described() -> Mapping[str, str]:
    """Every setting in words, as the docstring of TrainSettings has them; "lr, weight_decay: ..." describes both."""
    section = (TrainSettings.__doc__ or "").partition("Attributes:")[2]
    found: dict[str, str] = {}
    for entry in re.split(r"\n {8}(?=\w)", section):
        names, colon, about = entry.strip().partition(": ")
        if colon:
            found.update(dict.fromkeys(re.split(r",\s*", names), " ".join(about.split()).rstrip(".")))
    return found


def limits(name: str) -> tuple[float, float]:
    """Least and largest value of a setting that is a number."""
    return _RANGES[name] if name in _RANGES else (_POSITIVE[name], math.inf)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
