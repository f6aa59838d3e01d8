"""Does rounding widths to multiples pay? Plans for the same quarter of the MACs, measured side by side.

Kernels work on vectors of 8 or 16 channels; a width of 65 costs them as much as one of 72 or 80. Every plan here costs
the same multiply-accumulates by arithmetic; what differs is the clock. All models are timed in turn, pass by pass.
Bar: rounding is worth 5 % or more at batch 32 on one of the demos.
"""

from __future__ import annotations

import sys
from typing import Any

import bench

MULTIPLES = (1, 4, 8, 16, 32)
BAR = 1.05


def measured(quick: bool, share: float) -> list[dict[str, Any]]:
    import cpd
    from cpd.importance import score
    from cpd.measure.latency import latencies
    from cpd.prune.cost import CostModel
    from cpd.prune.plan import Constraints
    from cpd.prune.solve import plan_for_target
    from cpd.tasks.demos import DEMOS

    rows = []
    for demo in DEMOS:
        model, inputs = cpd.load_model(demo.model, demo.weights if demo.weights.is_file() else None, settings=demo.settings)
        comb = cpd.comb(model, inputs)
        costs = CostModel(comb.record)
        ranks = score(model, comb.record, None, ["l2"])["l2"].groups
        networks, shares = {"dense": model}, {"dense": 1.0}
        for multiple in MULTIPLES:
            plan = plan_for_target(comb.record, ranks, {"macs": share}, Constraints(multiple=multiple), chunks=64)
            name = f"multiple {multiple}"
            networks[name] = cpd.prune(model, comb, plan)
            shares[name] = costs.price(plan.keep).share_of(costs.dense)["macs"]
        for batch in (1, 32):
            for name, row in latencies(networks, inputs, batch, seconds=1.0 if quick else 4.0).items():
                rows.append({"demo": demo.id, "batch": batch, "widths": name, "macs": shares[name]} | {
                    "median_ms": row.median_ms, "p10_ms": row.p10_ms, "p90_ms": row.p90_ms
                })  # fmt: skip
    return rows


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--share", type=float, default=0.25, help="share of the MACs that stays")
    arguments = parser.parse_args()
    bench.begin(arguments)
    rows = measured(arguments.quick, arguments.share)
    dense = {(r["demo"], r["batch"]): r["median_ms"] for r in rows if r["widths"] == "dense"}
    plain = {(r["demo"], r["batch"]): r["median_ms"] for r in rows if r["widths"] == "multiple 1"}
    for row in rows:
        key = (row["demo"], row["batch"])
        row |= {"speedup": dense[key] / row["median_ms"], "over_plain": plain[key] / row["median_ms"]}
    head = ("demo", "batch", "widths", "MACs", "median ms", "p10..p90", "speed-up", "against multiple 1")
    bench.table(head, [
        (r["demo"], r["batch"], r["widths"], f"{r['macs']:.3f}", f"{r['median_ms']:.2f}", f"{r['p10_ms']:.2f}..{r['p90_ms']:.2f}",
         f"{r['speedup']:.2f}x", f"{r['over_plain']:.2f}x") for r in rows
    ])  # fmt: skip
    best = max((r for r in rows if r["batch"] == 32 and r["widths"] != "dense"), key=lambda r: r["over_plain"])
    figure = f"Best at batch 32: {best['demo']} with {best['widths']}, {best['over_plain']:.2f}x against unrounded widths of the same MACs."
    return bench.end(arguments, {"rows": rows}, figure, best["over_plain"] >= BAR)


if __name__ == "__main__":
    sys.exit(main())
