"""What `train` and `run` share: settings as options, and a run in this process with its progress shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from cpd.cli import options
from cpd.cli.progress import Bar
from cpd.distill.settings import TrainSettings, described
from cpd.distill.weights import Weight
from cpd.errors import RunError
from cpd.measure.metrics import words
from cpd.runs.spec import RunSpec
from cpd.runs.store import Run
from cpd.runs.worker import run_foreground

_PLACED = ("losses", "seed", "device")  # options of their own
_PRUNING = (
    "schedule",
    "interval",
    "cut_share",
    "chunks",
    "take_over",
    "criterion",
    "score_batches",
    "multiple",
    "minimum",
    "max_ratio",
    "temperature",
    "cache_mb",
)


def add_settings(parser: argparse.ArgumentParser, pruning: bool) -> None:
    """One option for every field of TrainSettings, with the help that its docstring gives."""
    about = described()
    group = parser.add_argument_group("training")
    for field in fields(TrainSettings):
        if field.name in _PLACED or (field.name in _PRUNING and not pruning) or field.default is MISSING:
            continue
        flag = f"--{field.name.replace('_', '-')}"
        text = f"{about.get(field.name, '')} (default {field.default})".replace("%", "%%")
        if isinstance(field.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            kind = type(field.default)
            group.add_argument(flag, type=kind, default=None, metavar=kind.__name__[0].upper(), help=text)
    if pruning:
        group.add_argument(
            "--loss",
            metavar="NAME=W",
            action="append",
            default=[],
            help="weight of a loss, or FROM:TO for one that moves over the run, or FROM:TO:BEGIN:END over that share of it; names replace the default mix; repeat",
        )
    group.add_argument("--seed", type=int, default=0, help="of every random choice (default 0)")


def chosen_settings(arguments: argparse.Namespace) -> TrainSettings:
    """The settings that the options give.

    Raises:
        RunError: an impossible value.
    """
    given = {f.name: getattr(arguments, f.name, None) for f in fields(TrainSettings) if f.name not in _PLACED}
    row: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    losses = {
        name: Weight.parse(value) if isinstance(value, str) else value
        for name, value in (options.pair(text, "--loss") for text in getattr(arguments, "loss", []))
    }
    if losses:
        row["losses"] = losses
    return TrainSettings.from_dict(row | {"seed": arguments.seed, "device": arguments.device})


def do(kind: str, arguments: argparse.Namespace, more: Mapping[str, Any]) -> Run:
    """Do a run in `--out`, in this process; the same command goes on where an interrupted one stopped.

    Raises:
        CpdError: it failed for a reason of the user's.
    """
    from cpd.measure.machine import pick_device

    pick_device(arguments.device)
    settings = chosen_settings(arguments)
    spec = RunSpec(
        kind,
        model=arguments.spec,
        weights=arguments.weights,
        settings=options.settings(arguments),
        data=arguments.data,
        device=arguments.device,
        seed=arguments.seed,
        options=settings.to_dict() | dict(more) | ({"pretrained": True} if arguments.pretrained else {}),
    ).anchored(Path.cwd())
    watcher = _Watcher(kind)
    row = run_foreground(Path(arguments.out), spec, watcher)
    watcher.bar.clear()
    if row.state == "failed" and not row.error.startswith("Unexpected"):
        raise RunError(row.error)
    if row.state != "finished":
        again = (
            f"{row.state}: {row.error}" if row.error else f"{row.state}; the same command goes on from step {row.step}."
        )
        print(again, file=sys.stderr)
    return row


class _Watcher:
    """Shows a run that is done in this process."""

    def __init__(self, what: str) -> None:
        self.bar = Bar(what)

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        seen = [f"{words(name[4:]).short} {value:.1%}" for name, value in values.items() if name.startswith("val/")]
        seen += [f"MACs {values['cost/macs']:.1%}"] if "cost/macs" in values else []
        if seen:
            self.bar.note = ", ".join(seen)

    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any]) -> None:
        if kind in ("note", "resume", "finish"):
            self.bar.say(f"step {step}: {text}")

    def progress(self, step: int, total: int) -> None:
        self.bar(step, total)
