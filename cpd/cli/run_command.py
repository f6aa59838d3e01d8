"""Prune while distilling: the dense model teaches the one that is cut. The same command goes on after an interruption."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cpd.cli import options, training
from cpd.cli.measure_command import as_columns
from cpd.errors import PlanError, RunError, StorageError
from cpd.measure.measurement import Measurement
from cpd.prune.plan import Plan

HELP = "prune while distilling"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_data(parser, required=True)
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--plan", metavar="F", help="what to remove, from `python -m cpd plan`")
    goal.add_argument(
        "--target",
        metavar="T",
        help="macs=0.25 or params=0.4, the share that stays; latency=0.5, a share of the dense model's, or latency_ms=3, "
        "measured at batch 1 before every cut; what goes is decided on the way",
    )
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder of the run: checkpoints, log, the pruned model"
    )
    taught = parser.add_argument_group("teacher", "what to distil from; the dense model where none is named")
    taught.add_argument(
        "--teacher", metavar="SPEC", default="", help="another network, for losses of its answers alone"
    )
    taught.add_argument("--teacher-weights", metavar="FILE", default="", help="its weights")
    taught.add_argument(
        "--teacher-set", metavar="K=V", action="append", default=[], help="argument of its architecture; repeat"
    )
    options.add_device(parser)
    training.add_settings(parser, pruning=True)


def run(arguments: argparse.Namespace) -> int:
    target = options.targets([arguments.target], run=True) if arguments.target else None
    plan = json.loads(Plan.load(Path(arguments.plan)).to_json()) if arguments.plan else None
    if plan is not None and all(len(row["keep"]) == row["width"] for row in plan["groups"]):
        raise PlanError(f"{arguments.plan}: keeps every unit; there is nothing to prune.")
    row = training.do("distill", arguments, {"plan": plan, "target": target} | _teacher(arguments))
    if row.state != "finished":
        return 1
    print(as_text(Path(arguments.out)))
    return 0


def _teacher(arguments: argparse.Namespace) -> dict[str, Any]:
    """What names the teacher, without what was not given: the same command then means the same run as before."""
    settings = dict(options.pair(text, "--teacher-set") for text in arguments.teacher_set)
    given = {"teacher": arguments.teacher, "teacher_weights": arguments.teacher_weights, "teacher_settings": settings}
    if not arguments.teacher and (arguments.teacher_weights or settings):
        raise RunError("--teacher-weights and --teacher-set belong to a --teacher SPEC; name one.")
    return {name: value for name, value in given.items() if value}


def as_text(folder: Path) -> str:
    """Before and after, as the run measured them.

    Raises:
        StorageError: the run left no result.
    """
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        columns = {name: Measurement.from_dict(result[name], str(folder)) for name in ("dense", "pruned")}
        bundle, seconds = result["bundle"], float(result["seconds"])
        shortfall = result["plan"].get("shortfall", "")
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{folder}: holds no result of a run ({error}).") from error
    lines = [as_columns(columns), "", f"{seconds:.0f} s of training. The pruned model: {folder / bundle}"]
    if shortfall:
        lines.append(f"target not met: {shortfall}")
    return "\n".join(lines)
