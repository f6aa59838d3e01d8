"""Which criterion knows best what can go: accuracy right after a cut, without any training.

The ResNet-20 on CIFAR-10 photographs (from ../shared/data, left out where that is absent) and the demo transformer lose
the same share of every group, 10 to 70 %, by each criterion; batch-norm statistics are re-estimated from training images
(the transformer has none), and held-out images tell what is left. Uniform shares, so that only the order within groups
counts. Controls: random, over several seeds, and L1.
Bar: averaged over the shares, every criterion beats the random control on both networks.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import bench

SHARED = bench.ROOT.parent / "shared" / "data"
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
BATCH = 32
SCORED, ATTRIBUTED = 8, 2  # batches behind scores; attributions cost a hundred passes each
NORMED = 8  # batches behind re-estimated statistics
TESTED = 1000  # held-out images, of CIFAR-10; the digits have 454


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    weights: Path
    settings: dict[str, Any]
    data: str


def cases() -> Iterator[Case]:
    from cpd.tasks.demos import DEMOS

    weights = SHARED / "weights" / "resnet20-cifar10-jpeg.safetensors"
    if weights.exists():
        file = bench.ROOT / "tests" / "comb" / "cifar_resnet.py"
        yield Case("ResNet-20, CIFAR-10", f"{file}:resnet20", weights, {}, f"parquet:{SHARED / 'cifar10-jpeg'}")
    else:
        print(f"{weights} is not there: only the demo transformer is measured.")
    demo = next(d for d in DEMOS if d.id == "digits-vit")
    yield Case(demo.title, demo.model, demo.weights, dict(demo.settings), demo.data)


def measured(case: Case, quick: bool) -> list[dict[str, Any]]:
    import cpd
    from cpd.importance import CRITERIA, score
    from cpd.importance.registry import unfit
    from cpd.importance.stability import stability
    from cpd.measure.recalibrate import recalibrate
    from cpd.prune.cost import CostModel
    from cpd.tasks import load_task

    model, inputs = cpd.load_model(case.model, str(case.weights), settings=case.settings)
    task = load_task(case.data, inputs)
    comb = cpd.comb(model, inputs)
    costs = CostModel(comb.record)
    tested = list(islice(task.val_batches(100), (500 if quick else TESTED) // 100))
    images = sum(len(targets) for _, targets in tested)
    normed = [x for x, _ in islice(task.train_batches(BATCH, seed=1, augment=False), NORMED)]
    ratios = RATIOS[1::2] if quick else RATIOS

    def row(criterion: str, seed: int, scores: Any, ratio: float, about: dict[str, Any]) -> dict[str, Any]:
        plan = cpd.uniform_plan(comb, ratio, scores)
        cut = cpd.prune(model, comb, plan)
        recalibrate(cut, normed)
        share = costs.price(plan.keep).share_of(costs.dense)["macs"]
        about = about | {"criterion": criterion, "seed": seed, "ratio": ratio, "macs": share}
        return about | {"network": case.name, "top1": accuracy(cut, tested), "tested": images}

    rows = [{"network": case.name, "criterion": "dense", "top1": accuracy(model, tested), "tested": images}]
    for name, entry in CRITERIA.items():
        if unfit(name, comb.record) or (quick and entry.reads == "attributions"):
            continue
        count = ATTRIBUTED if entry.reads == "attributions" else 4 if quick else SCORED
        for seed in range(3 if name == "random" else 1):
            start = time.perf_counter()
            data = task.train_batches(BATCH, seed=0, augment=False)
            table = score(model, comb.record, data, [name], count, seed, loss=task.loss, comb=comb)[name]
            steady = [v for g, v in stability(table.parts).items() if comb.record.by_name[g].prunable and v == v]
            about = {
                "seconds": time.perf_counter() - start,
                "images": table.batches * BATCH,
                "stability": statistics.mean(steady) if steady else None,
            }
            rows += [row(name, seed, table.groups, ratio, about) for ratio in ratios]
        print(f"  {case.name}: {name}", file=sys.stderr, flush=True)
    return rows


def accuracy(module: Any, batches: list[Any]) -> float:
    import torch

    right = total = 0
    module.eval()
    with torch.inference_mode():
        for images, targets in batches:
            right += int((module(images).argmax(1) == targets).sum())
            total += len(targets)
    return right / total


def show(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The table of one network; returns the mean over the shares for every criterion."""
    from cpd.importance import CRITERIA

    dense = next(r for r in rows if r["criterion"] == "dense")
    ratios = sorted({r["ratio"] for r in rows if "ratio" in r})
    share = {r["ratio"]: r["macs"] for r in rows if "ratio" in r}
    print(f"\n{dense['network']}, dense {dense['top1']:.2%} on {dense['tested']} images; MACs left: "
          + ", ".join(f"{share[r]:.0%} at {r:.0%}" for r in ratios) + "\n")  # fmt: skip
    means, lines = {}, []
    for name in dict.fromkeys(r["criterion"] for r in rows if "ratio" in r):
        some = [r for r in rows if r["criterion"] == name]
        by_ratio = {ratio: [r["top1"] for r in some if r["ratio"] == ratio] for ratio in ratios}
        means[name] = statistics.mean(statistics.mean(values) for values in by_ratio.values())
        cells = [f"{100 * statistics.mean(values):.1f}" for values in by_ratio.values()]
        seeds = len({r["seed"] for r in some})
        if seeds > 1:
            cells = [
                f"{c} ({100 * min(v):.0f} to {100 * max(v):.0f})" for c, v in zip(cells, by_ratio.values(), strict=True)
            ]
        steady = some[0]["stability"]
        lines.append((means[name], [CRITERIA[name].title + (f", {seeds} seeds" if seeds > 1 else ""), *cells, f"{100 * means[name]:.1f}",
                                    some[0]["images"] or "-", "-" if steady is None else f"{steady:.2f}", f"{some[0]['seconds']:.1f}"]))  # fmt: skip
    head = ("criterion", *(f"{r:.0%} cut" for r in ratios), "mean", "images scored", "stability", "s")
    bench.table(head, [line for _, line in sorted(lines, key=lambda item: -item[0])])
    return means


def main() -> int:
    arguments = bench.options(__doc__).parse_args()
    bench.begin(arguments)
    rows: list[dict[str, Any]] = []
    behind, said = [], []
    for case in cases():
        found = measured(case, arguments.quick)
        means = show(found)
        rows += found
        best = max(means, key=lambda name: means[name])
        behind += [f"{name} on {case.name}" for name in means if name != "random" and means[name] <= means["random"]]
        said.append(f"{case.name}: {best} keeps {100 * means[best]:.1f} % on average, L1 {100 * means['l1']:.1f}, "
                    f"random {100 * means['random']:.1f}")  # fmt: skip
    figure = "\n" + "; ".join(said) + f". No better than random: {', '.join(behind) or 'none'}."
    return bench.end(arguments, {"rows": rows, "behind": behind}, figure, not behind)


if __name__ == "__main__":
    sys.exit(main())
