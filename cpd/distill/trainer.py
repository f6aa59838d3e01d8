"""The one loop: a dense model is trained, or pruned while it is distilled from what it was."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cpd.distill.engine import Engine
from cpd.distill.features import Taps
from cpd.distill.losses import LOSSES
from cpd.distill.losses.term import Seen
from cpd.distill.meter import Meter
from cpd.distill.optimizer import make_scheduler, set_rate
from cpd.distill.recorder import Recorder, Silent
from cpd.distill.schedule import Schedule, changes
from cpd.distill.settings import TrainSettings
from cpd.distill.state import fill_student, random_state, restore_random, seed_everything, student_state
from cpd.distill.student import Student
from cpd.distill.watch import Watch
from cpd.errors import PlanError, RunError
from cpd.importance.accumulate import Accumulator
from cpd.importance.registry import CRITERIA
from cpd.importance.scoring import score
from cpd.prune.plan import Plan, Scores
from cpd.tasks.task import Batch, Task

if TYPE_CHECKING:
    from cpd.comb.comb import Comb

_LOGS = 400  # rows of training metrics in a run


@dataclass(frozen=True)
class Trained:
    """How a run ended.

    Attributes:
        module: in eval mode, on the run's device; its metric is `last`.
        plan: what it keeps, with a shortfall where a target was not met; None for a dense training.
        finished: False where it was told to stop; a later call with the same recorder goes on.
        last: metric of `module` on the held-out images, 0..1; NaN where it was stopped before it was evaluated.
        best: highest metric of any evaluation at the final width, and its step. For the record: choosing a module by
            it would be choosing on the held-out images, so `module` is always the last one.
        teacher: metric of the teacher, None where there was none.
        seconds: wall time of training, over all attempts.
    """

    module: nn.Module
    plan: Plan | None
    finished: bool
    step: int
    total: int
    last: float
    best: float
    best_step: int
    teacher: float | None
    seconds: float


def train(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    task: Task,
    settings: TrainSettings = TrainSettings(),
    recorder: Recorder | None = None,
    comb: Comb | None = None,
    plan: Plan | None = None,
    target: Mapping[str, float] | None = None,
    teacher: nn.Module | None = None,
) -> Trained:
    """Train `model`, or prune it while distilling where a plan or a target is given; `model` is left as it is.

    Args:
        inputs: example inputs, for latency.
        comb: of `model`; needed for pruning.
        plan: units to keep at the end.
        target: e.g. {"macs": 0.25}; what goes is decided on the way, by `settings.criterion` on the student.
        teacher: what to distil from; the dense `model` itself where it is pruned and no other is named. Without plan
            and target, `model` is distilled from it as it is.
    Raises:
        PlanError: the plan does not fit the comb, or the target cannot be.
        RunError, DeviceError: the settings ask for what is not there.
    """
    return _Run(model, inputs, task, settings, recorder or Silent(), comb, plan, target, teacher).run()


class _Run:
    def __init__(
        self,
        model: nn.Module,
        inputs: tuple[Tensor, ...],
        task: Task,
        settings: TrainSettings,
        recorder: Recorder,
        comb: Comb | None,
        plan: Plan | None,
        target: Mapping[str, float] | None,
        teacher: nn.Module | None,
    ) -> None:
        self.task, self.settings, self.recorder, self.comb = task, settings, recorder, comb
        self.per_epoch = task.steps(settings.batch_size)
        self.total = settings.total_steps(self.per_epoch)
        self.engine = Engine(settings)
        self.schedule: Schedule | None = None
        self.cut_steps: tuple[int, ...] = ()
        if plan is not None or target is not None:
            if comb is None:
                raise PlanError("pruning needs the comb of the model; comb it first.")
            self.cut_steps = settings.cut_steps(self.total)
            self.schedule = Schedule(
                comb.record,
                plan,
                target,
                len(self.cut_steps),
                settings.chunks,
                settings.constraints,
                settings.criterion,
            )
        record = comb.record if comb is not None and self.schedule is not None else None
        self.watch = Watch(task, inputs, self.engine.device, record)
        self.model = model
        teacher = teacher if teacher is not None else model if self.schedule else None
        self.teacher = None
        if teacher is not None:
            self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False).to(self.engine.device)
        self.terms = self._losses()
        self.taps: Taps | None = None
        if any(LOSSES[name].needs_features for name in self.terms):
            if comb is None or self.schedule is None or teacher is not model:
                raise PlanError(
                    "the features loss compares a pruned network with its own dense one; set its weight to 0 here."
                )
            self.taps = Taps(comb, model, self.engine.device)
        self.scores: dict[str, list[float]] = {}  # ranking of a plan's cuts
        self.totals: Accumulator | None = None  # running scores towards a target
        self.step = 0
        self.best, self.best_step, self.last, self.teacher_metric = -1.0, 0, float("nan"), float("nan")
        self.seconds = 0.0
        self.meter = Meter()

    def run(self) -> Trained:
        state = self.recorder.load()
        self._begin(state)
        self._saved_at = start = time.perf_counter()
        before = self.seconds
        finished = True
        batches = self._batches()
        while self.step < self.total:
            if self.engine.agree(self.recorder.should_stop()):
                finished = False
                break
            self._learn(next(batches))
            self.step += 1
            self.seconds = before + time.perf_counter() - start
            if self.step in self.cut_steps:
                self._cut()
            self._report()
            if time.perf_counter() - self._saved_at >= self.settings.checkpoint_s and self.step < self.total:
                self._save()
        self.seconds = before + time.perf_counter() - start
        self._save()
        if finished:
            self.recorder.event(
                self.step, "finish", self._verdict(), last=self.last, best=self.best, best_step=self.best_step
            )
        else:
            self.recorder.event(
                self.step, "stop", f"stopped after step {self.step} of {self.total}; resume goes on from here"
            )
        plan = self.schedule.finished(self.student.keep) if self.schedule else None
        return Trained(
            module=self.student.handed_over.eval(),
            plan=plan,
            finished=finished,
            step=self.step,
            total=self.total,
            last=self.last,
            best=self.best,
            best_step=self.best_step,
            teacher=self.teacher_metric if self.teacher is not None else None,
            seconds=self.seconds,
        )

    # -- the beginning

    def _begin(self, state: Any | None) -> None:
        seed_everything(self.settings.seed)
        if self.schedule:
            assert self.comb is not None
            keep = self.schedule.whole()
            if state:
                keep = {name: tuple(units) for name, units in state["student"]["keep"].items()}
            self.student = Student.whole(self.model, self.comb, self.settings, keep, self.engine.device)
        else:
            self.student = Student(copy.deepcopy(self.model).to(self.engine.device), self.settings)
        self._adopt()
        if state:
            self._restore(state)
            return
        values = self.watch.size(self.student.keep) | self.watch.latency(self.student.handed_over, self.student.keep)
        if self.teacher is not None:
            self.teacher_metric = self.watch.metric(self.teacher)
            values |= {f"teacher/{self.task.metric_name}": self.teacher_metric}
            self._rank()
        self.recorder.log(0, values)
        self.recorder.progress(0, self.total)

    def _adopt(self) -> None:
        """Everything that points at the student's parameters, made anew for the student as it is now."""
        self.student.module.train()
        self.engine.adopt(self.student)
        self.scheduler = make_scheduler(self.student.optimizer, self.settings, self.total)
        if self.taps is not None:
            self.taps.follow(self.student.module, self.student.keep)
        self.totals = None
        if self._accumulates():
            assert self.comb is not None
            seed = self.settings.seed
            self.totals = Accumulator(
                self.comb.record, self.student.module, [self.settings.criterion], self.student.keep, seed
            )

    def _accumulates(self) -> bool:
        left = self.cut_steps and self.step < self.cut_steps[-1]
        return bool(left) and self.schedule is not None and self.schedule.plan is None

    def _rank(self) -> None:
        """Score the dense model once, to order the cuts of a plan."""
        if self.schedule is None or self.schedule.plan is None:
            return
        assert self.comb is not None
        data = self.task.train_batches(self.settings.batch_size, self.settings.seed, augment=False)
        names, count = [self.settings.criterion], self.settings.score_batches
        table = score(self.model, self.comb.record, data, names, count, self.settings.seed, loss=self.task.loss)
        self.scores = {name: values.tolist() for name, values in table[self.settings.criterion].groups.items()}

    def _losses(self) -> dict[str, float]:
        if self.teacher is None:
            return {"task": 1.0}
        return {name: weight for name, weight in self.settings.losses.items() if weight > 0}

    def _batches(self) -> Iterator[Batch]:
        """Parts of batches, for ever, from the step the run is at; a function of the seed and the step alone."""
        s = self.settings
        while True:
            epoch, start = divmod(self.step, self.per_epoch)
            yield from self.task.train_batches(
                s.batch_size, s.seed, epoch, start, s.augment, self.engine.rank, self.engine.world
            )

    # -- a step

    def _learn(self, batch: Batch) -> None:
        rate = set_rate(self.student.optimizer, self.scheduler, self.step)
        images, targets = (t.to(self.engine.device, non_blocking=True) for t in batch)
        parts = self.settings.accumulate
        for number, (x, y) in enumerate(zip(images.chunk(parts), targets.chunk(parts), strict=True)):
            with self.engine.part(last=number == parts - 1):
                losses = self._loss(x, y)
                loss = sum((w * losses[name] for name, w in self.terms.items()), start=x.new_zeros(()))
                self.engine.backward(loss * (len(y) / len(targets)))
            for name, value in losses.items():
                self.meter.add(f"train/loss/{name}", value.detach() / parts)
            self.meter.add("train/loss", loss.detach() / parts)
        if self.totals is not None and CRITERIA[self.settings.criterion].needs_data:
            self.totals.add(scale=self.engine.gradient_scale())
        self.engine.step(self.settings.clip)
        if self.student.average is not None:
            self.student.average.update(self.student.module)
        self.meter.step(len(targets) * self.engine.world, rate)

    def _loss(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        teacher: Tensor | None = None
        pairs: tuple[tuple[Tensor, Tensor], ...] = ()
        with self.engine.autocast():
            if self.taps is not None:
                outputs, teacher, pairs = self.taps.see(x)
            else:
                outputs = self.engine.module(x)
                if self.teacher is not None and any(LOSSES[name].needs_teacher for name in self.terms):
                    with torch.no_grad():
                        teacher = self.teacher(x)
        seen = Seen(
            outputs.float(),
            None if teacher is None else teacher.float(),
            y,
            self.task.loss,
            self.settings.temperature,
            pairs,
        )
        return {name: LOSSES[name].load()(seen) for name in self.terms}

    # -- a cut

    def _cut(self) -> None:
        assert self.schedule is not None
        event = self.cut_steps.index(self.step) + 1
        before = self.student.keep
        after = self.schedule.after(event, before, self._current_scores())
        share = self.schedule.model.price(after).share_of(self.schedule.model.dense)
        for change in changes(before, after):
            text = f"{change.group} loses {change.removed} units and keeps {change.width}"
            self.recorder.event(
                self.step,
                "cut",
                text,
                group=change.group,
                removed=change.removed,
                width=change.width,
                macs=share["macs"],
            )
        if after != before:
            self.student.cut(after)
        self._adopt()
        self.recorder.log(self.step, self.watch.size(after))

    def _current_scores(self) -> Scores:
        if self.totals is None:
            return {name: np.asarray(values) for name, values in self.scores.items()}
        if not CRITERIA[self.settings.criterion].needs_data:
            self.totals.add({})
        return dict(self.engine.shared(self.totals).tables()[self.settings.criterion].groups)

    # -- what the world is told

    def _report(self) -> None:
        last = self.step == self.total
        values: dict[str, float] = {}
        if self.step % max(1, self.total // _LOGS) == 0 or last:
            values |= self.meter.read(self.step)
        if self.step % self.settings.evaluation_interval(self.total) == 0 or last:
            values |= self._evaluate(last)
            self.meter.restart_clock()
        if values:
            self.recorder.log(self.step, values)
        self.recorder.progress(self.step, self.total)

    def _evaluate(self, last: bool) -> dict[str, float]:
        name = self.task.metric_name
        self.last = self.watch.metric(self.student.handed_over)
        if self.last > self.best and (not self.cut_steps or self.step >= self.cut_steps[-1]):
            self.best, self.best_step = self.last, self.step
        values = {f"val/{name}": self.last} | self.watch.size(self.student.keep)
        values |= self.watch.latency(self.student.handed_over, self.student.keep, always=last)
        if self.teacher is not None:
            values |= {f"teacher/{name}": self.teacher_metric}
        text = f"{name} {self.last:.2%} on {self.task.val_images} held-out images"
        self.recorder.event(self.step, "eval", text, metric=self.last, name=name)
        return values

    def _verdict(self) -> str:
        name = self.task.metric_name
        text = f"{name} {self.last:.2%} at the end, best {self.best:.2%} at step {self.best_step}"
        return text + (f", teacher {self.teacher_metric:.2%}" if self.teacher is not None else "")

    # -- checkpoints

    def _save(self) -> None:
        state = {
            "step": self.step,
            "total": self.total,
            "student": student_state(self.student),
            "random": random_state(),
            "scores": self.scores,
            "totals": self.totals.state() if self.totals is not None else None,
            "best": self.best,
            "best_step": self.best_step,
            "last": self.last,
            "teacher": self.teacher_metric,
            "seconds": self.seconds,
        }
        self.recorder.save(state, self.step)
        self._saved_at = time.perf_counter()

    def _restore(self, state: dict[str, Any]) -> None:
        if state["total"] != self.total:
            raise RunError(
                f"the checkpoint is of a run of {state['total']} steps, this one has {self.total}; start a new run."
            )
        self.step = int(state["step"])
        fill_student(self.student, state["student"])
        self._adopt()
        if self.totals is not None and state["totals"] is not None:
            self.totals.load_state(state["totals"])
        self.scores = state["scores"]
        self.best, self.best_step, self.last = state["best"], int(state["best_step"]), state["last"]
        self.teacher_metric, self.seconds = state["teacher"], state["seconds"]
        restore_random(state["random"])
