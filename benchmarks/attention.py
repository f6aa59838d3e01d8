"""What it is worth that heads may drop channels of their own, and query and key others than value.

On the trained demo transformer, only the channels inside heads are cut, at ratios that leave both sides the same MACs:
once with all heads of query, key and value dropping the same channels (slots), once with the freedom that the comb
finds (blocks and ties). Accuracy on the held-out images right after the cut, without any training, per criterion.
Bar: averaged over ratios and criteria, freedom keeps at least as much accuracy.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import bench

RATIOS = (0.25, 0.5, 0.625, 0.75)
CRITERIA = ("l2", "taylor", "fisher")


def measured(quick: bool) -> list[dict[str, Any]]:
    import cpd
    from cpd.comb.comb import comb
    from cpd.importance import score
    from cpd.measure.accuracy import accuracy
    from cpd.prune.cost import CostModel
    from cpd.tasks import load_task
    from cpd.tasks.demos import DEMOS

    demo = next(d for d in DEMOS if d.id == "digits-vit")
    model, inputs = cpd.load_model(demo.model, demo.weights, settings=demo.settings)
    task = load_task(demo.data, inputs)
    rows = []
    for rows_are in ("alike", "free"):
        result = comb(model, inputs, free_rows=rows_are == "free")
        costs = CostModel(result.record)
        batches = task.train_batches(32, augment=False)
        ranks = score(model, result.record, batches, CRITERIA, 2 if quick else 8)
        names = [g.name for g in result.groups if g.prunable and ":channels" in g.name]
        for criterion in CRITERIA:
            for ratio in RATIOS:
                plan = cpd.plan_ratios(result, dict.fromkeys(names, ratio), ranks[criterion].groups)
                pruned = cpd.prune(model, result, plan)
                share = costs.price(plan.keep).share_of(costs.dense)["macs"]
                top1 = accuracy(pruned, task)
                rows.append({"rows": rows_are, "criterion": criterion, "ratio": ratio, "macs": share, "top1": top1})
    return rows


def main() -> int:
    arguments = bench.options(__doc__).parse_args()
    bench.begin(arguments)
    rows = measured(arguments.quick)
    free = {(r["criterion"], r["ratio"]): r for r in rows if r["rows"] == "free"}
    alike = {(r["criterion"], r["ratio"]): r for r in rows if r["rows"] == "alike"}
    head = ("criterion", "ratio inside heads", "MACs alike", "MACs free", "top-1 alike", "top-1 free", "gain, points")
    bench.table(head, [
        (c, f"{r:.3f}", f"{alike[c, r]['macs']:.3f}", f"{free[c, r]['macs']:.3f}", f"{alike[c, r]['top1']:.2%}", f"{free[c, r]['top1']:.2%}",
         f"{100 * (free[c, r]['top1'] - alike[c, r]['top1']):+.2f}") for c, r in free
    ])  # fmt: skip
    gains = [100 * (free[key]["top1"] - alike[key]["top1"]) for key in free]
    gain = statistics.mean(gains)
    figure = f"Free rows keep {gain:+.2f} points more accuracy on average ({min(gains):+.2f} to {max(gains):+.2f}) at equal MACs."
    return bench.end(arguments, {"rows": rows, "mean_gain_points": gain}, figure, gain >= 0)


if __name__ == "__main__":
    sys.exit(main())
