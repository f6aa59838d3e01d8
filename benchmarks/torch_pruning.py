"""Against Torch-Pruning 1.6.1 on the demo CNN: same MACs, same budget of fine-tuning, three seeds.

Torch-Pruning prunes as its own examples do: GroupTaylorImportance from a few batches, iterative steps with the same
ratio in every layer, until a quarter of the MACs is left. Its network is then fine-tuned with exactly our budget: same
steps, batches, augmentation, optimizer, learning rates; once with labels alone, as its examples do, and once with our
distillation loss from the same teacher, so that what is compared is the pruning. Ours prunes within the budget.
Accuracy is that of the last step, never of the best one. Widths are not rounded, on either side.

On digits a quarter of the MACs costs next to nothing; `--shares 0.25 0.05` also measures a twentieth, where methods part.
Bar: our mean is not below either of theirs by more than the standard error of the difference, at the first share.
"""

from __future__ import annotations

import copy
import math
import statistics
import sys
from dataclasses import replace
from typing import Any

import bench

# The second is what a budget this short asks for: fewer cuts, sooner over, and more steps to recover. The bar is its.
OURS: dict[str, dict[str, Any]] = {
    "CPD Studio, interval": {},
    "CPD Studio, few-step": {"schedule": "few-step", "cut_share": 0.3},
}


def pruned_by_torch_pruning(model: Any, inputs: Any, task: Any, share: float, seed: int) -> Any:
    import torch
    import torch_pruning as tp

    from cpd.measure.macs import counted_macs

    torch.manual_seed(seed)
    net = copy.deepcopy(model).eval()
    example = inputs[0][:1]
    dense = counted_macs(net, (example,))
    head = net.get_classifier()
    importance = tp.importance.GroupTaylorImportance()
    pruner = tp.pruner.BasePruner(
        net, example, importance=importance, pruning_ratio=0.95, iterative_steps=100, ignored_layers=[head], global_pruning=False
    )
    while counted_macs(net, (example,)) > share * dense:
        net.zero_grad()
        batches = task.train_batches(64, seed, augment=False)
        for _, (images, targets) in zip(range(2), batches, strict=False):  # gradients at the widths of this step
            task.loss(net(images), targets).backward()
        before = counted_macs(net, (example,))
        for _ in range(20):  # a step of one ratio may remove nothing from narrow layers
            pruner.step()
            if counted_macs(net, (example,)) < before:
                break
    net.zero_grad()
    return net


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="steps of fine-tuning, and of ours in all")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25])
    arguments = parser.parse_args()
    bench.begin(arguments)
    if arguments.quick:
        arguments.seeds, arguments.steps, arguments.shares = 1, 30, [0.25]

    import torch_pruning

    import cpd
    from cpd.distill.settings import TrainSettings
    from cpd.distill.trainer import train
    from cpd.measure.macs import counted_macs
    from cpd.tasks import load_task
    from cpd.tasks.demos import DEMOS

    demo = next(d for d in DEMOS if d.id == "digits-cnn")
    model, inputs = cpd.load_model(demo.model, demo.weights, settings=demo.settings)
    task = load_task(demo.data, inputs, demo.model)
    comb = cpd.comb(model, inputs)
    dense = counted_macs(model, inputs)
    runs: list[dict[str, Any]] = []
    for share in arguments.shares:
        for seed in range(arguments.seeds):
            settings = TrainSettings(steps=arguments.steps, seed=seed, lr=1e-3, evaluate_every=arguments.steps)
            theirs = pruned_by_torch_pruning(model, inputs, task, share, seed)
            cut = counted_macs(theirs, inputs) / dense
            for name, teacher in (("Torch-Pruning, labels", None), ("Torch-Pruning, distilled", model)):
                result = train(theirs, inputs, task, settings, teacher=teacher)
                runs.append({"method": name, "share": share, "seed": seed, "macs": cut, "top1": result.last, "seconds": result.seconds})
            for name, schedule in OURS.items():
                changed = replace(settings, **schedule)
                ours = train(model, inputs, task, changed, comb=comb, target={"macs": cut})  # never more MACs than theirs
                macs = counted_macs(ours.module, inputs) / dense
                runs.append({"method": name, "share": share, "seed": seed, "macs": macs, "top1": ours.last, "seconds": ours.seconds})
            for row in runs[-2 - len(OURS) :]:
                print(f"  {row['method']}, seed {seed}: MACs {row['macs']:.1%}, top-1 {row['top1']:.2%}", file=sys.stderr, flush=True)

    rows = []
    for share in arguments.shares:
        for method in dict.fromkeys(r["method"] for r in runs):
            mine = [r for r in runs if r["method"] == method and r["share"] == share]
            values = [100 * r["top1"] for r in mine]
            rows.append({
                "method": method, "share": share, "macs": statistics.mean(r["macs"] for r in mine), "mean": statistics.mean(values),
                "sd": statistics.stdev(values) if len(values) > 1 else math.nan, "values": values,
                "seconds": statistics.mean(r["seconds"] for r in mine),
            })  # fmt: skip
    head = ("method", "MACs", "top-1 mean", "s.d.", "each seed", "seconds")
    bench.table(head, [
        (r["method"], f"{r['macs']:.1%}", f"{r['mean']:.2f}%", f"{r['sd']:.2f}", " ".join(f"{v:.2f}" for v in r["values"]),
         f"{r['seconds']:.0f}") for r in rows
    ])  # fmt: skip
    first = [r for r in rows if r["share"] == arguments.shares[0]]
    ours_row, others = first[-1], first[: -len(OURS)]
    error = [math.sqrt((ours_row["sd"] ** 2 + r["sd"] ** 2) / arguments.seeds) if arguments.seeds > 1 else 1.0 for r in others]
    holds = all(ours_row["mean"] >= r["mean"] - e for r, e in zip(others, error, strict=True))
    figure = f"At {ours_row['macs']:.0%} of the MACs ours keeps {ours_row['mean']:.2f}%, " + ", ".join(
        f"{r['method']} {r['mean']:.2f}%" for r in others
    ) + f" ({arguments.seeds} seeds, {arguments.steps} steps each)."  # fmt: skip
    return bench.end(arguments, {"runs": runs, "rows": rows, "rival": torch_pruning.__version__}, figure, holds)


if __name__ == "__main__":
    sys.exit(main())
