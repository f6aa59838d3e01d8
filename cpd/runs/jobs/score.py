"""Score every unit of the model by one or several criteria: scores/<criterion>.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cpd.files import make_folder, write_json
from cpd.runs.context import RunContext
from cpd.runs.subject import load_comb, load_data, load_subject, saved_record

BATCH_SIZE = 32


def run(context: RunContext) -> None:
    """Options: criteria (l2, taylor, fisher); batches (8) of the training data; batch_size (32)."""
    from torch.nn import functional

    from cpd.importance.registry import CRITERIA, check_criteria
    from cpd.importance.scoring import score
    from cpd.measure.machine import pick_device

    options, spec = context.spec.options, context.spec
    criteria = check_criteria(options.get("criteria", ("l2", "taylor", "fisher")))
    device = pick_device(spec.device)
    model, inputs = load_subject(spec)
    record = saved_record(context.folder) or load_comb(context, model, inputs).record
    context.check_stop()
    data = None
    loss: Callable[[Any, Any], Any] = functional.cross_entropy
    if any(CRITERIA[name].needs_data for name in criteria):
        task = load_data(context, inputs, context.tick)
        data = task.train_batches(int(options.get("batch_size", BATCH_SIZE)), spec.seed, augment=False)
        loss = task.loss
    batches = int(options.get("batches", 8))
    tables = score(model.to(device), record, data, criteria, batches, spec.seed, loss=loss, progress=context.tick)
    folder = make_folder(context.folder / "scores")
    for name, table in tables.items():
        table.save(context.run_dir / f"{name}.json")
        (context.run_dir / f"{name}.json").replace(folder / f"{name}.json")
    write_json(context.run_dir / "result.json", {"criteria": list(tables), "batches": batches})
    context.event(batches, "note", f"scored by {', '.join(tables)}", criteria=list(tables))
