"""A run as the line that does it again: what `python -m cpd run` is given for the same model, data, goal and settings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cpd.distill.settings import TrainSettings
from cpd.distill.weights import Weight
from cpd.runs.record import public_name
from cpd.runs.spec import RunSpec

_PLACED = ("losses", "seed", "device")  # not as the other settings


def command_line(spec: RunSpec, plan: str = "plan.json", out: str = "runs/again", public: bool = False) -> str:
    """The line for a shell. Where the run has a target, and `plan` is "", that is given; else the plan in that file.

    Args:
        public: files are named without their folders.
    """
    shown = public_name if public else str
    target = dict(spec.options.get("target") or {}) if not plan else {}
    words = ["python", "-m", "cpd", "run", shown(spec.model), "--data", shown(spec.data)]
    words += ["--target", *_pairs(target)] if target else ["--plan", plan or "plan.json"]
    words += ["--pretrained"] if spec.options.get("pretrained") else []
    words += ["--weights", _file(spec.weights, public)] if spec.weights else []
    words += _repeated("--set", spec.settings)
    words += _changed(spec.options)
    if spec.options.get("teacher"):
        words += ["--teacher", shown(spec.options["teacher"])]
        weights = str(spec.options.get("teacher_weights") or "")
        words += ["--teacher-weights", _file(weights, public)] if weights else []
        words += _repeated("--teacher-set", spec.options.get("teacher_settings") or {})
    words += ["--device", spec.device] if spec.device != "cpu" else []
    return shlex.join([*words, "--seed", str(spec.seed), "--out", out])


def _changed(options: Mapping[str, Any]) -> Iterator[str]:
    """Of the settings those that are not as they are without a word."""
    default = TrainSettings().to_dict()
    losses = options.get("losses")
    if losses and losses != default["losses"]:
        for name, weight in losses.items():
            yield from ("--loss", f"{name}={Weight.of(name, weight).short}")
    for name, value in options.items():
        if name not in default or name in _PLACED or value == default[name]:
            continue
        flag = name.replace("_", "-")
        yield from [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]


def _repeated(option: str, values: Mapping[str, Any]) -> Iterator[str]:
    for pair in _pairs(values):
        yield from (option, pair)


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _file(path: str, public: bool) -> str:
    return Path(path).name if public else path
