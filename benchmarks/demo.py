"""The demos against their bars: pruned while distilling, on the built-in data.

For each demo one run with the target and the settings that the demo brings, then both networks measured in turn on this
machine, latency eager in float32.
Bars of classification: dense accuracy 97 % or more; a quarter of the MACs at most; the run takes five minutes at most; at
most 1.8 points lost; 2x or more at batch 32. Of segmentation: ten minutes at most; at most 5.1 points of mIoU lost; 1.89x
or more at batch 1 and at batch 32. The weights of each kind are 12 MB at most.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bench

MEGABYTES = 12.0  # of weights, of all demos of one kind


@dataclass(frozen=True)
class Bar:
    """What a demo has to hold; `batches` are those at which the speed-up counts."""

    dense: float
    points: float
    seconds: float
    speedup: float
    batches: tuple[int, ...]


BARS = {"classification": Bar(0.97, 1.8, 300.0, 2.0, (32,)), "segmentation": Bar(0.0, 5.1, 600.0, 1.89, (1, 32))}


class Printer:
    """The run's news on one line each."""

    def __init__(self) -> None:
        from cpd.distill.recorder import Silent

        self._silent = Silent()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._silent, name)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name.startswith("val/"):
                print(f"  step {step}: {name[4:]} {value:.2%}, MACs {values['cost/macs']:.1%}", file=sys.stderr, flush=True)


def run(demo: Any, quick: bool, changes: Mapping[str, Any]) -> dict[str, Any]:
    import cpd
    from cpd.distill.settings import TrainSettings
    from cpd.distill.trainer import train
    from cpd.measure import measure_all
    from cpd.tasks import load_task

    model, inputs = cpd.load_model(demo.model, demo.weights, settings=demo.settings)
    comb = cpd.comb(model, inputs)
    task = load_task(demo.data, inputs, demo.model)
    settings = TrainSettings.from_dict({**demo.run, **({"epochs": 3 if demo.task == "classification" else 1} if quick else {}), **changes})
    load, cpu = os.getloadavg()[0], time.process_time()
    trained = train(model, inputs, task, settings, Printer(), comb, target=demo.target)
    cpu = time.process_time() - cpu
    assert trained.plan is not None
    networks, keeps = {"dense": model, "pruned": trained.module}, {"dense": {}, "pruned": trained.plan.keep}
    found = measure_all(networks, inputs, task, record=comb.record, keeps=keeps, seconds=1.0 if quick else 4.0)
    dense, pruned = found["dense"], found["pruned"]
    assert dense.quality is not None
    assert pruned.quality is not None
    latency = {row.batch: (row.median_ms, other.median_ms) for row, other in zip(dense.latency, pruned.latency, strict=True)}
    return {
        "demo": demo.id,
        "task": demo.task,
        "metric": dense.metric,
        "dense_quality": dense.quality,
        "pruned_quality": pruned.quality,
        "best_quality": trained.best,
        "points_lost": 100 * (dense.quality - pruned.quality),
        "macs": pruned.macs / dense.macs,
        "target": dict(demo.target),
        "parameters": pruned.parameters / dense.parameters,
        "seconds": trained.seconds,
        "cpu_seconds": cpu,
        "load": load,
        "dense_ms": {b: ms[0] for b, ms in latency.items()},
        "pruned_ms": {b: ms[1] for b, ms in latency.items()},
        "speedup": {b: ms[0] / ms[1] for b, ms in latency.items()},
        "widths": {row.group: f"{len(row.keep)}/{row.width}" for row in trained.plan.groups if len(row.keep) < row.width},
        "settings": settings.to_dict(),
    }


def shortcomings(row: Mapping[str, Any], bar: Bar) -> list[str]:
    """What of the bar a demo's row misses."""
    holds = {
        "dense": row["dense_quality"] >= bar.dense,
        "MACs": row["macs"] <= row["target"]["macs"],
        "points lost": row["points_lost"] <= bar.points,
        "seconds": row["seconds"] <= bar.seconds,
        **{f"speed-up at batch {b}": row["speedup"][b] >= bar.speedup for b in bar.batches},
    }
    return [f"{row['demo']}: {what}" for what, held in holds.items() if not held]


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--only", default="", help="one demo's id")
    parser.add_argument("--setting", action="append", default=[], metavar="K=V", help="change a training setting; repeat")
    arguments = parser.parse_args()
    bench.begin(arguments)
    import json

    from cpd.tasks.demos import DEMOS

    pairs = dict(text.split("=", 1) for text in arguments.setting)
    changes = {k: json.loads(v) if v[:1] in "-0123456789{[tf" and v != "fisher" and v != "taylor" else v for k, v in pairs.items()}
    rows = [run(demo, arguments.quick, changes) for demo in DEMOS if arguments.only in ("", demo.id)]
    sizes = {task: sum(d.weights.stat().st_size for d in DEMOS if d.task == task) / 1e6 for task in BARS}
    head = ("demo", "metric", "dense", "pruned", "best", "lost, points", "MACs", "parameters", "run, s", "CPU, s", "load", "ms b1", "ms b32", "speed-up b1", "b32")
    bench.table(head, [
        (r["demo"], r["metric"], f"{r['dense_quality']:.2%}", f"{r['pruned_quality']:.2%}", f"{r['best_quality']:.2%}", f"{r['points_lost']:.2f}",
         f"{r['macs']:.1%}", f"{r['parameters']:.1%}", f"{r['seconds']:.0f}", f"{r['cpu_seconds']:.0f}", f"{r['load']:.1f}",
         f"{r['dense_ms'][1]:.2f} -> {r['pruned_ms'][1]:.2f}", f"{r['dense_ms'][32]:.1f} -> {r['pruned_ms'][32]:.1f}",
         f"{r['speedup'][1]:.2f}x", f"{r['speedup'][32]:.2f}x") for r in rows
    ])  # fmt: skip
    missed = [text for r in rows for text in shortcomings(r, BARS[r["task"]])]
    missed += [f"weights for {task} {size:.1f} MB" for task, size in sizes.items() if size > MEGABYTES]
    parts = []
    for task, bar in BARS.items():
        mine = [r for r in rows if r["task"] == task]
        if mine:
            slowest = min(r["speedup"][b] for r in mine for b in bar.batches)
            parts.append(
                f"{task}: at most {max(r['points_lost'] for r in mine):.2f} points lost, {slowest:.2f}x or more at batch "
                f"{' and '.join(map(str, bar.batches))}, {max(r['seconds'] for r in mine):.0f} s at most, weights {sizes[task]:.1f} MB"
            )
    figure = "; ".join(parts) + (f"; missed: {', '.join(missed)}." if missed else ".")
    return bench.end(arguments, {"rows": rows, "missed": missed, "megabytes": sizes}, figure, not missed)


if __name__ == "__main__":
    sys.exit(main())
