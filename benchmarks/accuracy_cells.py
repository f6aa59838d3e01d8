"""What accuracy.py trains: the methods, the budgets, and a cell, which is one network cut and trained by one of them.

Everything that is made is kept in a folder of the budget's own, and not made again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
SPEC = f"{ROOT / 'tests' / 'comb' / 'cifar_resnet.py'}:"
WEIGHTS = {"resnet20": "resnet20-cifar10-jpeg.safetensors", "resnet56": "resnet56-4bfd9763.th"}
TRAINED = 45_000  # training images from here on are held out: they choose learning rates and feed the scan


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
    "tp-l2-kd": Method("Torch-Pruning, group L2, distilled", "l2", taught=True),
    "tp-taylor": Method("Torch-Pruning, Taylor", "taylor", taught=False),
    "tp-taylor-kd": Method("Torch-Pruning, Taylor, distilled", "taylor", taught=True),
    "released": Method("released schedule and score, distilled", "reference", taught=True, meanwhile=True),
    "comb": Method("CPD Studio, comb only", "plan", taught=False, rival=False),
    "comb-kd": Method("CPD Studio, distilled after", "plan", taught=True, rival=False),
    "ours": Method("CPD Studio", "plan", taught=True, meanwhile=True, rival=False),
}

# The released schedule as a baseline: its own score, nothing of ours beside it.
RELEASED: dict[str, Any] = {"cut_share": 0.25, "schedule": "reference", "criterion": "reference", "take_over": False}


def ours(target: float) -> dict[str, Any]:
    """What pruning while training asks for beside the settings that all share: the more is cut, the longer it takes.

    On held-out training images, one seed: at 2x 0.05 and 0.15 of the steps kept 88.2 and 87.8 %; at 3x 0.05, 0.15 and
    0.25 kept 82.0, 82.2 and 81.9 %; at 4.3x 76.0, 77.3 and 77.8 %.
    """
    return {"cut_share": 0.075 * (target - 1)}


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
FULL = Budget(35_100, 128, TRAINED, 3, (2.0, 3.0, 4.3), (0.01, 0.03, 0.1), 100.0, 2_000, 2_048, 10_000, (400, 400), 640)


class Some:
    """Some images of a set."""

    def __init__(self, images: Any, index: Any) -> None:
        self.images, self.index, self.labels = images, index, images.labels[index]

    def fetch(self, index: Any, generator: Any) -> Any:
        return self.images.fetch(self.index[index], generator)

    def ahead(self, order: list[Any], generators: list[Any]) -> Iterator[Any]:
        batches: Iterator[Any] = self.images.ahead([self.index[i] for i in order], generators)
        return batches


class Lab:
    """What all cells share: the network and its comb, the images, the dense weights, and what was cut beforehand."""

    def __init__(self, model: str, folder: Path, device: str, budget: Budget) -> None:
        import torch

        import cpd
        from cpd.tasks import load_task

        self.budget, self.device = budget, device
        spec = SPEC + model
        self.model, self.inputs = cpd.load_model(spec, SHARED / "weights" / WEIGHTS[model])
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
        self.folder = folder / f"{model}-{digest(asdict(budget))}"
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

    @property
    def dense_file(self) -> Path:
        epochs = self.budget.dense_epochs
        return self.folder.parent / f"{self.folder.name.split('-')[0]}-dense-{epochs:g}-epochs.safetensors"

    def train_dense(self, workers: int) -> None:
        """Go on from the checkpoint, once; the weights are kept for every budget that asks for as many epochs."""
        import torch

        from cpd.distill.trainer import train

        epochs, file = self.budget.dense_epochs, self.dense_file
        if epochs and not file.is_file():
            if self.device == "cpu":  # alone on the machine, in a process of its own; the cells have a thread each
                torch.set_num_threads(workers)
            settings = self.settings(round(epochs * (TRAINED // 128)), 0.05)
            settings = replace(settings, batch_size=128, losses={"task": 1.0})
            trained = train(self.model, self.inputs, self.everything, settings)
            kept(file, {name: tensor.cpu().contiguous() for name, tensor in trained.module.state_dict().items()})

    def take_dense(self) -> None:
        """Everything that follows is about the network that was trained on."""
        from safetensors.torch import load_file

        if self.budget.dense_epochs:
            self.model.load_state_dict(load_file(self.dense_file))

    def sweep(self, kind: str, seed: int) -> None:
        """Torch-Pruning from the dense network down through all targets, once a seed; magnitudes know no seed."""
        import torch_pruning as tp

        goals = [t for t in self.budget.targets if not self.cut_file(kind, t, seed).is_file()]
        if not goals:
            return
        net = copy.deepcopy(self.model).to(self.device).eval()
        group = tp.importance
        residual = [net.conv1, *(part.conv2 for part in net.modules() if hasattr(part, "conv2"))]
        pruner = tp.pruner.BasePruner(
            net, self.inputs[0][:1].to(self.device), global_pruning=True, pruning_ratio=1.0, ignored_layers=[net.linear, *residual],
            importance=group.GroupMagnitudeImportance(p=2) if kind == "l2" else group.GroupTaylorImportance(),
            iterative_steps=self.budget.shots[kind == "taylor"],
        )  # fmt: skip
        batches = self.endless(seed)
        while goals:
            if pruner.current_step == pruner.iterative_steps:
                raise RuntimeError(f"Torch-Pruning does not reach {goals[0]:g} times fewer MACs.")
            if kind == "taylor":
                net.zero_grad()
                for images, targets in islice(batches, max(1, self.budget.graded // self.budget.batch)):
                    self.task.loss(net(images.to(self.device)), targets.to(self.device)).backward()
            pruner.step()
            while goals and self.counted(net) <= self.macs / goals[0]:
                tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
                kept(self.cut_file(kind, goals.pop(0), seed), tensors)

    def plan(self) -> None:
        """Sensitivities, measured once, and from them a plan for every target; never more MACs than a rival has."""
        import torch

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
            self.model, self.inputs, self.comb, self.scan, ranks, SenseSettings((0.25, 0.5, 0.75, 0.9), 0, batch=0),
            torch.device(self.device),
        )  # fmt: skip
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
            found: dict[str, Any] = json.loads(file.read_text())
            return found
        method, cpu, start = METHODS[name], time.process_time(), time.perf_counter()
        settings = self.settings(
            self.budget.steps, rate, seed, **(RELEASED if method.cut == "reference" else ours(target))
        )
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


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def kept(file: Path, tensors: Mapping[str, Any]) -> None:
    """Write weights whole or not at all."""
    from safetensors.torch import save

    from cpd.files import replacing

    with replacing(file) as stream:
        stream.write(save(dict(tensors)))


def parameters(net: Any) -> int:
    return sum(p.numel() for p in net.parameters())
