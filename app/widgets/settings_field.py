"""One training setting as a field: kind and limits are the library's own, and so is the line of help."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from cpd.distill.settings import described, limits

STEPS = {"weight_decay": 0.01, "clip": 0.5, "average": 0.001, "mixup": 0.1, "smoothing": 0.05, "cache_mb": 64.0, "checkpoint_s": 10.0}


def field(name: str, label: str, value: Any, key: str, *, disabled: bool = False, help: str = "", options: tuple[str, ...] = ()) -> Any:
    """Draw it, filled with `value`; what is typed, of the type of `value`.

    Args:
        help: in place of the library's line.
        options: names to choose from; others may be typed.
    """
    more: dict[str, Any] = {"key": f"{key}.{name}", "help": help or about(name), "disabled": disabled, "persist_state": "session"}
    if isinstance(value, bool):
        return st.toggle(label, value, **more)
    if isinstance(value, str):
        names = options if value in options else (*options, value)
        return st.selectbox(label, names, names.index(value), accept_new_options=True, **more) or value
    low, high = limits(name)
    most = None if math.isinf(high) else high
    if isinstance(value, int):
        return int(st.number_input(label, int(low), None if most is None else int(most), value, **more))
    return float(st.number_input(label, float(low), None if most is None else float(most), float(value), STEPS.get(name, 0.01), format="%g", **more))


def about(name: str) -> str:
    """What a setting means, as a sentence."""
    text = described()[name]
    return f"{text[:1].upper()}{text[1:]}."
