"""What a run's numbers allow to be said: how much was lost and how sure that is, what was won, which answers changed."""

from __future__ import annotations

from cpd.measure.answers import Answers, Difference, wilson
from cpd.measure.measurement import Measurement
from cpd.measure.metrics import words
from cpd.report.words import count, loss, percent, points
from cpd.runs.finished import FinishedRun

SAFE_LOSS = 0.005  # a loss of up to half a point is called small
LARGE_LOSS = 0.02  # beyond it nobody should switch without looking
WORTHWHILE = 1.1  # times faster; less is within what a busy machine does by itself


def loss_of(run: FinishedRun) -> Difference:
    """Change of the metric, pruned less dense; paired over the images where the run kept its answers."""
    answers = run.answers
    if answers is not None and answers.metric == run.pruned.metric:
        return answers.difference()
    dense, pruned = run.dense, run.pruned
    assert dense.quality is not None
    assert pruned.quality is not None
    value = pruned.quality - dense.quality
    if pruned.metric != "top1":
        return Difference(value, value, value, "no interval: the run kept no answers to single images")
    # Newcombe 1998, method 10: from both Wilson intervals; wider than a paired one.
    (l1, u1), (l2, u2) = wilson(pruned.quality, pruned.images), wilson(dense.quality, dense.images)
    low = value - ((pruned.quality - l1) ** 2 + (u2 - dense.quality) ** 2) ** 0.5
    high = value + ((u1 - pruned.quality) ** 2 + (dense.quality - l2) ** 2) ** 0.5
    return Difference(value, low, high, f"{pruned.images} images, not paired")


def speed_up(run: FinishedRun) -> tuple[int, float] | None:
    """(batch size, times as fast) at the largest batch size that was timed; None where nothing was."""
    rows = [
        (row.batch, row.median_ms / other.median_ms)
        for row in run.dense.latency
        if (other := run.pruned.at(row.batch)) is not None
    ]
    return max(rows) if rows else None


def verdict(change: Difference, pruned: Measurement) -> str:
    """How sure the change is, in a sentence."""
    if change.low == change.high == change.value and change.value:
        return "How sure that is cannot be said from this run."
    if not change.is_clear:
        return f"With {pruned.images:,} test images this change cannot be told from none at all; a loss larger than {loss(min(change.low, 0.0))} is unlikely."
    side = "loss" if change.value < 0 else "gain"
    return f"This {side} is larger than chance explains with {pruned.images:,} test images."


def cost_headline(change: Difference, pruned: Measurement) -> str:
    """The change in a sentence; one within chance is not called a loss."""
    what = noun(pruned)
    if not change.is_clear and abs(change.value) <= SAFE_LOSS:
        return f"No measurable change: {points(change.value)} of {what}, within what chance explains."
    kind = "gains" if change.value > 0 else "loses"
    sure = "" if change.is_clear else ", though chance alone could explain it"
    return f"It {kind} {loss(change.value)} of {what}{sure}."


def flips(answers: Answers, pruned: Measurement) -> str:
    """How many answers are other ones now, and which way they went."""
    if pruned.metric != "top1":
        return (
            f"On average {percent(float(answers.flipped.mean()))} of an image's pixels get another answer than before."
        )
    # whoever is judged by top-1 gave every image one answer; only those judged by pixels keep none
    was = answers.dense.answer == answers.targets  # type: ignore[union-attr]
    now = answers.pruned.answer == answers.targets  # type: ignore[union-attr]
    lost, won, all_of = int((was & ~now).sum()), int((now & ~was).sum()), int(answers.flipped.sum())
    if not all_of:
        return f"All {answers.images:,} images get the same answer as before."
    return (
        f"{count(all_of, 'image')} of {answers.images:,} {'gets' if all_of == 1 else 'get'} another answer than before: "
        f"{lost} went from right to wrong, {won} from wrong to right"
        + (f", {all_of - lost - won} from one wrong answer to another." if all_of > lost + won else ".")
    )


def noun(found: Measurement) -> str:
    """The metric as one says it in a sentence."""
    return {"top1": "accuracy", "miou": "mean IoU"}.get(found.metric, words(found.metric).short)
