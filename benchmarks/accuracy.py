"""Accuracy at equal budgets: ours beside Torch-Pruning 1.6.1 and the released code's schedule, on CIFAR-10.

A ResNet-20 loses a half, two thirds and 77 % of its multiply-accumulates, three seeds each. Every method gets the same
steps, batches, augmentation, optimizer and schedule of the learning rate; its peak is the one of a few that is best for
the method on training images that were held out, at the middle target with the first seed. Reported is the accuracy of
the last step on all test images. Speed is measured, the networks' passes in turn with the dense one's.

Torch-Pruning prunes as its CIFAR recipe does (global, small steps until the MACs are met), then the network is
fine-tuned. It gets the inner channels of the blocks alone: it takes the shortcut's zero padding for an operation that
leaves channels where they are, so that cuts of the residual stream scramble it and do far worse.
Ours plans by measured sensitivities and prunes while distilling; the other rows of ours show what each part is worth.
Finished cells are kept: a benchmark that was killed goes on.

--full has all images and epochs to match, for a GPU (--device cuda); with --model resnet56 published rows stand beside.
Bar: at every target our mean is above that of every rival.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import bench

SHARED = bench.ROOT.parent / "shared" / "data"
SPEC = f"{bench.ROOT / 'tests' / 'comb' / 'cifar_resnet.py'}:"
WEIGHTS = {"resnet20": "resnet20-cifar10-jpeg.safetensors", "resnet56": "resnet56-4bfd9763.th"}
TRAINED = 45_000  # training images from here on are held out: they choose learning rates and feed the scan
HEAD = ("MACs cut", "method", "lr", "top-1 mean", "s.d.", "each seed", "MACs", "parameters", "speed-up b1", "b64")


@dataclass(frozen=True)
class Method:
    """cut: what decides what goes. While: pruning goes on while it is trained, else it is done before."""

    name: str
    cut: str
    taught: bool
    meanwhile: bool = False
    rival: bool = True


METHODS = {
    "tp-l2": Method("Torch-Pruning, group L2", "l2", taught=False),
    "tp-taylor": Method("Torch-Pruning, Taylor", "taylor", taught=False),
    "tp-taylor-kd": Method("Torch-Pruning, Taylor, distilled", "taylor", taught=True),
    "released": Method("released schedule and score, distilled", "reference", taught=True, meanwhile=True),
    "comb": Method("CPD Studio, comb only", "plan", taught=False, rival=False),
    "comb-kd": Method("CPD Studio, distilled after", "plan", taught=True, rival=False),
    "ours": Method("CPD Studio", "plan", taught=True, meanwhile=True, rival=False),
}

# CIFAR-10 as it was published: (method, top-1 before, after, times fewer MACs); best epochs, single runs
PUBLISHED = (
    ("DepGraph, full", 93.53, 93.77, 2.11), ("DepGraph, no sparse learning", 93.53, 93.46, 2.11), ("ResRep", 93.71, 93.71, 2.12),
    ("DepGraph, full", 93.53, 93.64, 2.57), ("GReg-2", 93.36, 93.36, 2.55), ("C-SGD", 93.39, 93.44, 2.55),
    ("PPSM", 93.44, 93.22, 4.1), ("HRank", 93.26, 90.72, 3.9),
)  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """images: the first of the training images, which all methods fine-tune on. targets: times fewer MACs."""

    steps: int = 200
    batch: int = 64
    images: int = 9_600
    seeds: int = 3
    targets: tuple[float, ...] = (2.0, 3.0, 4.3)
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)
    dense_epochs: float = 5.0
    judged: int = 2_000  # held-out training images that choose the learning rate
    scanned: int = 1_024  # others of them, for the sensitivities
    tested: int = 10_000
    shots: tuple[int, int] = (
        400,
        100,
    )  # steps of Torch-Pruning from everything to nothing, by magnitudes and by Taylor
    graded: int = 256  # images behind the gradients of each of Taylor's
    seconds: float = 1.0  # of timed passes of a network


QUICK = Budget(30, 32, 960, 1, (2.0,), (0.01,), 0.0, 256, 256, 500, (100, 50), 64, 0.1)
FULL = Budget(
    35_100, 128, TRAINED, 3, (2.0, 3.0, 4.3), (0.01, 0.03, 0.1), 100.0, 2_000, 2_048, 10_000, (400, 400), 640
)


class Some:
    """Some images of a set."""

    def __init__(self, images: Any, index: Any) -> None:
        self.images, self.index, self.labels = images, index, images.labels[index]

    def fetch(self, index: Any, generator: Any) -> Any:
        return self.images.fetch(self.index[index], generator)

    def ahead(self, order: list[Any], generators: list[Any]) -> Iterator[Any]:
        return self.images.ahead([self.index[i] for i in order], generators)


class Lab:
    """What all cells share: the network and its comb, the images, the dense weights, and what was cut beforehand."""

    def __init__(self, arguments: argparse.Namespace, budget: Budget) -> None:
        import torch

        import cpd
        from cpd.tasks import load_task

        self.budget, self.device = budget, arguments.device
        spec = SPEC + arguments.model
        self.model, self.inputs = cpd.load_model(spec, SHARED / "weights" / WEIGHTS[arguments.model])
        self.comb = cpd.comb(self.model, self.inputs)
        whole: Any = load_task(f"parquet:{SHARED / 'cifar10-jpeg'}", self.inputs, spec)
        held = torch.arange(TRAINED, TRAINED + budget.judged)
        scanned = torch.arange(TRAINED + budget.judged, TRAINED + budget.judged + budget.scanned)
        self.everything = replace(whole, train=Some(whole.train, torch.arange(TRAINED)), val=Some(whole.train, held))
        self.task = replace(
            whole, train=Some(whole.train, torch.arange(budget.images)), val=Some(whole.train, held[:64])
        )
        self.judge, self.scan = (
            replace(whole, val=Some(whole.train, held)),
            replace(self.task, val=Some(whole.train, scanned)),
        )
        self.test = replace(whole, val=Some(whole.val, torch.arange(budget.tested)))
        self.folder = arguments.folder / f"{arguments.model}-{digest(asdict(budget))}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.macs = self.counted(self.model)

    # -- before any cell

    def settings(self, steps: int, rate: float, seed: int = 0, **more: Any) -> Any:
        from cpd.distill.settings import TrainSettings

        return TrainSettings(
            steps=steps, batch_size=self.budget.batch, lr=rate, weight_decay=5e-4, optimizer="sgd", warmup=0.05, least_lr=0.0,
            losses={"task": 0.5, "soft_logits": 1.0}, channels_last=True, evaluate_every=steps, checkpoint_s=1e9, seed=seed,
            device=self.device, **more,
        )  # fmt: skip

    def train_dense(self) -> None:
        """Go on from the checkpoint, once; the weights are kept for every budget that asks for as many epochs."""
        from safetensors.torch import load_file, save_file

        from cpd.distill.trainer import train

        epochs = self.budget.dense_epochs
        if not epochs:
            return
        file = self.folder.parent / f"{self.folder.name.split('-')[0]}-dense-{epochs:g}-epochs.safetensors"
        if not file.is_file():
            settings = self.settings(round(epochs * (TRAINED // 128)), 0.05)
            settings = replace(settings, batch_size=128, losses={"task": 1.0})
            trained = train(self.model, self.inputs, self.everything, settings)
            save_file({k: v.cpu().contiguous() for k, v in trained.module.state_dict().items()}, file)
        self.model.load_state_dict(load_file(file))

    def sweep(self, kind: str, seed: int) -> None:
        """Torch-Pruning from the dense network down through all targets, once a seed; magnitudes know no seed."""
        import torch_pruning as tp
        from safetensors.torch import save_file

        goals = [t for t in self.budget.targets if not self.cut_file(kind, t, seed).is_file()]
        if not goals:
            return
        start = time.process_time()
        net = copy.deepcopy(self.model).cpu().eval()
        importance = (
            tp.importance.GroupMagnitudeImportance(p=2) if kind == "l2" else tp.importance.GroupTaylorImportance()
        )
        residual = [net.conv1, *(part.conv2 for part in net.modules() if hasattr(part, "conv2"))]
        pruner = tp.pruner.BasePruner(
            net, self.inputs[0][:1], importance=importance, global_pruning=True, pruning_ratio=1.0,
            iterative_steps=self.budget.shots[kind == "taylor"], ignored_layers=[net.linear, *residual],
        )  # fmt: skip
        batches = self.endless(seed)
        while goals:
            if kind == "taylor":
                net.zero_grad()
                for images, targets in islice(batches, max(1, self.budget.graded // self.budget.batch)):
                    self.task.loss(net(images), targets).backward()
            pruner.step()
            while goals and self.counted(net) <= self.macs / goals[0]:
                tensors = {k: v.detach().contiguous() for k, v in net.state_dict().items()}
                save_file(
                    tensors, self.cut_file(kind, goals.pop(0), seed), {"seconds": f"{time.process_time() - start:.1f}"}
                )

    def plan(self) -> None:
        """Sensitivities, measured once, and from them a plan for every target; never more MACs than a rival has."""
        from cpd.importance.scoring import score
        from cpd.prune.predict import AccuracyModel
        from cpd.prune.solve import plan_for_target
        from cpd.sensitivity.scan import scan
        from cpd.sensitivity.settings import SenseSettings

        wanted = [t for t in self.budget.targets if not self.plan_file(t).is_file()]
        if not wanted:
            return
        start = time.process_time()
        ranks = score(self.model, self.comb.record, None, ["l2"])["l2"].groups
        table = scan(
            self.model, self.inputs, self.comb, self.scan, ranks, SenseSettings((0.25, 0.5, 0.75, 0.9), 0, batch=0)
        )
        accuracy = AccuracyModel(self.comb.record, table)
        print(
            f"sensitivities of {len(self.comb.record.groups)} groups: {time.process_time() - start:.0f} CPU s",
            file=sys.stderr,
            flush=True,
        )
        for target in wanted:
            plan = plan_for_target(
                self.comb.record, ranks, {"macs": self.share(target)}, criterion="l2", accuracy=accuracy
            )
            plan.save(self.plan_file(target))

    def share(self, target: float) -> float:
        """The MACs that ours may have, of the dense ones: what the least of the rivals' networks has."""
        cuts = [self.cut_file(m.cut, target, s) for m in METHODS.values() for s in range(self.budget.seeds)]
        return min(self.counted(self.opened(file)) for file in cuts if file.is_file()) / self.macs

    # -- networks

    def counted(self, net: Any) -> float:
        from cpd.measure.macs import counted_macs

        return counted_macs(net, (self.inputs[0][:1].to(next(net.parameters()).device),))

    def endless(self, seed: int) -> Iterator[Any]:
        epoch = 0
        while True:
            yield from self.task.train_batches(self.budget.batch, seed, epoch, augment=False)
            epoch += 1

    def cut_file(self, kind: str, target: float, seed: int) -> Path:
        return self.folder / f"cut-{kind}-{target:g}x-{0 if kind == 'l2' else seed}.safetensors"

    def opened(self, file: Path) -> Any:
        """The network with tensors of other widths in place of its own."""
        from safetensors.torch import load_file
        from torch import nn

        net, tensors = copy.deepcopy(self.model), load_file(file)
        for path, part in net.named_modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                setattr(part, name, nn.Parameter(tensors[f"{path}.{name}"].to(parameter.device)))
            for name, buffer in list(part.named_buffers(recurse=False)):
                setattr(part, name, tensors[f"{path}.{name}"].to(buffer.device))
        return net

    def plan_file(self, target: float) -> Path:
        return self.folder / f"plan-{target:g}x.json"

    # -- a cell

    def run(self, name: str, target: float, seed: int, rate: float) -> dict[str, Any]:
        """Train one network; kept, so that it is not trained again."""
        import cpd
        from cpd.distill.trainer import train
        from cpd.files import replacing
        from cpd.measure.accuracy import accuracy
        from cpd.prune.plan import Plan

        file = self.folder / f"cell-{name}-{target:g}x-{seed}-{rate:g}.json"
        if file.is_file():
            return json.loads(file.read_text())
        method, cpu, start = METHODS[name], time.process_time(), time.perf_counter()
        settings = self.settings(self.budget.steps, rate, seed, **(RELEASED if method.cut == "reference" else OURS))
        extra: dict[str, Any] = {"teacher": self.model} if method.taught else {}
        if method.cut == "plan":
            extra["plan"] = Plan.load(self.plan_file(target))
        if method.cut == "reference":
            extra["target"] = {"macs": self.share(target)}
        if method.meanwhile:
            trained = train(self.model, self.inputs, self.task, settings, comb=self.comb, **extra)
        else:
            plan = extra.pop("plan", None)
            net = (
                cpd.prune(self.model, self.comb, plan) if plan else self.opened(self.cut_file(method.cut, target, seed))
            )
            trained = train(net, self.inputs, self.task, settings, **extra)
        plan = (
            trained.plan or extra.get("plan") or (Plan.load(self.plan_file(target)) if method.cut == "plan" else None)
        )
        device = next(trained.module.parameters()).device
        row = {
            "method": name, "target": target, "seed": seed, "lr": rate, "held": accuracy(trained.module, self.judge, device),
            "top1": accuracy(trained.module, self.test, device), "macs": self.counted(trained.module) / self.macs,
            "parameters": parameters(trained.module) / parameters(self.model), "plan": plan.to_json() if plan else "",
            "cpu_s": time.process_time() - cpu, "seconds": time.perf_counter() - start,
        }  # fmt: skip
        with replacing(file) as stream:
            stream.write(json.dumps(row).encode())
        return row

    def timed(self, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, float], dict[int, float]]:
        """Speed-up over the dense network at batch 1 and 64, by cut and target; passes of all networks in turn."""
        import torch

        import cpd
        from cpd.measure.latency import latencies
        from cpd.prune.plan import Plan

        nets = {("dense", 1.0): copy.deepcopy(self.model).to(self.device)}
        for row in rows:
            cut = METHODS[row["method"]].cut
            if (cut, row["target"]) not in nets and row["seed"] == 0:
                if row["plan"]:
                    net = cpd.prune(self.model, self.comb, Plan.from_json(row["plan"]))
                else:
                    net = self.opened(self.cut_file(cut, row["target"], 0))
                nets[cut, row["target"]] = net.to(self.device)
        names = {str(key): key for key in nets}
        found: dict[tuple[str, float], dict[int, float]] = {key: {} for key in nets}
        for batch in (1, 64):
            times = latencies(
                {n: nets[k] for n, k in names.items()},
                self.inputs,
                batch,
                torch.device(self.device),
                self.budget.seconds,
            )
            for name, key in names.items():
                found[key][batch] = times[str(("dense", 1.0))].median_ms / times[name].median_ms
        return found


# What pruning while training asks for beside the settings that all share; ours is what a run does by itself.
OURS: dict[str, Any] = {}
RELEASED: dict[str, Any] = {"schedule": "reference", "criterion": "reference"}


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def parameters(net: Any) -> int:
    return sum(p.numel() for p in net.parameters())


def best_rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """For every method the rate with the best accuracy on held-out training images, the lower one where two are alike."""
    chosen: dict[str, float] = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = sorted((row for row in rows if row["method"] == name), key=lambda row: row["lr"])
        chosen[name] = max(mine, key=lambda row: row["held"])["lr"]
    return chosen


def summed_up(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a target and method: mean and spread over the seeds, in percent."""
    found = []
    for target in sorted({row["target"] for row in rows}):
        for name in METHODS:
            mine = sorted((r for r in rows if r["method"] == name and r["target"] == target), key=lambda r: r["seed"])
            if mine:
                values = [100 * row["top1"] for row in mine]
                means = {
                    key: statistics.mean(row[key] for row in mine) for key in ("macs", "parameters", "cpu_s", "lr")
                }
                spread = statistics.stdev(values) if len(values) > 1 else math.nan
                found.append(
                    {"target": target, "method": name, "mean": statistics.mean(values), "sd": spread, "values": values}
                    | means
                )
    return found


def leads(table: Sequence[Mapping[str, Any]]) -> dict[float, float]:
    """By target: our mean less the best rival's, in points."""
    found = {}
    for target in sorted({row["target"] for row in table}):
        means = {row["method"]: row["mean"] for row in table if row["target"] == target}
        found[target] = means["ours"] - max(mean for name, mean in means.items() if METHODS[name].rival)
    return found


_LAB: Lab | None = None  # inherited by workers, which are forked


def _cell(job: tuple[str, float, int, float]) -> dict[str, Any]:
    assert _LAB is not None
    return _LAB.run(*job)


def all_of(jobs: Sequence[tuple[str, float, int, float]], workers: int) -> list[dict[str, Any]]:
    """The cells, by as many processes as were asked for; each is told of when it is there."""
    rows = []
    with multiprocessing.get_context("fork").Pool(workers) if workers > 1 else _Alone() as pool:
        for row in pool.imap_unordered(_cell, jobs):
            rows.append(row)
            text = f"{row['method']} {row['target']:g}x seed {row['seed']} lr {row['lr']:g}: held-out {row['held']:.2%}, {row['cpu_s']:.0f} CPU s"
            print(f"  {len(rows)} of {len(jobs)}: {text}", file=sys.stderr, flush=True)
    return rows


class _Alone:
    """A pool of this process."""

    imap_unordered = staticmethod(map)

    def __enter__(self) -> _Alone:
        return self

    def __exit__(self, *_: object) -> None: ...


def main() -> int:
    global _LAB
    parser = bench.options(__doc__)
    parser.add_argument("--model", choices=list(WEIGHTS), default="resnet20")
    parser.add_argument("--full", action="store_true", help="all images and 100 epochs, for a GPU")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--workers", type=int, default=2, help="processes that train, each with one thread on the CPU")
    parser.add_argument(
        "--folder", type=Path, help="where weights and finished cells are kept (default: the user's cache)"
    )
    arguments = parser.parse_args()
    if not (SHARED / "weights" / WEIGHTS[arguments.model]).is_file():
        print(f"{SHARED / 'weights'} is not there: nothing to measure.")
        return 0
    from cpd.comb.cache import cache_folder

    arguments.folder = arguments.folder or cache_folder().parent / "accuracy"
    arguments.threads = arguments.threads or (1 if arguments.device == "cpu" else 0)
    bench.begin(arguments)
    budget = QUICK if arguments.quick else FULL if arguments.full else Budget()
    if arguments.model == "resnet56":
        budget = replace(budget, targets=(2.1, 2.55, 4.3))
    if arguments.device != "cpu":
        arguments.workers = 1
    start = time.perf_counter()
    lab = _LAB = Lab(arguments, budget)
    lab.train_dense()
    for seed in range(budget.seeds):
        for kind in ("l2", "taylor"):
            lab.sweep(kind, seed)
    lab.plan()
    tried = all_of(
        [(name, budget.targets[len(budget.targets) // 2], 0, rate) for name in METHODS for rate in budget.rates],
        arguments.workers,
    )
    rates = best_rates(tried)
    rows = all_of(
        [(n, t, s, rates[n]) for t in budget.targets for s in range(budget.seeds) for n in METHODS], arguments.workers
    )
    from cpd.measure.accuracy import accuracy

    dense, speed, table = accuracy(lab.model, lab.test), lab.timed(rows), summed_up(rows)
    print(
        f"dense top-1 {dense:.2%} on {budget.tested} test images; {budget.steps} steps of {budget.batch} of the first {budget.images} "
        f"training images each, peak rate out of {', '.join(f'{r:g}' for r in budget.rates)}"
    )
    bench.table(HEAD, [
        (f"{r['target']:g}x", METHODS[r["method"]].name, f"{r['lr']:g}", f"{r['mean']:.2f}%", f"{r['sd']:.2f}",
         " ".join(f"{v:.2f}" for v in r["values"]), f"{r['macs']:.1%}", f"{r['parameters']:.1%}",
         *(f"{speed[METHODS[r['method']].cut, r['target']][b]:.2f}x" for b in (1, 64))) for r in table
    ])  # fmt: skip
    if arguments.model == "resnet56":
        print("Published, on the original photographs (these here were compressed), best epoch of a single run:")
        bench.table(
            ("method", "before", "after", "change", "MACs cut"),
            [(n, b, a, f"{a - b:+.2f}", f"{x:g}x") for n, b, a, x in PUBLISHED],
        )
    ahead = leads(table)
    cpu = sum(
        row["cpu_s"] for row in {(r["method"], r["target"], r["seed"], r["lr"]): r for r in tried + rows}.values()
    )
    figure = (
        "Ours against the best rival: " + ", ".join(f"{lead:+.2f} points at {t:g}x" for t, lead in ahead.items())
        + f" ({budget.seeds} seed(s), dense {dense:.2%}; {cpu / 60:.0f} CPU minutes of cells)."
    )  # fmt: skip
    result = {
        "dense": dense, "budget": asdict(budget), "rates": rates, "tried": tried, "rows": rows, "table": table, "leads": ahead,
        "speed": {f"{cut} {t:g}x": values for (cut, t), values in speed.items()}, "seconds": time.perf_counter() - start,
    }  # fmt: skip
    return bench.end(arguments, result, figure, min(ahead.values()) > 0)


if __name__ == "__main__":
    sys.exit(main())
