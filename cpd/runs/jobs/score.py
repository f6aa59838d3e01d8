"""Score every unit of the model by one or several criteria: scores/<criterion>.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cpd.errors import PlanError
from cpd.files import make_folder, write_json
from cpd.runs.context import RunContext
from cpd.runs.subject import load_comb, load_data, load_subject, saved_record

BATCH_SIZE = 32


def run(context: RunContext) -> None:
    """Options: criteria (l2, taylor, fisher); batches (8) of the training data; batch_size (32).

    Criteria that say nothing of this model are left out, with a note; the run fails where no other is left.
    """
    from torch.nn import functional

    from cpd.importance.registry import CRITERIA, check_criteria, unfit
    from cpd.importance.scoring import score
    from cpd.measure.machine import pick_device

    options, spec = context.spec.options, context.spec
    asked = check_criteria(options.get("criteria", ("l2", "taylor", "fisher")))
    device = pick_device(spec.device)
    model, inputs = load_subject(spec)
    comb = None
    record = saved_record(context.folder)
    if record is None or any(CRITERIA[name].needs_comb for name in asked):
        comb = load_comb(context, model, inputs)
        record = comb.record
    context.check_stop()
    reasons = {name: why for name in asked if (why := unfit(name, record))}
    for name, why in reasons.items():
        context.event(0, "note", f"{CRITERIA[name].title} is left out: it has nothing to say of this model, {why}")
    criteria = [name for name in asked if name not in reasons]
    if not criteria:
        raise PlanError(f"{', '.join(asked)}: nothing to score in this model; choose another criterion.")
    data = None
    loss: Callable[[Any, Any], Any] = functional.cross_entropy
    if any(CRITERIA[name].needs_data for name in criteria):
        task = load_data(context, inputs, context.tick)
        data = task.train_batches(int(options.get("batch_size", BATCH_SIZE)), spec.seed, augment=False)
        loss = task.loss
    batches = int(options.get("batches", 8))
    tables = score(
        model.to(device), record, data, criteria, batches, spec.seed, loss=loss, progress=context.tick, comb=comb
    )
    folder = make_folder(context.folder / "scores")
    for name, table in tables.items():
        table.save(context.run_dir / f"{name}.json")
        (context.run_dir / f"{name}.json").replace(folder / f"{name}.json")
    write_json(context.run_dir / "result.json", {"criteria": list(tables), "batches": batches, "left_out": reasons})
    context.event(batches, "note", f"scored by {', '.join(tables)}", criteria=list(tables))
