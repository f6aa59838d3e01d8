"""Carry a plan out on the spot: cut the model, make batch-norm statistics anew, measure it beside the dense one.

Nothing is trained; trial.json keeps what came out under the plan's digest.
"""

from __future__ import annotations

import json
import time
from itertools import islice

from cpd.errors import RunError
from cpd.files import write_json
from cpd.prune.plan import Plan
from cpd.prune.trial import FILE, Trial, add_trial
from cpd.runs.context import RunContext
from cpd.runs.subject import load_comb, load_data, load_subject

BATCHES = (1, 32)
RECALIBRATE, BATCH_SIZE = 16, 64  # batches of training images behind the new statistics, and images in each


def run(context: RunContext) -> None:
    """Options: plan (a plan's JSON object); batches ([1, 32]) of the latency; recalibrate (16), batches of 64 training
    images from which batch-norm statistics are taken."""
    from torch.fx import GraphModule

    from cpd.measure import measure_all
    from cpd.measure.machine import pick_device
    from cpd.measure.recalibrate import live_norms, recalibrate
    from cpd.prune.surgery import prune

    spec, options = context.spec, context.spec.options
    if not options.get("plan"):
        raise RunError("a trial needs a plan; choose ratios on the Plan screen first.")
    plan = Plan.from_json(json.dumps(options["plan"]))
    started = time.perf_counter()
    batches = tuple(int(batch) for batch in options.get("batches", BATCHES))
    model, inputs = load_subject(spec)
    comb = load_comb(context, model, inputs)
    plan.check(comb)
    context.check_stop()
    pruned = prune(model, comb, plan)
    task = load_data(context, inputs, context.watch_stop) if spec.data else None
    steps = min(int(options.get("recalibrate", RECALIBRATE)), task.steps(BATCH_SIZE)) if task else 0
    device = pick_device(spec.device)
    used = 0
    if task and steps and isinstance(pruned, GraphModule) and live_norms(pruned):
        images = task.train_batches(BATCH_SIZE, spec.seed, augment=False)
        recalibrate(pruned.to(device), islice(images, steps))
        used = steps
    context.check_stop()
    found = measure_all(
        {"dense": model, "pruned": pruned},
        inputs,
        task,
        device=str(device),
        batches=batches,
        record=comb.record,
        keeps={"dense": {}, "pruned": plan.keep},
        progress=context.tick,
    )
    trial = Trial(plan.digest, found["dense"], found["pruned"], used, time.perf_counter() - started, time.time())
    add_trial(context.folder / FILE, trial)
    write_json(context.run_dir / "result.json", trial.to_dict())
