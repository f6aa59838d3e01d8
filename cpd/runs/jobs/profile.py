"""Time the operators of the project's model on this machine at several widths: latency.json."""

from __future__ import annotations

from cpd.files import write_json
from cpd.runs.context import RunContext
from cpd.runs.subject import load_comb, load_subject


def run(context: RunContext) -> None:
    """Options: batch (1), samples in a pass; seconds (30) of timed passes, about."""
    from cpd.measure.operators import profile

    spec, options = context.spec, context.spec.options
    model, inputs = load_subject(spec)
    comb = load_comb(context, model, inputs)
    context.check_stop()
    table = profile(
        model,
        inputs,
        comb,
        batch=int(options.get("batch", 1)),
        device=spec.device,
        seconds=float(options.get("seconds", 30.0)),
        seed=spec.seed,
        progress=context.tick,
    )
    table.save(context.folder / "latency.json")
    row = {
        "operators": len(table.operators),
        "dense_ms": table.dense_ms,
        "median_error": table.median_error,
        "checks": len(table.checks),
        "seconds": table.seconds,
    }
    write_json(context.run_dir / "result.json", row)
    text = f"{row['operators']} operators timed; estimates are off by {table.median_error:.0%} in the median"
    context.event(1, "note", text, **row)
