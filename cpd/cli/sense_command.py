"""Cut every group for real, alone, at one width after another, and measure what that does to accuracy and latency.

Batch-norm statistics are taken anew after every cut; nothing is trained. With --out an interrupted scan goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from cpd.cli import options
from cpd.cli.progress import Bar
from cpd.errors import RunError
from cpd.importance.registry import CRITERIA, check_criteria
from cpd.runs.spec import RunSpec
from cpd.sensitivity.settings import SenseSettings
from cpd.sensitivity.staircase import treads
from cpd.sensitivity.table import SensitivityTable

HELP = "accuracy and latency when each group is cut alone"


def configure(parser: argparse.ArgumentParser) -> None:
    usual = SenseSettings()
    options.add_model(parser)
    options.add_data(parser, required=True)
    listed = " ".join(f"{ratio:g}" for ratio in usual.ratios)
    parser.add_argument(
        "--ratios", type=float, nargs="+", metavar="R", help=f"pruning ratios to try (default {listed})"
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help=f"held-out images at the most, 0 for all (default {usual.images})"
    )
    parser.add_argument(
        "--calibration", type=int, metavar="N",
        help=f"training images behind the batch-norm statistics (default {usual.calibration})",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=float, metavar="T",
        help=f"how well a metric has to be known, 0 to evaluate every image (default {usual.tolerance:g})",
    )  # fmt: skip
    parser.add_argument(
        "--floor", type=float, metavar="F", help="cut a group no further below this metric (default half of the dense)"
    )
    parser.add_argument(
        "--criterion", metavar="C", help=f"what chooses the units: {', '.join(CRITERIA)} (default {usual.criterion})"
    )
    parser.add_argument("--batch", type=int, metavar="N", help=f"of the latency, 0 for none (default {usual.batch})")
    parser.add_argument("--group", dest="groups", metavar="G", action="append", help="only this group; repeat")
    parser.add_argument("--multiple", type=int, metavar="N", help="kept widths are multiples of N")
    parser.add_argument("--seed", type=int, default=0, help="of the images chosen (default 0)")
    parser.add_argument("--out", metavar="DIR", default="", help="folder of the scan; the same command goes on there")
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from cpd.runs.worker import run_foreground

    given = {f.name: getattr(arguments, f.name, None) for f in fields(SenseSettings)}
    settings = SenseSettings.from_dict({name: value for name, value in given.items() if value is not None})
    check_criteria([settings.criterion])
    options.check_writable(arguments.json)
    spec = RunSpec(
        "sense",
        model=arguments.spec,
        weights=arguments.weights,
        settings=options.settings(arguments),
        data=arguments.data,
        device=arguments.device,
        seed=arguments.seed,
        options=settings.to_dict() | ({"pretrained": True} if arguments.pretrained else {}),
    ).anchored(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="cpd-sense-") as spare, Bar("widths") as bar:
        folder = Path(arguments.out or spare)
        row = run_foreground(folder, spec, _Watcher(bar))
        bar.clear()
        if row.state == "failed":
            raise RunError(row.error)
        if row.state != "finished":
            print(
                f"{row.state}; {'the same command goes on' if arguments.out else 'nothing is kept'}.", file=sys.stderr
            )
            return 1
        table = SensitivityTable.from_dict(json.loads((folder / "result.json").read_text()))
    if arguments.json:
        options.write_json(arguments.json, table.to_dict())
    if arguments.json != "-":
        print(as_text(table))
    return 0


def as_text(table: SensitivityTable) -> str:
    """A row a group: its metric at every width, and the widths that one tread of latency holds."""
    rows = [("group", "units", f"units kept: {table.metric}", "same latency")]
    for name, group in table.groups.items():
        if not group.points:
            continue
        curve = ", ".join(f"{p.kept}: {p.value:.1%}" for p in group.points[1:])
        stairs = " | ".join(" ".join(str(width) for width in tread) for tread in treads(group.points))
        rows.append((name, str(group.points[0].kept), curve or group.stopped, stairs))
    spread = f"{table.dense_low:.1%} to {table.dense_high:.1%}"
    head = f"dense: {table.metric} {table.dense:.2%} ({spread}) on {table.images} images"
    if table.calibration:
        head += f", statistics of {table.calibration} training images"
    if table.dense_latency_ms is not None:
        head += f"; {table.dense_latency_ms:.2f} ms at batch {table.batch}"
    return f"{head}\n{options.table(rows, right=(1,))}\n{table.seconds:.0f} s"


class _Watcher:
    """Shows a run that is done in this process."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        """The table at the end holds them all."""

    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any]) -> None:
        if kind in ("resume", "error"):
            self._bar.say(text)

    def progress(self, step: int, total: int) -> None:
        self._bar(step, total)
