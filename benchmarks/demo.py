"""The demos against their bars: pruned to a quarter of the MACs while distilling, on the built-in digits.

For each demo one run with the settings that the demo brings, then both networks measured in turn on this machine.
Bars: dense accuracy 97 % or more; the run takes five minutes at most; at most 1.8 points of accuracy lost; latency at
batch 32, eager, float32, half or less; weights of both demos 12 MB at most.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bench

MACS, SECONDS, POINTS, SPEEDUP, DENSE, MEGABYTES = 0.25, 300.0, 1.8, 2.0, 0.97, 12.0


class Printer:
    """The run's news on one line each."""

    def __init__(self) -> None:
        from cpd.distill.recorder import Silent

        self._silent = Silent()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._silent, name)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if "val/top1" in values:
            print(f"  step {step}: top-1 {values['val/top1']:.2%}, MACs {values['cost/macs']:.1%}", file=sys.stderr, flush=True)


def run(demo: Any, quick: bool, changes: Mapping[str, Any], dense_top1: float | None = None) -> dict[str, Any]:
    import cpd
    from cpd.distill.settings import TrainSettings
    from cpd.distill.trainer import train
    from cpd.measure import measure_all
    from cpd.tasks import load_task

    model, inputs = cpd.load_model(demo.model, demo.weights, settings=demo.settings)
    comb = cpd.comb(model, inputs)
    task = load_task(demo.data, inputs, demo.model)
    settings = TrainSettings.from_dict({**demo.run, **({"epochs": 3} if quick else {}), **changes})
    load, cpu = os.getloadavg()[0], time.process_time()
    trained = train(model, inputs, task, settings, Printer(), comb, target={"macs": MACS})
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
        "dense_top1": dense.quality,
        "pruned_top1": pruned.quality,
        "best_top1": trained.best,
        "points_lost": 100 * (dense.quality - pruned.quality),
        "macs": pruned.macs / dense.macs,
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
    size = sum(Path(demo.weights).stat().st_size for demo in DEMOS if demo.weights.is_file()) / 1e6
    head = ("demo", "top-1 dense", "pruned", "best", "lost, points", "MACs", "parameters", "run, s", "CPU, s", "load", "ms b1", "ms b32", "speed-up b1", "b32")
    bench.table(head, [
        (r["demo"], f"{r['dense_top1']:.2%}", f"{r['pruned_top1']:.2%}", f"{r['best_top1']:.2%}", f"{r['points_lost']:.2f}", f"{r['macs']:.1%}",
         f"{r['parameters']:.1%}", f"{r['seconds']:.0f}", f"{r['cpu_seconds']:.0f}", f"{r['load']:.1f}", f"{r['dense_ms'][1]:.2f} -> {r['pruned_ms'][1]:.2f}",
         f"{r['dense_ms'][32]:.1f} -> {r['pruned_ms'][32]:.1f}", f"{r['speedup'][1]:.2f}x", f"{r['speedup'][32]:.2f}x") for r in rows
    ])  # fmt: skip
    missed = [
        f"{r['demo']}: {what}"
        for r in rows
        for what, holds in {
            "dense accuracy": r["dense_top1"] >= DENSE,
            "MACs": r["macs"] <= MACS,
            "points lost": r["points_lost"] <= POINTS,
            "seconds": r["seconds"] <= SECONDS,
            "speed-up at batch 32": r["speedup"][32] >= SPEEDUP,
        }.items()
        if not holds
    ] + ([f"weights {size:.1f} MB"] if size > MEGABYTES else [])
    worst = min(rows, key=lambda r: r["speedup"][32])
    figure = (
        f"A quarter of the MACs: at most {max(r['points_lost'] for r in rows):.2f} points lost, {worst['speedup'][32]:.2f}x or more at "
        f"batch 32, {max(r['seconds'] for r in rows):.0f} s at most, weights {size:.1f} MB" + (f"; missed: {', '.join(missed)}." if missed else ".")
    )
    return bench.end(arguments, {"rows": rows, "missed": missed, "megabytes": size}, figure, not missed)


if __name__ == "__main__":
    sys.exit(main())
