"""Trial-cut every group of the project's model: doctor.json, and what it found as certificates and locks in the comb."""

from __future__ import annotations

from cpd.files import write_json
from cpd.runs.context import RunContext
from cpd.runs.subject import load_subject, save_record


def run(context: RunContext) -> None:
    """Options: ratios ([0.25, 0.5, 0.9]) of the trial cuts; limit_s (600) for cutting groups one by one; timeout_s
    (120), limit for the trace. The comb is made anew, so a lock that no longer has a reason falls."""
    from cpd.comb.comb import comb
    from cpd.comb.doctor import LIMIT_S, RATIOS, examine
    from cpd.measure.machine import pick_device

    spec, options = context.spec, context.spec.options
    model, inputs = load_subject(spec)
    context.check_stop()
    found = comb(model, inputs, float(options.get("timeout_s", 120.0)))
    report = examine(
        model,
        inputs,
        found,
        tuple(float(ratio) for ratio in options.get("ratios", RATIOS)),
        context.tick,
        name=spec.model,
        device=str(pick_device(spec.device)),
        limit_s=float(options.get("limit_s", LIMIT_S)),
    )
    # The comb first: findings that speak of locks must not be there before the locks are.
    save_record(context, report.comb.record)
    row = report.findings.to_dict()
    write_json(context.folder / "doctor.json", row)
    write_json(context.run_dir / "result.json", row)
    text = report.findings.summary
    context.event(1, "note", text, locked=list(report.findings.failed), well=report.findings.well)
