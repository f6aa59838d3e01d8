"""How long and how to distil: sensible defaults in view, everything else behind one click."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.widgets.expert import expert, moving
from app.widgets.hardware import hardware
from cpd.distill.losses import LOSSES
from cpd.distill.settings import SCHEDULES, TrainSettings
from cpd.distill.weights import Weight
from cpd.errors import CpdError
from cpd.importance.registry import CRITERIA
from cpd.runs.project import Project
from cpd.runs.rows import Run
from cpd.tasks.demos import DEMOS, Demo

SCHEDULE_TEXT = {"interval": "little by little", "few-step": "in four steps", "one-shot": "at once", "reference": "as the paper's released code (baseline)"}


@dataclass(frozen=True)
class Chosen:
    """What the form says: a run's options but its goal, its seed and device, and what was mistyped ("" for nothing)."""

    options: dict[str, Any]
    seed: int
    device: str
    problem: str


def budget(project: Project, like: Run | None = None) -> Chosen:
    """Three expanders: how long and how to distil, on what hardware, and every other setting.

    They begin with the settings of the run `like`, where one is given.
    """
    default = TrainSettings.from_dict({**recommended(project), "device": project.device})
    key = f"budget.{project.id}"  # another project begins with its own defaults
    teacher: dict[str, Any] = {}
    if like is not None:
        known = {name: value for name, value in like.spec.options.items() if hasattr(default, name)}
        default = TrainSettings.from_dict({**default.to_dict(), **known, "seed": like.spec.seed, "device": like.spec.device})
        key = f"budget.{project.id}.{like.id}"
        teacher = {name: like.spec.options[name] for name in ("teacher", "teacher_weights", "teacher_settings") if like.spec.options.get(name)}
    how, seed = _distillation(default, key)
    where = hardware(project, default, key)
    more = expert(default, teacher, key)
    options = default.to_dict() | how | where | dict(more.settings) | dict(more.teacher) | {"seed": seed}
    options["losses"] = {name: weight for name, weight in how["losses"].items() if weight and name not in more.moving} | dict(more.moving)
    return Chosen(options, seed, where["device"], more.problem)


def _distillation(default: TrainSettings, key: str) -> tuple[dict[str, Any], int]:
    """Epochs, batch, rate; how it is cut; what the teacher teaches. And the seed."""
    keep: dict[str, Any] = {"persist_state": "session"}
    with st.expander("Budget and distillation", icon=":material/timer:"):
        a, b, c = st.columns(3, gap="medium")
        with a:
            epochs = st.number_input("Epochs", 0.0, 10000.0, float(default.epochs), 1.0, key=f"{key}.epochs", format="%g", **keep,
                                     help="Passes over the training images; steps in all, below, take their place where they are given.")  # fmt: skip
            batch = st.number_input("Batch size", 1, 4096, default.batch_size, key=f"{key}.batch", **keep, help="Images per optimizer step, over all processes.")
            rate = st.number_input("Learning rate", 0.0, 10.0, default.lr, 1e-4, key=f"{key}.lr", format="%g", **keep, help="At its peak; it rises first and then falls, along a cosine unless another scheduler is chosen.")
            seed = st.number_input("Seed", 0, 2**31 - 1, default.seed, key=f"{key}.seed", **keep, help="Of every random choice in the run.")
        with b:
            shown = round(100 * default.cut_share)
            cut = st.slider("Part of the run that cuts, %", 0, 100, shown, 5, key=f"{key}.cut", **keep,
                            help="The network shrinks during this part; the rest is distillation at its final size.")  # fmt: skip
            schedule = st.selectbox("Cuts come", list(SCHEDULES), SCHEDULES.index(default.schedule), key=f"{key}.schedule", format_func=SCHEDULE_TEXT.__getitem__, **keep)
            criterion = st.selectbox("Ranked by", list(CRITERIA), list(CRITERIA).index(default.criterion), key=f"{key}.criterion",
                                     format_func=lambda name: CRITERIA[name].title, **keep, help="Which units go first: for a target, accumulated on the "
                                     "student as it learns; a plan brings its own units.")  # fmt: skip
            corridor = st.number_input("Corridor, points", 0.0, 100.0, round(100 * default.corridor, 4), 0.5, key=f"{key}.corridor", format="%g", **keep,
                                       help="How far the student may stay below the teacher after a cut. A cut that it has not come back from by the "
                                       "next one is undone, and other groups are tried. 0 for no limit.")  # fmt: skip
            judges = st.session_state.get(f"{key}.corridor_images", default.corridor_images)
            st.caption(f"Judged on {judges:,} held-out images, always the same." if corridor else "No limit: every cut stands, whatever it costs.")
        with c:
            moves = _moving(default, key)
            losses = {
                name: st.number_input(f"Weight: {entry.title}", 0.0, 100.0, _weight(default, name), 0.1, key=f"{key}.loss.{name}", format="%g", **keep)
                for name, entry in LOSSES.items() if name not in moves
            }
            if moves:
                st.caption("; ".join(f"{LOSSES[name].title}: {weight}" for name, weight in moves.items()))
            temperature = st.number_input("Temperature", 0.001, 100.0, float(default.temperature), 0.5, key=f"{key}.temperature", format="%g", **keep,
                                          help="Softens the teacher's outputs, so that its second choices count too.")  # fmt: skip
    return {
        "epochs": epochs, "batch_size": int(batch), "lr": rate, "cut_share": default.cut_share if cut == shown else cut / 100, "schedule": schedule,
        "criterion": criterion, "corridor": round(corridor / 100, 6), "losses": losses, "temperature": temperature,
    }, int(seed)  # fmt: skip


def _weight(default: TrainSettings, name: str) -> float:
    value = default.losses.get(name, 0.0)
    return 0.0 if isinstance(value, Mapping) else float(value)


def _moving(default: TrainSettings, key: str) -> dict[str, str]:
    """The losses whose weights move, in words; what was mistyped is said below the form."""
    try:
        return {name: str(Weight.of(name, value)) for name, value in moving(default, key).items() if name in LOSSES}
    except CpdError:
        return {}


def recommended(project: Project) -> dict[str, Any]:
    """Settings that suit a demo's model; nothing for any other."""
    demo = demo_of(project)
    return dict(demo.run) if demo else {}


def demo_of(project: Project) -> Demo | None:
    """The demo whose model this is."""
    return next((demo for demo in DEMOS if (demo.model, dict(demo.settings)) == (project.model, dict(project.settings))), None)
