"""The part of a report for readers who know pruning: method, settings, machine, and every claim with its measurement."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cpd import __version__
from cpd.distill.weights import Weight
from cpd.export.result import Handover
from cpd.report.story import Story
from cpd.report.verdict import LARGE_LOSS, SAFE_LOSS, WORTHWHILE
from cpd.report.words import duration, loss, milliseconds, percent, points, points_range
from cpd.runs.finished import FinishedRun

GLOSSARY = {
    "channel": "One of the parallel signals inside a layer. A layer with 64 channels computes 64 maps of the image.",
    "head": "One of the parallel parts of an attention layer in a transformer.",
    "group": "Channels, heads or hidden units of several layers that can only be removed together.",
    "pruning": "Removing parts of a trained network that it can do without.",
    "distillation": "Training a small network to give the answers of a larger one, its teacher.",
    "MACs": "Multiply-accumulates: the multiplications with an addition that one image takes.",
    "latency": "The time between handing over an image and having the answer.",
    "top-1": "Share of images whose most likely class, as the network sees it, is the right one.",
    "mean IoU": "For every class the overlap of found and true area over their union, averaged over the classes.",
    "interval": "The range in which the true value lies in 95 of 100 such measurements.",
}


@dataclass(frozen=True)
class Table:
    """Rows under a head; cells are text."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def appendix(story: Story, handover: Handover | None = None) -> tuple[Table, ...]:
    """Every table of the appendix that the run has something for."""
    run = story.run
    tables = [
        claims(story),
        method(run),
        settings(run),
        ledger(run),
        per_class(run),
        *([] if handover is None else [forms(handover)]),
        where(run),
    ]
    return tuple(table for table in tables if table.rows)


def claims(story: Story) -> Table:
    """Each number of the story with how it was measured."""
    rows = [
        (
            step.title,
            number.label,
            "; ".join(part for part in (number.value, number.about) if part),
            number.how,
        )
        for step in story.steps
        for number in step.numbers
        if number.how
    ]
    return Table("Every claim, and how it was measured", ("step", "claim", "value", "measured as"), tuple(rows))


def method(run: FinishedRun) -> Table:
    """What was done, in the field's words."""
    options = run.spec.options
    comb = run.comb
    groups = "" if comb is None else f"{comb.groups} groups, {comb.prunable} prunable, {comb.certified} certified"
    losses = options.get("losses")
    mix = (
        ", ".join(f"{name} {Weight.of(name, value)}" for name, value in losses.items() if value)
        if isinstance(losses, Mapping)
        else ""
    )
    cuts = [event for event in run.events if event.kind == "cut"]
    rows = [
        ("Comb", f"dependency groups from the traced graph. {groups}".strip()),
        ("Prune", f"structured removal, units ranked by {run.plan.criterion or 'their position'}; {len(cuts)} cuts during training"),
        ("Distil", f"from {options.get('teacher') or 'the dense model'} while pruning{f'; losses: {mix}' if mix else ''}"),
        ("Target", ", ".join(f"{name} {value:g}" for name, value in run.plan.target.items()) or "widths set group by group"),
        ("Shortfall", run.plan.shortfall),
        ("Recommendation", f"a loss above {loss(LARGE_LOSS)}: do not switch; less than {WORTHWHILE:g} times as fast: for the size only; "
                           f"a loss up to {loss(SAFE_LOSS)} counts as small; the interval decides in between"),
        ("Source", "Comb, Prune, Distill: Towards Unified Pruning for Vision Model Compression, arXiv 2408.03046"),
    ]  # fmt: skip
    return Table("Method", ("part", "what was done"), tuple(row for row in rows if row[1]))


def settings(run: FinishedRun) -> Table:
    rows = [("note", run.note)] if run.note else []
    rows += [("model", run.spec.model), ("data", run.spec.data), ("seed", str(run.spec.seed))]
    rows += [(f"model: {name}", str(value)) for name, value in run.spec.settings.items()]
    hidden = ("plan", "losses")
    rows += [
        (name, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value))
        for name, value in sorted(run.spec.options.items())
        if name not in hidden and value not in (None, "", {})
    ]
    return Table("Settings", ("setting", "value"), tuple(rows))


def ledger(run: FinishedRun) -> Table:
    """Every group: asked for, granted, and why they differ."""
    rows = tuple(
        (row.group, f"{len(row.keep)} of {row.width}", percent(row.requested), percent(row.granted), row.reason)
        for row in run.plan.groups
    )
    return Table("Ledger: every group", ("group", "kept", "asked for", "granted", "why they differ"), rows)


def per_class(run: FinishedRun) -> Table:
    answers = run.answers
    if answers is None:
        return Table("", (), ())
    before, after = answers.per_class("dense"), answers.per_class("pruned")
    numbers = {name: i for i, name in enumerate(answers.classes)}
    rows = tuple(
        (
            name,
            percent(float(before[numbers[name]])),
            percent(float(after[numbers[name]])),
            points(d.value),
            points_range(d.low, d.high),
        )
        for name, d in answers.class_differences()
    )
    return Table("Class by class", ("class", "original", "pruned", "change", "95 % interval"), rows)


def forms(found: Handover) -> Table:
    rows = []
    for form in found.forms:
        ms = ", ".join(f"{milliseconds(row.median_ms)} at batch {row.batch}" for row in form.latency)
        gap = "" if form.difference is None else "none" if form.difference == 0 else f"{form.difference:.1e}"
        rows.append((form.form, gap, ms, form.verdict))
    note = f"Each file was opened again and run on {found.images:,} {'held-out images' if found.inputs == 'images' else 'random inputs'}."
    return Table(
        "Files that were handed over",
        ("form", "largest difference of any output", "latency from the file", "verified"),
        tuple(rows),
        note,
    )


def where(run: FinishedRun) -> Table:
    found = run.pruned
    rows = [
        ("processor", found.machine),
        ("device", found.device),
        ("threads", str(found.latency[0].threads) if found.latency else ""),
        ("torch", found.torch),
        ("Python", platform.python_version()),
        ("CPD Studio", __version__),
        ("training took", duration(float(run.result["seconds"])) if "seconds" in run.result else ""),
        ("report made", time.strftime("%d %b %Y, %H:%M UTC", time.gmtime())),
    ]
    return Table("Where and when", ("", ""), tuple(row for row in rows if row[1]))
