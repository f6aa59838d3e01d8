"""Comb the project's model, certify its groups, and keep both as comb.json and comb.npz."""

from __future__ import annotations

import time

from cpd.files import write_json
from cpd.runs.context import RunContext
from cpd.runs.subject import load_subject, save_record


def run(context: RunContext) -> None:
    """Options: timeout_s (120), limit for the trace; certify (true)."""
    from cpd.comb.certify import certify
    from cpd.comb.comb import comb

    options = context.spec.options
    start = time.perf_counter()
    total = 3 if options.get("certify", True) else 2
    model, inputs = load_subject(context.spec)
    context.tick(1, total)
    found = comb(model, inputs, float(options.get("timeout_s", 120.0)))
    context.tick(2, total)
    if options.get("certify", True):
        found = certify(model, inputs, found)
    seconds = time.perf_counter() - start

    save_record(context, found.record)
    prunable = [group for group in found.groups if group.prunable]
    row = {
        "groups": len(found.groups),
        "prunable": len(prunable),
        "certified": sum(group.certified is True for group in found.groups),
        "unknown": list(found.record.unknown),
        "seconds": seconds,
    }
    write_json(context.run_dir / "result.json", row)
    context.progress(total, total)
    text = (
        f"{row['groups']} groups, {row['prunable']} of them prunable, {row['certified']} certified, in {seconds:.1f} s"
    )
    context.event(total, "note", text, **row)
