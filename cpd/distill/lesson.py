"""One optimizer step: what the student is shown, what it loses by, and how it learns from that."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpd.distill.cache import Cache
from cpd.distill.engine import Engine
from cpd.distill.features import Taps
from cpd.distill.losses import LOSSES
from cpd.distill.losses.term import Pair, Seen
from cpd.distill.meter import Meter
from cpd.distill.mixed import Mixed
from cpd.distill.optimizer import set_rate
from cpd.distill.settings import TrainSettings
from cpd.distill.student import Student
from cpd.distill.teacher import fitted_to
from cpd.distill.weights import Weight
from cpd.importance.accumulate import Accumulator
from cpd.importance.registry import CRITERIA
from cpd.tasks.task import Batch, Task


class Lesson:
    """A batch in parts, every loss by its weight, and a step of the optimizer.

    Args:
        total: steps of the run, over which weights may move.
        teacher: frozen, on the engine's device; None where only the task's loss counts.
        taps: what compares features; None where no loss does.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainSettings,
        engine: Engine,
        teacher: nn.Module | None,
        taps: Taps | None,
        total: int,
    ) -> None:
        self.total = total
        self.task, self.settings, self.engine, self.teacher, self.taps = task, settings, engine, teacher, taps
        self.mixed = Mixed(settings, len(task.classes)) if Mixed.wanted(settings) else None
        self.terms = loss_terms(settings, teacher is not None)
        self.cache: Cache | None = None
        self.ask = engine.fast(teacher) if teacher is not None else None
        self.asks_teacher = teacher is not None and any(LOSSES[name].needs_teacher for name in self.terms)

    def learn(
        self,
        student: Student,
        batch: Batch,
        step: int,
        scheduler: object,
        totals: Accumulator | None,
        meter: Meter,
        numbers: Tensor | None = None,
    ) -> None:
        """Optimizer step number `step`, counted from 0; scores are accumulated in `totals` where it is given.

        Args:
            numbers: of the batch's images, where the cache knows the teacher's answers to them.
        """
        rate = set_rate(student.optimizer, scheduler, step)
        images, targets = self.engine.placed(batch[0]), batch[1].to(self.engine.device, non_blocking=True)
        if self.mixed is not None:
            images, targets = self.mixed(images, targets)
        parts = self.settings.accumulate
        weights = {name: weight.at(step, self.total) for name, weight in self.terms.items()}
        known = [None] * parts if self.cache is None or numbers is None else self.cache(numbers).chunk(parts)
        for x, y, taught in zip(images.chunk(parts), targets.chunk(parts), known, strict=True):
            losses = self._loss(x, y, taught)
            loss = sum((w * losses[name] for name, w in weights.items()), start=x.new_zeros(()))
            self.engine.backward(loss * (len(y) / len(targets)))
            for name, value in losses.items():
                meter.add(f"train/loss/{name}", value.detach() / parts)
            meter.add("train/loss", loss.detach() / parts)
        self.engine.share_gradients()
        if totals is not None and CRITERIA[self.settings.criterion].needs_data and self.engine.sound():
            totals.add(scale=self.engine.gradient_scale())
        self.engine.step(self.settings.clip)
        if student.average is not None:
            student.average.update(student.module)
        meter.step(len(targets) * self.engine.world, rate)

    def _loss(self, x: Tensor, y: Tensor, teacher: Tensor | None) -> dict[str, Tensor]:
        pairs: tuple[Pair, ...] = ()
        with self.engine.autocast():
            if self.taps is not None:
                outputs, teacher, pairs = self.taps.see(x)
            else:
                outputs = self.engine.forward(x)
                if self.asks_teacher and teacher is None:
                    assert self.ask is not None
                    with torch.no_grad():
                        teacher = self.ask(x)
        taught = None if teacher is None else fitted_to(teacher.float(), outputs)
        seen = Seen(outputs.float(), taught, y, self.task.loss, self.settings.temperature, pairs)
        return {name: LOSSES[name].load()(seen) for name in self.terms}


def loss_terms(settings: TrainSettings, taught: bool) -> dict[str, Weight]:
    """The weight of every loss that counts; without a teacher that is the task's alone."""
    return settings.weights if taught else {"task": Weight(1.0, 1.0)}
