"""How far estimates of latency are off, over random plans of five architectures that were not fitted.

Each model is profiled from nothing (no cache). Its held-out plans, really cut, are timed whole in turns with the networks
that the profile learns from, so that a busy moment falls on all of them: that is the estimate's error. Then new plans are
cut and timed afterwards, when the machine's mood is another; the dense network timed beside them says by how much, and what
is left is shown next to it. One thread on the processor is timed by the time that it computed, which does not run on while
others have the core. Rivals on the later plans: milliseconds in proportion to the multiply-accumulates, and the best line
through their MACs, fitted to these very plans.
Bar: the median error over the held-out plans is 15 % or less for every architecture.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench

MODELS = ("digits-cnn", "digits-vit", "timm:mobilenetv3_small_100", "timm:convnext_atto", "timm:resnet50")
BAR = 0.15


def loaded(name: str) -> tuple[Any, Any]:
    import cpd
    from cpd.tasks.demos import DEMOS

    demo = next((d for d in DEMOS if d.id == name), None)
    return cpd.load_model(name) if demo is None else cpd.load_model(demo.model, settings=demo.settings)


def measured(name: str, batch: int, seconds: float, plans: int) -> dict[str, Any]:
    import numpy as np
    import torch

    import cpd
    from cpd.measure.latency import batch_of
    from cpd.measure.operators import profile
    from cpd.measure.timings import Timings
    from cpd.prune.cost import CostModel
    from cpd.prune.latency import LatencyModel
    from cpd.prune.plan import Constraints, plan_ratios

    model, inputs = loaded(name)
    comb = cpd.comb(model, inputs)
    with tempfile.TemporaryDirectory() as folder:
        table = profile(model, inputs, comb, batch=batch, seconds=seconds, seed=0, held_out=plans, timings=Timings("", Path(folder)))
    estimates, costs = LatencyModel(comb.record, table), CostModel(comb.record)

    rng = np.random.default_rng(99)
    keeps = []
    for _ in range(plans):
        middle, multiple = rng.random() * 0.8, int(rng.choice([1, 8]))
        ratios = {g.name: float(np.clip(rng.normal(middle, 0.25), 0, 0.95)) for g in comb.groups if g.prunable}
        keeps.append(plan_ratios(comb, ratios, constraints=Constraints(multiple=multiple)))
    networks = [cpd.prune(model, comb, plan_ratios(comb, {})), *(cpd.prune(model, comb, plan) for plan in keeps)]
    sample = batch_of(inputs, batch, torch.device("cpu"))
    now = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for network in networks:
            network.eval()(*sample)
        deadline = time.perf_counter() + seconds / 2
        while len(times[0]) < 7 or (time.perf_counter() < deadline and len(times[0]) < 40):
            for network, row in list(zip(networks, times, strict=True))[:: 1 if len(times[0]) % 2 else -1]:
                network(*sample)  # a network that is at work finds its weights in the cache
                start = now()
                network(*sample)
                row.append((now() - start) * 1e3)
    whole = [float(np.median(row)) for row in times]
    drift = table.dense_ms / whole[0]
    truth = np.array(whole[1:]) * drift
    guesses = [estimates.estimate(plan.keep) for plan in keeps]
    found = np.array([g.value for g in guesses])
    checks = np.abs([check.error for check in table.checks])
    macs = np.array([costs.price(plan.keep).macs for plan in keeps]) / costs.dense.macs
    # The line is fitted to these very plans, which favours it.
    line = np.polyfit(macs, truth, 1, w=1 / truth)

    def off(values: Any) -> float:
        return float(np.median(np.abs(values / truth - 1)))

    return {
        "model": name, "batch": batch, "plans": plans, "dense_ms": table.dense_ms, "profile_s": table.seconds,
        "off": float(np.median(checks)), "worst": float(checks.max()), "later_off": off(found),
        "inside": sum(bool(g.low <= t <= g.high) for g, t in zip(guesses, truth, strict=True)),
        "macs_off": off(macs * table.dense_ms), "line_off": off(np.polyval(line, macs)), "drift": drift,
        "estimated_ms": found.tolist(), "measured_ms": truth.tolist(),
    }  # fmt: skip


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--batch", type=int, default=1, help="samples in a pass")
    parser.add_argument("models", nargs="*", default=list(MODELS), help="timm:NAME or a demo's name")
    arguments = parser.parse_args()
    bench.begin(arguments)
    chosen = arguments.models[:3] if arguments.quick else arguments.models
    rows = [measured(name, arguments.batch, *((8.0, 8) if arguments.quick else (25.0, 16))) for name in chosen]
    head = (
        "model", "dense ms", "profile s", "median error", "worst", "later: median error", "in its interval", "drift",
        "by MACs alone", "best line through MACs",
    )  # fmt: skip
    bench.table(head, [
        (r["model"], f"{r['dense_ms']:.2f}", f"{r['profile_s']:.0f}", f"{r['off']:.1%}", f"{r['worst']:.1%}",
         f"{r['later_off']:.1%}", f"{r['inside']} of {r['plans']}", f"{r['drift']:.2f}", f"{r['macs_off']:.1%}", f"{r['line_off']:.1%}") for r in rows
    ])  # fmt: skip
    worst = max(rows, key=lambda r: r["off"])
    inside = sum(r["inside"] for r in rows) / sum(r["plans"] for r in rows)
    figure = (
        f"Median error {min(r['off'] for r in rows):.1%} to {worst['off']:.1%} over {len(rows)} architectures; of times measured "
        f"later {inside:.0%} lie in the estimate's 90 % interval."
    )
    return bench.end(arguments, {"rows": rows}, figure, worst["off"] <= BAR)


if __name__ == "__main__":
    sys.exit(main())
