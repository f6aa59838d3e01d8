"""The one loop: a dense model is trained, or pruned while it is distilled from what it was."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cpd.distill.compiled import check_compiler
from cpd.distill.engine import Engine, laid_out
from cpd.distill.evaluations import Evaluations
from cpd.distill.features import Taps
from cpd.distill.feed import Feed
from cpd.distill.lesson import Lesson, loss_terms
from cpd.distill.losses import LOSSES
from cpd.distill.meter import Meter
from cpd.distill.optimizer import make_scheduler
from cpd.distill.recorder import Recorder, Silent
from cpd.distill.settings import TrainSettings
from cpd.distill.shrink import Shrink
from cpd.distill.state import (
    fill_student,
    is_finite,
    own_draws,
    random_state,
    restore_own_draws,
    restore_random,
    seed_everything,
    student_state,
)
from cpd.distill.student import Student
from cpd.distill.teacher import digest
from cpd.distill.together import check_losses
from cpd.distill.watch import Watch
from cpd.errors import Diverged, PlanError, RunError
from cpd.prune.plan import Plan
from cpd.tasks.task import Task

if TYPE_CHECKING:
    from cpd.comb.comb import Comb

_LOGS = 400  # rows of training metrics in a run
_FORMAT = 2  # of a checkpoint's state


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
    begin: int = 0,
) -> Trained:
    """Train `model`, or prune it while distilling where a plan or a target is given; `model` is left as it is.

    Args:
        inputs: example inputs, for latency.
        comb: of `model`; needed for pruning.
        plan: units to keep at the end.
        target: e.g. {"macs": 0.25}, or a latency, {"latency": 0.5} of the dense model's, which is measured before every cut;
            what goes is decided on the way, by `settings.criterion` on the student.
        teacher: what to distil from; the dense `model` itself where it is pruned and no other is named. Without plan
            and target, `model` is distilled from it as it is.
        begin: step of a checkpoint of another run that the recorder was given to go on from; plan, target and settings
            count from there.
    Raises:
        PlanError: the plan does not fit the comb, or the target cannot be.
        RunError, DeviceError: the settings ask for what is not there.
        Diverged: the loss or a weight is no longer finite. Checkpoints are only ever written before that.
    """
    return _Run(model, inputs, task, settings, recorder or Silent(), comb, plan, target, teacher, begin).run()


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
        begin: int,
    ) -> None:
        self.model, self.task, self.settings, self.recorder, self.comb = model, task, settings, recorder, comb
        self.begin, self.inputs = begin, inputs
        self.per_epoch = task.steps(settings.batch_size)
        self.total = settings.total_steps(self.per_epoch)
        if begin >= self.total:
            raise RunError(
                f"the checkpoint is of step {begin} and the run ends at step {self.total}; give it more epochs."
            )
        self.engine = Engine(settings)
        if self.engine.world > 1 and task.train_images < settings.batch_size:
            raise RunError(
                f"batch_size {settings.batch_size} is more than the {task.train_images} training images, which several "
                "processes cannot share equally; make it smaller."
            )
        self.shrink: Shrink | None = None
        if plan is not None or target is not None:
            if comb is None:
                raise PlanError("pruning needs the comb of the model; comb it first.")
            self.shrink = Shrink(model, comb, task, settings, self.engine, recorder, plan, target, self.total, inputs)
        self.watch = Watch(task, inputs, self.engine.device, comb.record if comb is not None and self.shrink else None)
        told = self.watch, task, settings, self.engine, recorder
        self.found = Evaluations(*told, self.total, self._dense if self.shrink else None)
        teaches = teacher if teacher is not None else model if self.shrink else None
        self.teacher = None
        self.own_teacher = teaches is model
        if teaches is not None:
            self.teacher = copy.deepcopy(teaches).eval().requires_grad_(False).to(self.engine.device)
            self.engine.lay_out(self.teacher)
        self.taps: Taps | None = None
        if any(LOSSES[name].needs_features for name in loss_terms(settings, self.teacher is not None)):
            if teaches is not model:
                check_losses(settings)
            if comb is None or self.shrink is None:
                raise PlanError(
                    "losses that compare features need a pruned network and its own dense one; set their weights to 0 here."
                )
            self.taps = Taps(comb, model, self.engine.device)
        if settings.compile:
            check_compiler(self.engine.device)
        self.lesson = Lesson(task, settings, self.engine, self.teacher, self.taps, self.total)
        self.feed = Feed(task, settings, self.engine, self.lesson)
        goal: dict[str, Any] = {"target": dict(target or {}), "plan": plan.to_json() if plan else "", "begin": begin}
        if teacher is not None:
            goal["teacher"] = digest(teacher)
        self.identity = hashlib.sha256(json.dumps([settings.to_dict(), goal], sort_keys=True).encode()).hexdigest()
        self.step = 0
        self.pending = False  # a checkpoint from just before the cut of its step
        self.seconds = 0.0
        self.meter = Meter()

    def run(self) -> Trained:
        state = self.engine.in_turn(self.recorder.load)
        self._begin(state)
        self._saved_at = start = time.perf_counter()
        before = self.seconds
        finished = self.feed.keep_answers(self.total - self.begin, self.recorder.should_stop)
        self.meter.restart_clock()
        batches = self.feed.batches(self.step)
        if self.pending:
            self._cut()
            self._evaluate()
        while finished and self.step < self.total:
            if self.engine.agree(self.recorder.should_stop()):
                finished = False
                break
            totals = self.shrink.totals if self.shrink else None
            batch, numbers = next(batches)
            self.lesson.learn(self.student, batch, self.step, self.scheduler, totals, self.meter, numbers)
            self.step += 1
            self.seconds = before + time.perf_counter() - start
            self._report()
            if self.shrink and self.step in self.shrink.chances:
                self._chance()
            self._evaluate()
            due = time.perf_counter() - self._saved_at >= self.settings.checkpoint_s
            if self.engine.agree(due) and self.step < self.total:
                self._save()
        self.seconds = before + time.perf_counter() - start
        self._save()
        found = self.found
        if finished:
            self.recorder.event(
                self.step, "finish", found.verdict(), last=found.last, best=found.best, best_step=found.best_step
            )
        else:
            self.recorder.event(
                self.step, "stop", f"stopped after step {self.step} of {self.total}; resume goes on from here"
            )
        self.engine.close()
        return Trained(
            module=laid_out(self.student.handed_over.eval(), torch.contiguous_format),
            plan=self.shrink.finished(self.student) if self.shrink else None,
            finished=finished,
            step=self.step,
            total=self.total,
            last=found.last,
            best=found.best,
            best_step=found.best_step,
            teacher=found.teacher if self.teacher is not None else None,
            seconds=self.seconds,
        )

    # -- the beginning

    def _begin(self, state: Any | None) -> None:
        seed_everything(self.settings.seed, self.engine.rank)
        if self.engine.same({"step": [state["step"] if state else -1]})["step"] != [state["step"] if state else -1]:
            raise RunError("the processes of the run found different checkpoints; see that all can read its folder.")
        if state is not None and state.get("format") != _FORMAT:
            raise RunError("the checkpoint was written by another version of the program; start a new run.")
        if self.shrink:
            assert self.comb is not None
            keep = self.shrink.schedule.whole()
            if state:
                keep = {name: tuple(units) for name, units in state["student"]["keep"].items()}
            self.student = Student.whole(self.model, self.comb, self.settings, keep, self.engine.device)
        else:
            self.student = Student(copy.deepcopy(self.model).to(self.engine.device), self.settings)
        self.engine.lay_out(self.student.module)
        self.engine.check_layout(self.student.module, self.inputs)
        if state:
            self._restore(state)
            return
        self._adopt()
        values = self.found.first(self.student, self.teacher, self.own_teacher)
        if self.shrink:
            assert self.teacher is not None
            self.shrink.teach(self.teacher)
            self.shrink.rank()
        self.recorder.log(0, values)
        self.recorder.progress(0, self.total)

    def _adopt(self) -> None:
        """Everything that points at the student's parameters, made anew for the student as it is now."""
        self.student.module.train()
        self.engine.adopt(self.student)
        self.scheduler = make_scheduler(self.student.optimizer, self.settings, self.total)
        if self.taps is not None:
            self.taps.follow(self.student.module, self.student.keep)
        if self.shrink:
            self.shrink.follow(self.student, self.step)

    # -- a chance to cut

    def _chance(self) -> None:
        assert self.shrink is not None
        may, taken_back = self.shrink.judge(self.student, self.step)
        if taken_back:
            self._adopt()
            self.recorder.log(self.step, self.watch.size(self.student.keep))
        if may:
            timed = self.shrink.time(self.student, self.step)
            if timed or self.shrink.is_place(self.step):
                share = self.watch.size(self.student.keep)
                metric = self.found.last if math.isfinite(self.found.last) else None  # not evaluated yet
                note = {"macs": share["cost/macs"], "params": share["cost/params"], "metric": metric}
                self.pending = True
                self._save({**note, "name": self.task.metric_name} if self.shrink.is_place(self.step) else None)
            self._cut()

    def _cut(self) -> None:
        assert self.shrink is not None
        self.pending = False
        self.shrink.cut(self.student, self.step)
        self._adopt()
        self.recorder.log(self.step, self.watch.size(self.student.keep))

    # -- what the world is told

    def _report(self) -> None:
        last = self.step == self.total
        if self.step % max(1, self.total // _LOGS) == 0 or last:
            self.meter.share(self.engine.means)
            self.recorder.log(self.step, self.meter.read(self.step))
        self.recorder.progress(self.step, self.total)

    def _evaluate(self) -> None:
        final = self.shrink is None or self.step >= self.shrink.chances[self.shrink.planned - 1]
        if self.found.evaluate(self.student, self.step, final):
            self.meter.restart_clock()

    def _dense(self) -> nn.Module:
        """The dense network on the run's device."""
        if self.own_teacher and self.teacher is not None:
            return self.teacher
        found = copy.deepcopy(self.model).eval().to(self.engine.device)
        self.engine.lay_out(found)
        return found

    # -- checkpoints

    def _save(self, note: Mapping[str, Any] | None = None) -> None:
        """A checkpoint, unless something in it is not finite: the last one has to be good."""
        self.meter.share(self.engine.means)
        self.meter.check(self.step)
        if not is_finite(self.student):
            raise Diverged(f"A weight is no longer finite at step {self.step}; lower lr (now {self.settings.lr:g}).")
        draws = self.engine.everyones(own_draws(self.engine.device))
        self._saved_at = time.perf_counter()
        if self.engine.rank:
            return
        state = {
            "format": _FORMAT,
            "of": self.identity,
            "step": self.step,
            "total": self.total,
            "pending": self.pending,
            "student": student_state(self.student),
            "random": random_state(),
            "draws": draws[1:],
            "engine": self.engine.state(),
            "shrink": self.shrink.state() if self.shrink else None,
            "meter": self.meter.state(),
            **self.found.state(),
            "seconds": self.seconds,
        }
        self.recorder.save(state, self.step, note)
        self._saved_at = time.perf_counter()

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        fill_student(self.student, state["student"])
        self.engine.load(state.get("engine", {}))
        self.found.load_teacher(state)
        if self.step == self.begin > 0 and state["of"] != self.identity:
            self._take_over()
        else:
            self._go_on(state)
        restore_random(state["random"])
        restore_own_draws(state.get("draws", []), self.settings.seed, self.step, self.engine.rank, self.engine.device)

    def _take_over(self) -> None:
        """From here on another run's network, on the way to this run's goal."""
        if self.shrink:
            assert self.teacher is not None
            cost = self.shrink.schedule.reached(self.student.keep)
            self.shrink.begin(self.step, cost, self.student.keep)
            self.shrink.teach(self.teacher)
            self.shrink.rank()
        self._adopt()
        self.recorder.log(self.step, self.watch.size(self.student.keep))
        self.recorder.progress(self.step, self.total)

    def _go_on(self, state: dict[str, Any]) -> None:
        if state["total"] != self.total:
            raise RunError(
                f"the checkpoint is of a run of {state['total']} steps, this one has {self.total}; start a new run."
            )
        self.pending = bool(state["pending"])
        if self.shrink:
            began = state["shrink"]["began"]
            if began["step"]:
                keep = {name: tuple(units) for name, units in began["keep"].items()}
                self.shrink.begin(began["step"], began["cost"], keep)
        self._adopt()
        if self.shrink:
            self.shrink.load(state["shrink"], self.student, self.step, self.pending)
        self.meter.load(state["meter"], self.engine.device)
        self.found.load(state)
        self.seconds = state["seconds"]
