"""The traced graph beside the module it came from: same weights, nothing cut, eager mode, timed in turn.

A pruned model is the traced graph with smaller tensors; cutting pays only if the graph itself costs nothing.
Bar: at every batch size the graph runs at 0.95 of the dense module's speed or better, in the median over the models.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import bench

MODELS = (
    "resnet18",
    "mobilenetv3_small_050",
    "convnext_atto",
    "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "densenet121",
)
BATCHES = (1, 8)
BAR = 0.95


def measured(names: tuple[str, ...], seconds: float) -> list[dict[str, Any]]:
    import torch

    import cpd
    from cpd.measure.latency import latencies

    rows = []
    for name in names:
        model, inputs = cpd.load_model(f"timm:{name}")
        comb = cpd.comb(model, inputs)
        whole = cpd.prune(model, comb, cpd.uniform_plan(comb, ratio=0.0))
        with torch.inference_mode():
            same = bool(torch.equal(whole(*inputs), model(*inputs)))
        for batch in BATCHES:
            times = latencies({"dense": model, "graph": whole}, inputs, batch, seconds=seconds)
            dense, graph = times["dense"].median_ms, times["graph"].median_ms
            rows.append(
                {
                    "model": name,
                    "batch": batch,
                    "dense_ms": dense,
                    "graph_ms": graph,
                    "speed": dense / graph,
                    "same": same,
                }
            )
    return rows


def main() -> int:
    arguments = bench.options(__doc__).parse_args()
    bench.begin(arguments)
    rows = measured(MODELS[:3] if arguments.quick else MODELS, 2.0 if arguments.quick else 6.0)
    head = ("model", "batch", "dense ms", "graph ms", "speed of the graph", "outputs equal")
    bench.table(head, [
        (r["model"], r["batch"], f"{r['dense_ms']:.2f}", f"{r['graph_ms']:.2f}", f"{r['speed']:.2f}x", r["same"]) for r in rows
    ])  # fmt: skip
    medians = {b: statistics.median(r["speed"] for r in rows if r["batch"] == b) for b in BATCHES}
    figure = "The graph's speed in the median: " + ", ".join(f"{s:.2f}x at batch {b}" for b, s in medians.items()) + "."
    return bench.end(arguments, {"rows": rows, "medians": medians}, figure, min(medians.values()) >= BAR)


if __name__ == "__main__":
    sys.exit(main())
