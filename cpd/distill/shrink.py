"""When the student is cut, by what, and when a cut is taken back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from cpd.distill.backoff import BackOff
from cpd.distill.engine import Engine
from cpd.distill.pace import Timing
from cpd.distill.probe import Probe
from cpd.distill.recorder import Recorder
from cpd.distill.schedule import Schedule, changes
from cpd.distill.settings import TrainSettings
from cpd.distill.state import fill_student, student_state
from cpd.distill.stopwatch import time_beside
from cpd.distill.student import Student
from cpd.importance.accumulate import Accumulator
from cpd.importance.registry import CRITERIA
from cpd.importance.scoring import score
from cpd.prune.plan import Plan, Scores
from cpd.tasks.task import Task

if TYPE_CHECKING:
    from cpd.comb.comb import Comb

_LOOK_S, _SURE_S = 0.3, 1.0  # seconds that are timed at every chance, and again where that would end the cutting
_PLACES = 8  # cuts of a run before which the student is kept as a place to go back to


class Shrink:
    """The cuts of one run.

    With a corridor, a cut is on trial until the next chance to cut: when the student has not come back into the corridor
    by then, it becomes what it was before that cut, weights, optimizer and average, and other groups are tried.

    Attributes:
        chances: steps after which the network may be cut, ascending.
        scores: ranking of a plan's cuts, made once.
        totals: running scores towards a target, on the student as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        comb: Comb,
        task: Task,
        settings: TrainSettings,
        engine: Engine,
        recorder: Recorder,
        plan: Plan | None,
        target: Mapping[str, float] | None,
        total: int,
        inputs: tuple[Tensor, ...] = (),
    ) -> None:
        self.inputs = inputs
        self._dense: nn.Module | None = None  # on the run's device, to time the student beside
        self.comb, self.task, self.settings, self.engine, self.recorder = comb, task, settings, engine, recorder
        self.model, self.total = model, total
        self._given = (plan, target)
        self.scores: dict[str, list[float]] = {}
        self.totals: Accumulator | None = None
        names = [group.name for group in comb.record.groups if group.prunable]
        self.back_off = BackOff(settings.corridor, names) if settings.corridor else None
        self._probe = Probe(task, settings.corridor_images, engine.device) if settings.corridor else None
        self._teacher = float("nan")  # its metric on the probe
        self._trial: dict[str, Any] | None = None
        self._scored: Scores | None = None  # of the student that was just taken back
        self.begin(0, 1.0, None)

    def begin(self, step: int, cost: float, keep: Mapping[str, tuple[int, ...]] | None) -> None:
        """The cuts come after `step`, and the network costs `cost` of the dense one there; a run that goes on from a
        checkpoint of another begins in the middle, with what that still keeps.

        Raises:
            PlanError: the target is met already, or the plan does not fit.
        """
        plan, target = self._given
        s = self.settings
        self.began = {"step": step, "cost": cost, "keep": {name: list(row) for name, row in (keep or {}).items()}}
        planned = [step + at for at in s.cut_steps(self.total - step)]
        self.planned = len(planned)
        self.schedule = Schedule(
            self.comb.record,
            plan,
            target,
            self.planned,
            s.chunks,
            s.constraints,
            s.criterion,
            cost,
            keep,
            reference=s.schedule == "reference",
            single=s.interval > 0,
        )
        more = self.back_off is not None or self.schedule.pace is not None
        self.chances = tuple(planned + (s.extra_chances(planned, self.total) if more else []))
        self._places = set(planned[:: -(-len(planned) // _PLACES)])

    def rank(self) -> None:
        """Score the dense model once, to order the cuts of a plan, or those towards a target by a criterion that cannot
        be followed on the student (activations, second derivatives)."""
        s = self.settings
        if self.scores or (self.schedule.plan is None and CRITERIA[s.criterion].follows_training):
            return
        data = self.task.train_batches(s.batch_size, s.seed, augment=False)
        record, loss = self.comb.record, self.task.loss
        table = score(self.model, record, data, [s.criterion], s.score_batches, s.seed, loss=loss, comb=self.comb)
        self.scores = self.engine.same({name: values.tolist() for name, values in table[s.criterion].groups.items()})

    def teach(self, teacher: nn.Module) -> None:
        """Measure the teacher on the images that decide."""
        if self._probe is not None:
            self._teacher = self._probe.metric_of(teacher)

    def follow(self, student: Student, step: int) -> None:
        """Accumulate scores on this student from now on."""
        self.totals = None
        follows = self.schedule.plan is None and CRITERIA[self.settings.criterion].follows_training
        if follows and step < self.chances[-1] and not self.schedule.done(student.keep):
            names = [self.settings.criterion]
            self.totals = Accumulator(self.comb.record, student.module, names, student.keep, self.settings.seed)

    # -- a chance to cut

    def judge(self, student: Student, step: int) -> tuple[bool, bool]:
        """Whether the student may be cut now, and whether its last cut was just taken back."""
        event = self._event(step)
        if self.back_off is None or self._probe is None:
            return self.schedule.pace is None or not self.schedule.done(student.keep), False
        if self._trial is None and self.schedule.done(student.keep):
            return False, False
        name = self.task.metric_name
        metric = self._probe.metric_of(student.handed_over)
        self.recorder.log(
            step, {f"probe/{name}": metric, f"probe/floor/{name}": self._teacher - self.back_off.corridor}
        )
        lost = 100 * (self._teacher - metric)
        outside = self.back_off.leaves(self._teacher, metric)
        allowed = f"{lost:.2f} points below the teacher, {100 * self.back_off.corridor:.2f} are allowed"
        trial, self._trial = self._trial, None
        if trial is None and outside:
            self.recorder.event(step, "note", f"not cut yet: {name} {metric:.2%} is {allowed}", metric=metric)
            return False, False
        if trial is not None and outside:
            groups = list(trial["groups"])
            self._take_back(student, trial)
            self.back_off.undone(event, groups)
            text = f"the cut of step {trial['step']} ({_shortly(groups)}) is undone: {name} {metric:.2%} is {allowed}"
            self.recorder.event(step, "undo", text, groups=groups, metric=metric, cut_step=trial["step"])
            self._scored = {group: np.asarray(values) for group, values in trial["scores"].items()}
        elif trial is not None:
            self.back_off.stood()
        # The last chance only judges: a cut would have none after it.
        return event < len(self.chances) and not self.schedule.done(student.keep), trial is not None and outside

    def time(self, student: Student, step: int) -> bool:
        """Where the target is a latency, measure it: the next cut goes by that. Whether it was measured: then a checkpoint
        has to hold it before anything follows from it, or a run that is killed would cut otherwise."""
        pace = self.schedule.pace
        if pace is None:
            return False
        if self._dense is None:
            self._dense = copy.deepcopy(self.model).eval().to(self.engine.device)
            self.engine.lay_out(self._dense)
        macs = self.schedule.reached(student.keep)
        for seconds in (_LOOK_S, _SURE_S):
            found = time_beside(student.handed_over, self._dense, self.inputs, self.engine.device, seconds)
            same = self.engine.same({"ms": [found.student_ms, found.dense_ms, found.passes]})["ms"]
            pace.note(Timing(same[0], same[1], int(same[2])), macs)
            if not pace.met:
                break
        self.recorder.log(step, {"latency/share": pace.share})
        if pace.met or self._event(step) == len(self.chances):
            self.recorder.event(step, "note", pace.words(), share=pace.share, met=pace.met)
        return True

    def is_place(self, step: int) -> bool:
        """Whether the student before the cut of this step is worth keeping."""
        return step in self._places

    def cut(self, student: Student, step: int) -> None:
        """What the schedule takes now, and an event for every group that loses units."""
        event = self._event(step)
        if self.schedule.pace is not None and (self.schedule.done(student.keep) or event == len(self.chances)):
            return  # it is fast enough, or nobody would see whether this cut made it so
        before, scores = dict(student.keep), self._current_scores()
        after = self._after(event, before, scores)
        lost = changes(before, after)
        share = self.schedule.model.price(after).share_of(self.schedule.model.dense)
        for change in lost:
            text = f"{change.group} loses {change.removed} units and keeps {change.width}"
            data = {"group": change.group, "removed": change.removed, "width": change.width, "macs": share["macs"]}
            self.recorder.event(step, "cut", text, **data)
        if not lost:
            return
        if self.back_off is not None:
            self._trial = {
                "step": step,
                "groups": [change.group for change in lost],
                "student": student_state(student, "cpu"),
                "scores": {name: np.asarray(values).tolist() for name, values in scores.items()},
            }
        student.cut(after, self._images(step))

    def finished(self, student: Student) -> Plan:
        """The plan that the student carries out, and in words what is missing to the one that was asked for."""
        because = (
            f"cuts beyond that left the corridor of {100 * self.settings.corridor:g} points" if self.back_off else ""
        )
        if not because and self.schedule.single and self.schedule.reference:
            because = f"the reference schedule cuts one chunk every {self.settings.interval} steps, and there were {self.planned}"
        return self.schedule.finished(student.keep, because)

    def _after(self, event: int, before: dict[str, tuple[int, ...]], scores: Scores) -> dict[str, tuple[int, ...]]:
        if self.back_off is None:
            return self.schedule.after(event, before, scores)
        goal = self.back_off.goal(self.schedule.goal(event), self.schedule.reached(before), self.schedule.stride(event))
        return self.schedule.after(event, before, scores, goal, self.back_off.resting(event))

    def _take_back(self, student: Student, trial: Mapping[str, Any]) -> None:
        keep = {name: tuple(units) for name, units in trial["student"]["keep"].items()}
        student.become(self.model, keep)
        fill_student(student, trial["student"])

    def _images(self, step: int) -> list[Tensor]:
        """A batch by which the student takes over what a cut removes: others at every cut, the same on all processes."""
        s = self.settings
        if not s.take_over:
            return []
        batches = self.task.train_batches(s.batch_size, s.seed, step, augment=False)
        images, _ = next(iter(batches))
        return [part.to(self.engine.device) for part in images.chunk(s.accumulate)]

    def _event(self, step: int) -> int:
        return self.chances.index(step) + 1

    def _current_scores(self) -> Scores:
        scored, self._scored = self._scored, None
        if scored is not None:
            return scored
        if self.totals is None:
            return {name: np.asarray(values) for name, values in self.scores.items()}
        if not CRITERIA[self.settings.criterion].needs_data:
            self.totals.add({})
        return dict(self.engine.shared(self.totals).tables()[self.settings.criterion].groups)

    # -- checkpoints

    def state(self) -> dict[str, Any]:
        return {
            "began": self.began,
            "pace": self.schedule.pace.state() if self.schedule.pace is not None else None,
            "scores": self.scores,
            "totals": self.totals.state() if self.totals is not None else None,
            "teacher": self._teacher,
            "back_off": self.back_off.state() if self.back_off is not None else None,
            "trial": self._trial,
            "scored": None
            if self._scored is None
            else {name: np.asarray(values).tolist() for name, values in self._scored.items()},
        }

    def load(self, state: Mapping[str, Any], student: Student, step: int, pending: bool) -> None:
        """Go on where `state` was written, by a run with these very settings; `pending`: just before a cut."""
        self.scores, self._teacher, self._trial = dict(state["scores"]), state["teacher"], state["trial"]
        scored = state["scored"]
        self._scored = None if scored is None else {name: np.asarray(values) for name, values in scored.items()}
        if self.schedule.pace is not None and state.get("pace") is not None:
            self.schedule.pace.load(state["pace"])
        if self.back_off is not None and state["back_off"] is not None:
            self.back_off.load(state["back_off"])
        self.follow(student, step - pending)
        if self.totals is not None and state["totals"] is not None:
            self.totals.load_state(state["totals"])


def _shortly(groups: list[str]) -> str:
    return ", ".join(groups[:3]) + (f" and {len(groups) - 3} more" if len(groups) > 3 else "")
