"""Every other setting of a training, for who knows what it does: optimizer, images, cuts, records, another teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.projects import settings_from, settings_text
from app.widgets.settings_field import field
from cpd.access import Role, person
from cpd.distill.losses import LOSSES
from cpd.distill.settings import TrainSettings
from cpd.distill.weights import Weight
from cpd.errors import CpdError

OPTIMIZERS = ("adamw", "sgd", "lamb", "lion", "nadamw", "rmsprop")  # of timm's; any other can be typed
SCHEDULERS = ("cosine", "linear", "step", "tanh", "poly")
# Heading -> (setting, label), in the order of the screen
PARTS: Mapping[str, Mapping[str, str]] = {
    "Optimizer": {
        "optimizer": "Optimizer", "scheduler": "Scheduler of the rate", "weight_decay": "Weight decay", "warmup": "Warm-up, share of the steps",
        "least_lr": "Rate at the end, share", "clip": "Largest gradient norm", "average": "Moving average of the weights", "steps": "Steps in all",
    },
    "Images": {"augment": "Augment the images", "mixup": "Mixup", "smoothing": "Label smoothing"},
    "Cuts": {
        "interval": "Steps between two cuts", "chunks": "Chunks a group goes in", "score_batches": "Batches behind a ranking", "multiple": "Widths are multiples of",
        "minimum": "Fewest units a group keeps", "max_ratio": "Largest ratio of any group", "corridor_images": "Images that judge a cut",
        "take_over": "Make up for what is cut",
    },
    "Records": {"evaluate_every": "Steps between evaluations", "checkpoint_s": "Seconds between checkpoints"},
}  # fmt: skip
_CHOICES = {"optimizer": OPTIMIZERS, "scheduler": SCHEDULERS}
_COLUMNS = (("Optimizer",), ("Cuts",), ("Images", "Records"))


@dataclass(frozen=True)
class Expert:
    """What was chosen: settings by name, the losses whose weights move, the options that name a teacher; and what was
    mistyped, "" for nothing."""

    settings: Mapping[str, Any]
    moving: Mapping[str, Any]
    teacher: Mapping[str, Any]
    problem: str


def moving(default: TrainSettings, key: str) -> dict[str, Any]:
    """Losses whose weights move over the run, as they are typed now.

    Raises:
        CpdError: a word without a name or "=".
    """
    text = st.session_state.get(f"{key}.moving")
    typed = settings_from(_moving_text(default) if text is None else text)
    return {name: Weight.parse(value) if isinstance(value, str) else value for name, value in typed.items()}


def _moving_text(default: TrainSettings) -> str:
    return " ".join(f"{name}={Weight.of(name, value).short}" for name, value in default.losses.items() if isinstance(value, Mapping))


def expert(default: TrainSettings, teacher: Mapping[str, Any], key: str) -> Expert:
    """The expander. Its title counts what is not as usual: it need not be open to see that."""
    usual = TrainSettings()
    names = [name for part in PARTS.values() for name in part]
    other = sum(st.session_state.get(f"{key}.{name}", getattr(default, name)) != getattr(usual, name) for name in names)
    other += sum(bool(st.session_state.get(f"{key}.{name}", before)) for name, before in (("teacher", teacher.get("teacher")), ("moving", _moving_text(default))))
    chosen: dict[str, Any] = {}
    with st.expander("Every other setting" + (f": {other} not as usual" if other else ""), icon=":material/tune:", key=f"{key}.expert"):
        for column, parts in zip(st.columns(3, gap="medium"), _COLUMNS, strict=True):
            with column:
                for part in parts:
                    st.markdown(f"**{part}**")
                    for name, label in PARTS[part].items():
                        chosen[name] = field(name, label, getattr(default, name), key, options=_CHOICES.get(name, ()))
        with column:
            st.markdown("**Distillation**")
            st.text_input("Weights of losses that move", _moving_text(default), key=f"{key}.moving", placeholder="soft_logits=1:0.2", persist_state="session",
                          help="NAME=FROM:TO, or NAME=FROM:TO:BEGIN:END over that share of the run; with spaces between. "
                          f"Names: {', '.join(LOSSES)}.")  # fmt: skip
            named, problem = _teacher(teacher, key)
    moves: dict[str, Any] = {}
    try:
        moves = moving(default, key)
    except CpdError as error:
        problem = str(error)
    return Expert(chosen, moves, named, problem)


def _teacher(before: Mapping[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Another teacher than the dense model: SPEC, weights and settings, each None where it is not given."""
    locked = person().role < Role.OWNER  # it may be a file of this machine, which would run
    more: dict[str, Any] = {"disabled": locked, "persist_state": "session"}
    name = st.text_input("Another teacher", str(before.get("teacher") or ""), key=f"{key}.teacher", placeholder="the dense model", **more,
                         help="`timm:NAME`, `smp:ARCH/ENCODER` or `FILE.py:FACTORY`: what to distil from, by losses of its answers alone.")  # fmt: skip
    if locked:
        st.caption(":material/info: An owner of the workspace can name one.")
    if not name.strip() and not before:
        return {"teacher": None, "teacher_weights": None, "teacher_settings": None}, ""
    weights = st.text_input("Its weights", str(before.get("teacher_weights") or ""), key=f"{key}.teacher_weights", placeholder="/path/to/weights.safetensors", **more,
                            help="A .safetensors file or a state dict; never a pickled module.")  # fmt: skip
    text = st.text_input("Its settings", settings_text(before.get("teacher_settings") or {}), key=f"{key}.teacher_settings", placeholder="num_classes=10", **more,
                         help="Arguments of its constructor, NAME=VALUE with spaces between.")  # fmt: skip
    problem = ""
    try:
        settings = settings_from(text)
    except CpdError as error:
        settings, problem = {}, str(error)
    return {"teacher": name.strip() or None, "teacher_weights": weights.strip() or None, "teacher_settings": settings or None}, problem
