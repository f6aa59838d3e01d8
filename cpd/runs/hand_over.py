"""What a finished run hands over: its model opened again, its data, and its story."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cpd.export import FORMATS
from cpd.export.card import Card
from cpd.export.handover import Progress, Story, hand_over
from cpd.export.result import Handover
from cpd.export.rival import torch_pruning_script
from cpd.runs.command_line import command_line
from cpd.runs.finished import FinishedRun, read_finished
from cpd.runs.record import public_name


def hand_over_run(
    source: Path,
    folder: Path,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    images: int = 512,
    batches: Sequence[int] = (1, 32),
    seconds: float = 2.0,
    compiled: bool = False,
    progress: Progress | None = None,
) -> Handover:
    """See `cpd.export.handover.hand_over`; `source` is the folder of a finished run.

    Raises:
        RunError: it is none.
    """
    from cpd.comb.comb import comb
    from cpd.models import load_model
    from cpd.tasks import load_task

    run = read_finished(source)
    spec = run.spec
    pretrained = bool(spec.options.get("pretrained", False))
    dense, inputs = load_model(spec.model, spec.weights or None, dict(spec.settings), pretrained)
    pruned, _ = load_model(spec.model, run.bundle, dict(spec.settings))
    task = load_task(spec.data, inputs, spec.model) if spec.data else None
    card = Card(
        model=spec.model,
        data=public_name(spec.data),
        classes=task.classes if task else (),
        inputs=", ".join(f"(N, {', '.join(map(str, x.shape[1:]))})" for x in inputs),
        preprocessing=_preprocessing(spec.model, inputs[0].shape[1] if inputs[0].ndim == 4 else 0),
        dense=run.dense,
        pruned=run.pruned,
        cut=_cut(run),
        command=command_line(run.spec, plan="plan.json", public=True),
    )
    story = Story(
        run.name,
        card,
        run.plan,
        [{"step": e.step, "kind": e.kind, "text": e.text, "time": e.time, **dict(e.data)} for e in run.events],
        {name: (series.steps, series.values) for name, series in run.metrics.items()},
        torch_pruning_script(comb(dense, inputs).record, run.plan, spec.model, spec.settings, tuple(inputs[0].shape))
        if len(inputs) == 1
        else "",
        lambda found: _report(run, found),
    )
    return hand_over(
        run.bundle,
        pruned,
        inputs,
        story,
        folder,
        dense=dense,
        task=task,
        formats=formats,
        images=images,
        batches=batches,
        seconds=seconds,
        compiled=compiled,
        progress=progress,
    )


def _report(run: FinishedRun, found: Handover) -> str:
    """The stakeholder report, with what the files of the hand-over came to."""
    from cpd.report.appendix import appendix
    from cpd.report.page import page
    from cpd.report.story import tell

    story = tell(run)
    return page([story], [appendix(story, found)])


def _cut(run: FinishedRun) -> tuple[str, ...]:
    rows = run.plan.groups
    cut = [row for row in rows if row.granted]
    taught = str(run.spec.options.get("teacher") or "")
    lines = [
        f"{len(cut)} of {len(rows)} groups of channels, heads or hidden units lost units: "
        f"{sum(row.width - len(row.keep) for row in cut):,} of {sum(row.width for row in rows):,} units.",
        f"Units were ranked by the criterion {run.plan.criterion}." if run.plan.criterion else "",
        f"Trained for {int(run.result['steps']):,} steps with {public_name(taught) if taught else 'the dense model'} as teacher."
        if "steps" in run.result
        else "",
        f"Target not met: {run.plan.shortfall}" if run.plan.shortfall else "",
        "plan.json names every unit that stays; history.json says when each group was cut; report.html tells it in plain words.",
    ]
    return tuple(line for line in lines if line)


def _preprocessing(spec: str, channels: int) -> dict[str, str]:
    if not channels:
        return {}
    from cpd.tasks.classification.normalise import normalisation

    norm = normalisation(spec, channels)
    mean, std = (", ".join(f"{v:g}" for v in row) for row in (norm.mean, norm.std))
    return {
        "mean": mean,
        "std": std,
        "about": f"Pixels in 0..1, less the mean ({mean}), divided by the standard deviation ({std}), channel by channel.",
    }
