"""Prune while distilling from the dense model or a named one, then measure before and after: bundle/model.safetensors, result.json."""

from __future__ import annotations

import json
from typing import Any

from cpd.errors import RunError
from cpd.files import write_json
from cpd.prune.plan import Plan
from cpd.runs.context import RunContext
from cpd.runs.finished import ANSWERS
from cpd.runs.sound import check_training
from cpd.runs.subject import begin_step, load_comb, load_data, load_subject, train_settings
from cpd.runs.teacher import load_teacher


def run(context: RunContext) -> None:
    """Options: the fields of cpd.distill.settings.TrainSettings; plan (a plan's JSON object) or target ({"macs": 0.25});
    batches ([1, 32]) of the latency at the end; teacher (SPEC), teacher_weights, teacher_settings of another network to
    distil from than the dense model."""
    from cpd.distill.trainer import train
    from cpd.measure import measure_all
    from cpd.measure.answering import answers
    from cpd.measure.machine import pick_device
    from cpd.models import load_model
    from cpd.models.bundle import save_bundle

    spec = context.spec
    settings = train_settings(spec)
    plan = None if not spec.options.get("plan") else Plan.from_json(json.dumps(spec.options["plan"]))
    target = spec.options.get("target") or None
    check_training(spec)
    model, inputs = load_subject(spec)
    comb = load_comb(context, model, inputs)
    if plan is not None:
        plan.check(comb)
    context.check_stop()
    task = load_data(context, inputs, context.watch_stop)
    teacher = load_teacher(spec, inputs, task)
    trained = train(model, inputs, task, settings, context, comb, plan, target, teacher, begin=begin_step(spec))
    context.told_to_stop = not trained.finished  # whichever process of the run was told
    if not (trained.finished and context.leads):
        return
    if trained.plan is None:
        raise RunError("the training ended without a plan; this is a defect of the program.")
    file = save_bundle(context.run_dir / "bundle", trained.module, spec.model, spec.settings, trained.plan)
    context.check_stop()
    # What is measured is what the file gives back: the network that is handed over, not the one in memory.
    pruned, _ = load_model(spec.model, file, dict(spec.settings))
    found = measure_all(
        {"dense": model, "pruned": pruned},
        inputs,
        task,
        device=settings.device,
        batches=tuple(int(batch) for batch in spec.options.get("batches", (1, 32))),
        record=comb.record,
        keeps={"dense": {}, "pruned": trained.plan.keep},
        progress=context.watch_stop,
    )
    answers(model, pruned, task, pick_device(settings.device), context.watch_stop).save(context.run_dir / ANSWERS)
    row: dict[str, Any] = {name: measurement.to_dict() for name, measurement in found.items()}
    row |= {
        "plan": json.loads(trained.plan.to_json()),
        "seconds": trained.seconds,
        "steps": trained.total,
        "bundle": str(file.relative_to(context.run_dir)),
        "settings": settings.to_dict(),
        "comb": {
            "groups": len(comb.groups),
            "prunable": sum(group.prunable for group in comb.groups),
            "certified": sum(group.prunable and group.certified is True for group in comb.groups),
            "locked": [group.name for group in comb.groups if not group.prunable],
        },
    }
    write_json(context.run_dir / "result.json", row)
