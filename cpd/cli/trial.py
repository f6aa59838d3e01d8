"""The doctor's visit to one model: comb it, examine every group, save what is cut and open it again by its name."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cpd.cli import options
from cpd.cli.doctor_command import Unwell
from cpd.cli.progress import Bar
from cpd.comb.certify import outputs
from cpd.comb.comb import Comb, comb
from cpd.comb.doctor import RATIOS, Report, examine
from cpd.errors import ModelError
from cpd.measure.machine import pick_device
from cpd.prune.plan import uniform_plan
from cpd.prune.surgery import prune

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cpd.cli.doctor_command import _Steps
    from cpd.comb.findings import Findings


def try_model(steps: _Steps, arguments: argparse.Namespace) -> Findings | None:
    """Each step builds on the one before. None where it does not get as far as examining groups."""
    model: nn.Module
    inputs: tuple[Tensor, ...]
    combed: Comb
    report: Report | None = None

    def load() -> str:
        nonlocal model, inputs
        model, inputs = options.load(arguments)
        shapes = ", ".join("x".join(map(str, x.shape)) for x in inputs)
        return f"{sum(p.numel() for p in model.parameters()):,} parameters, inputs {shapes}"

    def find() -> str:
        nonlocal combed
        combed = comb(model, inputs, arguments.timeout)
        free = sum(g.prunable for g in combed.groups)
        if not free:
            reason = next((f" (the first: {g.name}, {g.reason})" for g in combed.groups), "")
            raise ModelError(f"{arguments.spec}: no group can be cut{reason}.")
        return f"{free} prunable groups, {len(combed.groups) - free} locked"

    def try_groups() -> str:
        nonlocal report
        device = str(pick_device(arguments.device))
        with Bar("trial cuts") as bar:
            ratios = arguments.ratio or RATIOS
            report = examine(
                model, inputs, combed, ratios, bar, name=arguments.spec, device=device, limit_s=arguments.limit
            )
        if not report.findings.well:
            raise Unwell(report.findings.summary)
        return report.findings.summary

    if steps.do("load", load) and steps.do("comb", find):
        steps.do("examine", try_groups)
    found = report
    if found is None:
        return None
    if any(group.prunable for group in found.comb.groups):
        steps.do("save, open", lambda: _handed_over(model, inputs, found.comb, arguments))
    return found.findings


def _handed_over(model: nn.Module, inputs: tuple[Tensor, ...], combed: Comb, arguments: argparse.Namespace) -> str:
    """Cut every group that is well by half, write the file that a user gets, and open it as a user would."""
    from cpd.models import load_model
    from cpd.models.bundle import save_bundle

    settings = options.settings(arguments)
    plan = uniform_plan(combed, 0.5)
    pruned = prune(model, combed, plan)
    with tempfile.TemporaryDirectory(prefix="cpd-doctor-") as folder:
        file = save_bundle(Path(folder), pruned, arguments.spec, settings, plan)
        own = arguments.spec.startswith(("timm:", "smp:"))
        again, _ = load_model(file) if own else load_model(arguments.spec, file, settings)
        size = file.stat().st_size / 2**20
    with torch.inference_mode():
        if not all(torch.equal(a, b) for a, b in zip(outputs(again, inputs), outputs(pruned, inputs), strict=True)):
            raise ModelError("the model that was opened again gives other outputs than the one saved.")
    kept = [sum(p.numel() for p in m.parameters()) for m in (pruned, model)]
    return f"at ratio 0.5 {kept[0] / kept[1]:.1%} of the parameters stay; {size:.1f} MiB, opened again with identical outputs"
