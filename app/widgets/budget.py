"""How long and how to distil: sensible defaults in view, everything else behind one click."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from cpd.distill.losses import LOSSES
from cpd.distill.settings import SCHEDULES, TrainSettings
from cpd.distill.weights import Weight
from cpd.errors import CpdError
from cpd.importance.registry import CRITERIA
from cpd.runs.project import Project
from cpd.runs.rows import Run
from cpd.tasks.demos import DEMOS, Demo

SCHEDULE_TEXT = {"interval": "little by little", "few-step": "in four steps", "one-shot": "at once", "reference": "as the paper's released code (baseline)"}


def budget(project: Project, like: Run | None = None) -> tuple[dict[str, Any], int, str]:
    """The chosen settings as run options, the seed, and what does not fit in words ("" when all does).

    They begin with those of the run `like`, where one is given.
    """
    default = TrainSettings.from_dict({**recommended(project), "device": project.device})
    key = f"budget.{project.id}"  # another project begins with its own defaults
    if like is not None:
        known = {name: value for name, value in like.spec.options.items() if hasattr(default, name)}
        default = TrainSettings.from_dict({**default.to_dict(), **known, "seed": like.spec.seed})
        key = f"budget.{project.id}.{like.id}"
    keep: dict[str, Any] = {"persist_state": "session"}
    with st.expander("Budget and distillation", icon=":material/timer:"):
        a, b, c = st.columns(3, gap="medium")
        with a:
            epochs = st.number_input("Epochs", 0.1, 10000.0, float(default.epochs), 1.0, key=f"{key}.epochs", format="%g", **keep, help="Passes over the training images.")
            batch = st.number_input("Batch size", 1, 4096, default.batch_size, key=f"{key}.batch", **keep, help="Images per optimizer step.")
            rate = st.number_input("Learning rate", 0.0, 10.0, default.lr, 1e-4, key=f"{key}.lr", format="%.5f", **keep, help="At its peak; it rises first and then falls along a cosine.")
            seed = st.number_input("Seed", 0, 2**31 - 1, default.seed, key=f"{key}.seed", **keep, help="Of every random choice in the run.")
        with b:
            cut = st.slider("Part of the run that cuts, %", 5, 100, round(100 * default.cut_share), 5, key=f"{key}.cut", **keep,
                            help="The network shrinks during this part; the rest is distillation at its final size.")  # fmt: skip
            schedule = st.selectbox("Cuts come", list(SCHEDULES), SCHEDULES.index(default.schedule), key=f"{key}.schedule", format_func=SCHEDULE_TEXT.__getitem__, **keep)
            criterion = st.selectbox("Ranked by", list(CRITERIA), list(CRITERIA).index(default.criterion), key=f"{key}.criterion",
                                     format_func=lambda name: CRITERIA[name].title, **keep, help="Which units go first: for a target, accumulated on the "
                                     "student as it learns; a plan brings its own units.")  # fmt: skip
            corridor = st.number_input("Corridor, points", 0.0, 100.0, round(100 * default.corridor, 3), 0.5, key=f"{key}.corridor", format="%g", **keep,
                                       help="How far the student may stay below the teacher after a cut. A cut that it has not come back from by the "
                                       "next one is undone, and other groups are tried. 0 for no limit.")  # fmt: skip
            st.caption(f"Judged on {default.corridor_images:,} held-out images, always the same." if corridor else "No limit: every cut stands, whatever it costs.")
        with c:
            # Weights that move over the run come from the command line; here they stay as they are.
            moving = {name: value for name, value in default.losses.items() if isinstance(value, Mapping)}
            losses = moving | {
                name: st.number_input(f"Weight: {entry.title}", 0.0, 100.0, float(default.losses.get(name, 0.0)), 0.1, key=f"{key}.loss.{name}", **keep)
                for name, entry in LOSSES.items() if name not in moving
            }
            if moving:
                st.caption("; ".join(f"{LOSSES[name].title}: {Weight.of(name, value)}" for name, value in moving.items()))
            temperature = st.number_input("Temperature", 0.1, 100.0, default.temperature, 0.5, key=f"{key}.temperature", **keep,
                                          help="Softens the teacher's outputs, so that its second choices count too.")  # fmt: skip
    chosen = default.to_dict() | {
        "corridor": corridor / 100,
        "epochs": epochs, "batch_size": int(batch), "lr": rate, "seed": int(seed), "cut_share": cut / 100, "schedule": schedule,
        "criterion": criterion, "losses": {name: weight for name, weight in losses.items() if weight}, "temperature": temperature,
    }  # fmt: skip
    try:
        return TrainSettings.from_dict(chosen).to_dict(), int(seed), ""
    except CpdError as error:
        return chosen, int(seed), str(error)


def recommended(project: Project) -> dict[str, Any]:
    """Settings that suit a demo's model; nothing for any other."""
    demo = demo_of(project)
    return dict(demo.run) if demo else {}


def demo_of(project: Project) -> Demo | None:
    """The demo whose model this is."""
    return next((demo for demo in DEMOS if (demo.model, dict(demo.settings)) == (project.model, dict(project.settings))), None)
