"""What a run finds out about its student on the held-out images, and what it tells of that."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from cpd.distill.engine import Engine
from cpd.distill.recorder import Recorder
from cpd.distill.settings import TrainSettings
from cpd.distill.student import Student
from cpd.distill.watch import Watch
from cpd.tasks.task import Task

_ANSWERS = 400  # evaluations whose answers are kept


class Evaluations:
    """Metrics of the run: of the student now and then, of the teacher once.

    Args:
        total: steps of the run.
        dense: gives the dense network on the run's device, which the student's answers are compared with; None where
            nothing is pruned.

    Attributes:
        last: the student's last metric, NaN before the first.
        best, best_step: the highest one at the final width.
        teacher: the teacher's, NaN where there is none.
    """

    def __init__(
        self,
        watch: Watch,
        task: Task,
        settings: TrainSettings,
        engine: Engine,
        recorder: Recorder,
        total: int,
        dense: Callable[[], nn.Module] | None,
    ) -> None:
        self.watch, self.task, self.engine, self.recorder = watch, task, engine, recorder
        self.total, self.every = total, settings.evaluation_interval(total)
        self._dense = dense
        self.best, self.best_step, self.last, self.teacher = -1.0, 0, math.nan, math.nan
        self._taught = False

    def first(self, student: Student, teacher: nn.Module | None, is_dense: bool) -> dict[str, float]:
        """Metrics before the first step; `is_dense`: whether the teacher is the dense network."""
        values = self.watch.size(student.keep) | self._latency(student)
        if teacher is None:
            return values
        self.teacher, self._taught = self.watch.metric(teacher), True
        if is_dense:
            self.watch.refer()
        return values | {f"teacher/{self.task.metric_name}": self.teacher}

    def evaluate(self, student: Student, step: int, final: bool) -> bool:
        """Evaluate and tell, where it is time; `final`: whether the student has its final width."""
        last = step == self.total
        if step % self.every and not last:
            return False
        name = self.task.metric_name
        self.last = self.watch.metric(student.handed_over)
        if self.last > self.best and final:
            self.best, self.best_step = self.last, step
        values = {f"val/{name}": self.last} | self.watch.size(student.keep) | self._latency(student, always=last)
        if self._taught:
            values |= {f"teacher/{name}": self.teacher}
        text = f"{name} {self.last:.2%} on {self.task.val_images} held-out images"
        self.recorder.event(step, "eval", text, metric=self.last, name=name, **self._answers(step))
        self.recorder.log(step, values)
        return True

    def verdict(self) -> str:
        """How it ended, in a sentence."""
        name = self.task.metric_name
        text = f"{name} {self.last:.2%} at the end, best {self.best:.2%} at step {self.best_step}"
        return text + (f", teacher {self.teacher:.2%}" if self._taught else "")

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "last": self.last, "teacher": self.teacher}

    def load(self, state: Mapping[str, Any]) -> None:
        """What `state` gave, among other things."""
        self.best, self.best_step, self.last = state["best"], int(state["best_step"]), state["last"]

    def load_teacher(self, state: Mapping[str, Any]) -> None:
        """The teacher's metric alone, where the rest is another run's."""
        self.teacher = state["teacher"]
        self._taught = not math.isnan(self.teacher)

    def _answers(self, step: int) -> Mapping[str, Any]:
        """What the student answers, for the event of an evaluation: at the last one, and at so many on the way at the most."""
        apart = math.ceil(math.ceil(self.total / self.every) / _ANSWERS)
        wanted = step == self.total or step // self.every % apart == 0
        return self.watch.answers(self._dense) if self._dense is not None and wanted else {}

    def _latency(self, student: Student, always: bool = False) -> dict[str, float]:
        """Nothing is decided by it, so one process measures it while the others wait."""
        return {} if self.engine.rank else self.watch.latency(student.handed_over, student.keep, always)
