"""A model through the whole mill, on noise: comb, prove, cut, train a step, save, open again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cpd.cli import options
from cpd.cli.doctor_command import size_mib, trial_folder
from cpd.errors import ModelError, PlanError
from cpd.measure.machine import pick_device
from cpd.prune.plan import uniform_plan

if TYPE_CHECKING:
    from cpd.cli.doctor_command import _Steps


def try_model(steps: _Steps, arguments: argparse.Namespace) -> None:
    """Each step builds on the one before; the first that fails is the last."""
    found: dict[str, Any] = {}
    settings = options.settings(arguments)

    def load() -> str:
        found["model"], found["inputs"] = model, inputs = options.load(arguments)
        shapes = ", ".join("x".join(map(str, x.shape)) for x in inputs)
        return f"{sum(p.numel() for p in model.parameters()):,} parameters, inputs {shapes}"

    def comb() -> str:
        from cpd.comb.comb import comb as comb_model

        found["comb"] = comb_model(found["model"], found["inputs"])
        return _counted(found["comb"])

    def certify() -> str:
        from cpd.comb.certify import certify as prove

        before = sum(g.prunable for g in found["comb"].groups)
        found["comb"] = prove(found["model"], found["inputs"], found["comb"])
        left = sum(g.prunable for g in found["comb"].groups)
        if not left:
            raise ModelError("no group is proven right: nothing of this model can be removed.")
        return f"{left} of {before} prunable groups proven on the model itself"

    def cut() -> str:
        from cpd.prune.surgery import prune

        found["plan"] = uniform_plan(found["comb"], arguments.ratio)
        found["pruned"] = pruned = prune(found["model"], found["comb"], found["plan"])
        sizes = [sum(p.numel() for p in m.parameters()) for m in (pruned, found["model"])]
        with torch.inference_mode():
            pruned(*found["inputs"])
        return f"{sizes[0] / sizes[1]:.1%} of the parameters stay at ratio {arguments.ratio:g}"

    def train() -> str:
        device = pick_device(arguments.device)
        student = found["pruned"].to(device).train()
        optimizer = torch.optim.SGD(student.parameters(), lr=1e-4)
        output = student(*(x.to(device) for x in found["inputs"]))
        torch.stack([t.float().square().mean() for t in _tensors(output)]).sum().backward()
        lost = [name for name, p in student.named_parameters() if p.requires_grad and p.grad is None]
        optimizer.step()
        student.cpu().eval()
        if any(not torch.isfinite(p).all() for p in student.parameters()):
            raise PlanError("a training step leads to values that are not finite.")
        return "a step on noise" + (f"; no gradient reaches {lost[0]}" + (f" and {len(lost) - 1} more" if lost[1:] else "") if lost else "")

    def save_and_open() -> str:
        from cpd.models import load_model
        from cpd.models.bundle import save_bundle

        own = arguments.spec.startswith(("timm:", "smp:"))
        with trial_folder() as folder:
            file = save_bundle(Path(folder), found["pruned"], arguments.spec, settings, found["plan"])
            again, _ = load_model(file) if own else load_model(arguments.spec, file, settings)
            size = size_mib(file)
        with torch.inference_mode():
            pairs = zip(_tensors(again(*found["inputs"])), _tensors(found["pruned"](*found["inputs"])), strict=True)
            if not all(torch.equal(a, b) for a, b in pairs):
                raise ModelError("the model that was opened again gives other outputs than the one saved.")
        return f"{size:.1f} MiB, opened again with identical outputs"

    for name, step in {"load": load, "comb": comb, "certify": certify, "cut": cut, "train": train, "save, open": save_and_open}.items():
        if not steps.do(name, step):
            return


def _counted(comb: Any) -> str:
    locked = [g for g in comb.groups if not g.prunable]
    text = f"{len(comb.groups) - len(locked)} prunable groups, {len(locked)} locked"
    return text + (f" (the first: {locked[0].name}, {locked[0].reason})" if locked else "")


def _tensors(output: Any) -> list[torch.Tensor]:
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
