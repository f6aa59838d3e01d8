"""Measure the dense model as it is, on this machine: baseline.json."""

from __future__ import annotations

from cpd.files import write_json
from cpd.runs.context import RunContext
from cpd.runs.subject import load_data, load_subject, saved_record


def run(context: RunContext) -> None:
    """Options: batches ([1, 32]), batch sizes of the latency; accuracy (true)."""
    from cpd.measure import measure

    options = context.spec.options
    model, inputs = load_subject(context.spec)
    task = load_data(context, inputs, context.tick) if options.get("accuracy", True) and context.spec.data else None
    context.check_stop()
    record = saved_record(context.folder)
    found = measure(
        model,
        inputs,
        task,
        device=context.spec.device,
        batches=tuple(int(batch) for batch in options.get("batches", (1, 32))),
        record=record,
        keep=None if record is None else {},
        progress=context.tick,
    )
    write_json(context.folder / "baseline.json", found.to_dict())
    write_json(context.run_dir / "result.json", {"dense": found.to_dict()})
