"""What the solver's plan keeps before any training, beside uniform pruning and one global threshold of L2 norms.

ResNet-20 on CIFAR-10, cut to half of its multiply-accumulates by each rule. All plans take the same units of a group (L2
over all its slices), are really cut, and get batch-norm statistics anew from the same training images; nothing is trained.
The solver sees sensitivities measured on one part of the held-out images; accuracy is that of other ones. Three splits.
Bar: at the same MACs the solver keeps more than every rival in every split, and plans 150 groups in under 2 s.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import bench

SHARED = bench.ROOT.parent / "shared" / "data"
SPEC = f"{bench.ROOT / 'tests' / 'comb' / 'cifar_resnet.py'}:resnet20"
WEIGHTS = SHARED / "weights" / "resnet20-cifar10-jpeg.safetensors"
SHARE, BAR_S = 0.5, 2.0


class Part:
    """A task with some of its held-out images."""

    def __init__(self, task: Any, images: Any, targets: Any) -> None:
        self.task, self.images, self.targets = task, images, targets

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    @property
    def val_images(self) -> int:
        return len(self.targets)

    def val_batches(self, batch_size: int) -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(self.targets), batch_size):
            yield self.images[start : start + batch_size], self.targets[start : start + batch_size]


def compared(splits: int, seen: int, judged: int) -> list[dict[str, Any]]:
    """A row a split and rule."""
    import torch

    import cpd
    from cpd.importance.scoring import score
    from cpd.measure.accuracy import accuracy
    from cpd.measure.recalibrate import recalibrate
    from cpd.prune.cost import CostModel
    from cpd.prune.plan import plan_ratios, uniform_plan
    from cpd.prune.predict import AccuracyModel
    from cpd.prune.presets import preset
    from cpd.prune.solve import plan_for_target
    from cpd.sensitivity.sample import calibration
    from cpd.sensitivity.scan import scan
    from cpd.sensitivity.settings import SenseSettings
    from cpd.tasks import load_task

    model, inputs = cpd.load_model(SPEC, WEIGHTS)
    comb = cpd.comb(model, inputs)
    record, costs = comb.record, CostModel(comb.record)
    ranks = score(model, record, None, ["l2"])["l2"].groups
    task = load_task(f"parquet:{SHARED / 'cifar10-jpeg'}", inputs, SPEC)
    batches = list(task.val_batches(500))
    images, targets = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    target = {"macs": SHARE}
    rows = []
    for split in range(splits):
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(split))
        first, rest = order[:seen], order[seen : seen + judged]
        settings = SenseSettings(ratios=(0.25, 0.5, 0.75, 0.9), images=0, batch=0)
        table = scan(model, inputs, comb, Part(task, images[first], targets[first]), ranks, settings, seed=split)
        predicted = AccuracyModel(record, table)
        started = time.perf_counter()
        solved = plan_for_target(record, ranks, target, criterion="l2", accuracy=predicted)
        seconds = time.perf_counter() - started
        whole = preset("importance", record, ranks, target=target, scaled=False).ratios
        mean = preset("importance", record, ranks, target=target).ratios
        level = preset("uniform", record, ranks, target=target).ratios
        plans = {
            "dense": uniform_plan(record, 0.0),
            "solver": solved,
            "uniform": plan_ratios(record, level, ranks),
            "global L2": plan_ratios(record, whole, ranks),
            "global L2, groups scaled": plan_ratios(record, mean, ranks),
            "by L2, no sensitivities": plan_for_target(record, ranks, target),
        }
        judge = Part(task, images[rest], targets[rest])
        for rule, plan in plans.items():
            network = cpd.prune(model, comb, plan)
            recalibrate(network, calibration(task, 512, split))
            expected = predicted.estimate(plan.keep)
            rows.append({
                "split": split, "rule": rule, "top1": accuracy(network, judge), "images": len(rest),
                "macs": costs.price(plan.keep).macs / costs.dense.macs,
                "predicted": expected.value, "low": expected.low, "high": expected.high,
                "scan_s": table.seconds, "solve_s": seconds,
            })  # fmt: skip
    return rows


def seconds_at_150_groups() -> dict[str, float]:
    """The solver's time on HRNet-W32 (148 groups to cut), its curves and milliseconds made up: only the time is of use.

    Seconds of the processor, on one of its cores: they do not run on while others have it.
    """
    import numpy as np

    import cpd
    from cpd.prune.latency import LatencyModel, LatencyTable, OperatorTime, Term
    from cpd.prune.predict import AccuracyModel
    from cpd.prune.solve import plan_for_target

    record = cpd.comb(*cpd.load_model("timm:hrnet_w32")).record
    rng = np.random.default_rng(0)
    scores = {g.name: rng.random(g.width) + 0.01 for g in record.groups}

    def points(width: int) -> list[SimpleNamespace]:
        weight = rng.gamma(1.0, 0.1)
        return [
            SimpleNamespace(kept=max(1, round(width * s)), value=0.9 - weight * (1 - s) ** 2, images=1000, deviation=0.005)
            for s in (1.0, 0.75, 0.5, 0.25, 0.1)
        ]

    groups = {g.name: SimpleNamespace(points=points(g.width)) for g in record.groups if g.prunable}
    table: Any = SimpleNamespace(model=record.model, metric="top1", dense=0.9, images=1000, groups=groups)
    operators = tuple(
        OperatorTime(o.name, o.module, o.operator, (
            Term(0.01), Term(5e-9 * o.factor, o.extents, (1,) * len(o.extents)),
            Term(5e-9 * o.factor, o.extents, (16,) * len(o.extents)),
        )) for o in record.operators
    )  # fmt: skip
    times = LatencyTable(record.model, 1, "cpu", "", "", 1, "float32", operators)
    latency, accuracy = LatencyModel(record, times), AccuracyModel(record, table)
    whole_ms = latency.estimate({}).value
    found = {}
    for name, target in {"macs": 0.5, "params": 0.4, "latency_ms": 0.5 * whole_ms}.items():
        started = time.process_time()
        plan_for_target(record, scores, {name: target}, accuracy=accuracy, latency=latency, floor=0.02)
        found[name] = time.process_time() - started
    return found


def main() -> int:
    parser = bench.options(__doc__)
    arguments = parser.parse_args()
    bench.begin(arguments)
    if not WEIGHTS.is_file():
        print(f"{WEIGHTS} is not there: nothing to measure.")
        return 0
    quick = arguments.quick
    rows = compared(*((1, 512, 1000) if quick else (3, 1024, 3000)))
    bench.table(
        ("split", "rule", "MACs", "top-1", "predicted", "90 % interval"),
        [
            (r["split"], r["rule"], f"{r['macs']:.3f}", f"{r['top1']:.2%}", f"{r['predicted']:.1%}",
             f"{r['low']:.1%}..{r['high']:.1%}") for r in rows
        ],
    )  # fmt: skip
    seconds = seconds_at_150_groups()
    print("solver at 150 groups:", ", ".join(f"{name} {s:.2f} s" for name, s in seconds.items()))
    leads = []
    for split in sorted({r["split"] for r in rows}):
        of = {r["rule"]: r["top1"] for r in rows if r["split"] == split}
        leads.append(of["solver"] - max(top for rule, top in of.items() if rule not in ("solver", "dense")))
    inside = [r["low"] <= r["top1"] <= r["high"] for r in rows if r["rule"] != "dense"]
    figure = (
        f"At half of the MACs the solver keeps {min(leads) * 100:+.1f} to {max(leads) * 100:+.1f} points of top-1 against the "
        f"best rival over {len(leads)} split(s); {sum(inside)} of {len(inside)} predictions hold what was measured in their "
        f"interval; {max(seconds.values()):.2f} s for 150 groups."
    )
    return bench.end(arguments, {"rows": rows, "seconds": seconds}, figure, min(leads) > 0 and max(seconds.values()) < BAR_S)


if __name__ == "__main__":
    sys.exit(main())
