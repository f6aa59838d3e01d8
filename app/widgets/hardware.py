"""Speed and hardware of a run: where it computes and how. What this machine cannot do is not offered, and why is said."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import engine
from app.numbers import plural
from app.widgets.settings_field import about, field
from cpd.distill.settings import PRECISIONS, TrainSettings
from cpd.measure.abilities import Abilities
from cpd.measure.machine import processor_name
from cpd.runs.project import Project

DEVICES = {"cpu": "CPU", "cuda": "NVIDIA GPU", "mps": "Apple GPU", "auto": "the best there is"}
PRECISION_TEXT = {"no": "float32", "bf16": "bf16, mixed", "fp16": "fp16, mixed"}


def hardware(project: Project, default: TrainSettings, key: str) -> dict[str, Any]:
    """The settings that are chosen here, by name."""
    with st.expander(_headline(default, key), icon=":material/memory:", key=f"{key}.hardware"):
        a, b, c = st.columns(3, gap="medium")
        with a:
            device = _device(project, default, key)
            can = engine.abilities(device)
            precision = _precision(default, can, key)
        with b:
            processes = _processes(default, can, key)
            accumulate = field("accumulate", "Parts of a batch", default.accumulate, key)
        with c:
            cache = field("cache_mb", "Memory for the teacher's answers, MB", default.cache_mb, key)
            channels_last = field("channels_last", "Channels last", default.channels_last, key)
            offered = not can.compiler or default.compile
            compiles = field("compile", "Compile (torch.compile)", default.compile, key, disabled=not offered)
            if not offered:
                st.caption(f":material/info: {can.compiler}")
    return {
        "device": device, "precision": precision, "processes": processes, "accumulate": accumulate, "cache_mb": cache,
        "channels_last": channels_last, "compile": compiles,
    }  # fmt: skip


def _headline(default: TrainSettings, key: str) -> str:
    """The title, with what is not as usual: the expander need not be open to see that."""

    def now(name: str) -> Any:
        return st.session_state.get(f"{key}.{name}", getattr(default, name))

    words = [
        "" if now("device") == "cpu" else str(DEVICES.get(now("device"), now("device"))),
        "" if now("precision") == "no" else str(now("precision")),
        "" if now("processes") == 1 else plural(now("processes"), "process", "processes"),
        "" if now("accumulate") == 1 else plural(now("accumulate"), "part", "parts") + " a batch",
        "channels last" if now("channels_last") else "",
        "compiled" if now("compile") else "",
    ]
    return ": ".join(filter(None, ("Speed and hardware", ", ".join(filter(None, words)))))


def _device(project: Project, default: TrainSettings, key: str) -> str:
    here = engine.abilities("auto")
    names = ["cpu", *(["cuda"] if here.gpus != 0 else []), *(["mps"] if here.kind == "mps" else []), "auto"]
    names += [name for name in dict.fromkeys((project.device, default.device)) if name not in names]
    name = st.selectbox("Device", names, names.index(default.device), key=f"{key}.device", format_func=lambda each: DEVICES.get(each, each), persist_state="session",
                        help="Where this run computes. The project's own device stays as it is.")  # fmt: skip
    can = engine.abilities(name)
    if can.kind == "cuda":
        st.caption(plural(can.gpus, "GPU") + " here." if can.gpus else "Asked for when the run starts." if can.gpus is None else f":material/info: No GPU here (torch {can.torch}).")
    elif can.kind == "cpu":
        st.caption(processor_name() + ("" if here.gpus or here.kind == "mps" else "; no GPU here."))
    return str(name)


def _precision(default: TrainSettings, can: Abilities, key: str) -> str:
    names = [name for name in PRECISIONS if can.kind != "cpu" or name != "fp16" or st.session_state.get(f"{key}.precision", default.precision) == name]
    name = st.selectbox("Precision", names, names.index(default.precision), key=f"{key}.precision", format_func=PRECISION_TEXT.__getitem__, persist_state="session", help=about("precision"))
    if can.kind == "cpu":
        st.caption("fp16 needs a GPU." + (" This processor has no bf16 arithmetic: bf16 saves memory here, not time." if can.bf16 is False else ""))
    return str(name)


def _processes(default: TrainSettings, can: Abilities, key: str) -> int:
    now = max(default.processes, st.session_state.get(f"{key}.processes", 1))
    one = can.most_processes == 1 and now == 1
    number = st.number_input("Processes", 1, max(can.most_processes, now), default.processes, key=f"{key}.processes", persist_state="session", disabled=one, help=about("processes"))
    unit = "core" if can.kind == "cpu" else "GPU"
    if one:
        st.caption(f":material/info: There is one {unit} here, and nothing to share.")
    elif can.kind == "cpu":
        st.caption(f"On {plural(can.cores, 'core')} they share the work by gloo, and each takes memory of its own.")
    else:
        st.caption("Each takes a GPU of its own.")
    return int(number)
