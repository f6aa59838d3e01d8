"""Explain answers of the dense model and of one pruned from it, image by image: attributions/<compared>/ in the project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from cpd.errors import RunError
from cpd.files import make_folder, write_json
from cpd.prune.plan import Plan
from cpd.runs.context import RunContext
from cpd.runs.subject import load_comb, load_data, load_subject
from cpd.runs.workspace import check_id, run_folder

if TYPE_CHECKING:
    from torch import nn
    from torch.fx import GraphModule

    from cpd.comb.comb import Comb
    from cpd.tasks.task import Task

FOLDER = "attributions"
BATCHES = 8  # of 32 training images, for the batch-norm statistics of a plan's cut


def run(context: RunContext) -> None:
    """Options: compared ("dense", "plan", or the id of a finished run); plan (a plan's JSON object, with "plan"); methods
    (gradcam, integrated); images (12) to choose; wanted ([]), numbers of held-out images that must be among them; steps
    (32) of integrated gradients."""
    from cpd.attribution.explain import explain
    from cpd.attribution.maps import STEPS
    from cpd.attribution.record import DENSE, PRUNED
    from cpd.measure.machine import pick_device
    from cpd.prune.plan import uniform_plan
    from cpd.prune.surgery import prune
    from cpd.tasks.classification.normalise import normalisation

    spec, options = context.spec, context.spec.options
    compared = str(options.get("compared", "dense"))
    model, inputs = load_subject(spec)
    comb = load_comb(context, model, inputs)
    context.check_stop()
    task = load_data(context, inputs, context.watch_stop)
    device = pick_device(spec.device)
    networks: dict[str, nn.Module] = {DENSE: prune(model, comb, uniform_plan(comb.record, 0.0))}
    mark = ""
    if compared == "plan":
        if not options.get("plan"):
            raise RunError("comparing with a plan needs a plan; save one on the Plan screen first.")
        plan = Plan.from_json(json.dumps(options["plan"]))
        networks[PRUNED] = _as_planned(model, comb, plan, task, spec.seed)
        mark = plan.digest
    elif compared != "dense":
        networks[PRUNED] = _of_run(context, comb, compared)
    found = explain(
        comb,
        {name: cast("GraphModule", network.eval().to(device)) for name, network in networks.items()},
        task,
        make_folder(context.folder / FOLDER) / check_id(compared, "comparison"),
        [str(name) for name in options.get("methods", ("gradcam", "integrated"))],
        int(options.get("images", 12)),
        [int(number) for number in options.get("wanted", ())],
        compared,
        mark,
        (lambda norm: (norm.mean, norm.std))(normalisation(spec.model, task.shape[0])),
        int(options.get("steps", STEPS)),
        context.tick,
    )
    row = {
        "compared": compared,
        "images": [image.number for image in found.images],
        "changed": found.changed,
        "seconds": found.seconds,
    }
    write_json(context.run_dir / "result.json", row)
    context.event(1, "note", f"explained {len(found.images)} images in {found.seconds:.1f} s", **row)


def _as_planned(model: nn.Module, comb: Comb, plan: Plan, task: Task, seed: int) -> nn.Module:
    """The plan's cut without training; what batch norm remembers of the dense model is replaced by what it sees now."""
    from itertools import islice

    from cpd.measure.recalibrate import recalibrate
    from cpd.prune.surgery import prune

    pruned = prune(model, comb, plan)
    recalibrate(pruned, (images for images, _ in islice(task.train_batches(32, seed, augment=False), BATCHES)))
    return pruned


def _of_run(context: RunContext, comb: Comb, run: str) -> nn.Module:
    """What a finished run handed over, cut from this comb's graph, so that both networks name their activations alike."""
    from cpd.models.bundle import bundle_file
    from cpd.models.header import read_header
    from cpd.models.weights import fill, read_tensors
    from cpd.prune.surgery import prune

    if context.root is None:
        raise RunError("a run can only be compared inside a workspace; compare the plan instead.")
    file = bundle_file(run_folder(context.root, run))
    head = read_header(file)
    if head is None or head.plan is None:
        raise RunError(f"run {run} holds no pruned model; choose a run that pruned.")
    model, _ = load_subject(context.spec)
    pruned = prune(model, comb, head.plan)
    fill(pruned, read_tensors(file), str(file), head.spec)
    return pruned
