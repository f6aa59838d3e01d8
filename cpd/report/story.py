"""A finished run told in five steps: what we had, what we cut, what it costs, what it buys, what we recommend.

Every number carries how it was measured, every sentence follows from numbers, and nothing is said that the run did not
measure. Screens and the printed report show the same story.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cpd.measure.answers import LEVEL, Answers
from cpd.measure.measurement import Latency, Measurement
from cpd.measure.metrics import words
from cpd.report import charts
from cpd.report.verdict import (
    LARGE_LOSS,
    SAFE_LOSS,
    WORTHWHILE,
    cost_headline,
    flips,
    loss_of,
    noun,
    speed_up,
    verdict,
)
from cpd.report.words import (
    big,
    count,
    duration,
    loss,
    milliseconds,
    passes,
    percent,
    points,
    points_range,
    quality_interval,
    size,
    spread,
    times,
)
from cpd.runs.finished import FinishedRun


@dataclass(frozen=True)
class Number:
    """One large number.

    Attributes:
        label: what it is, in plain words.
        value: with its unit.
        about: its uncertainty or what it stands against.
        how: how it was measured, for the appendix.
        tone: "plain", "gain" or "loss".
    """

    label: str
    value: str
    about: str = ""
    how: str = ""
    tone: str = "plain"


@dataclass(frozen=True)
class Step:
    """One step of the story; `headline` is the whole of it for a reader in a hurry."""

    title: str
    headline: str
    numbers: tuple[Number, ...]
    text: tuple[str, ...] = ()
    chart: charts.Figure | None = None
    caption: str = ""


@dataclass(frozen=True)
class Story:
    """Five steps about one run."""

    title: str
    subtitle: str
    steps: tuple[Step, ...]
    run: FinishedRun = field(repr=False)


def tell(run: FinishedRun, title: str = "") -> Story:
    """The story of `run`; `title` is what the model is called in it, its SPEC by default."""
    steps = (had(run), cut(run), costs(run), buys(run), recommend(run))
    name = title or run.spec.model
    subtitle = f"A smaller {name}" if not title else f"A smaller {run.spec.model} for {run.spec.data or 'its data'}"
    return Story(name, subtitle, steps, run)


def had(run: FinishedRun) -> Step:
    """Step 1: the original network."""
    dense = run.dense
    first = dense.latency[0] if dense.latency else None
    numbers = (
        [_quality("answers right" if dense.metric == "top1" else words(dense.metric).title, dense)]
        if dense.quality is not None
        else []
    )
    if first is not None:
        numbers.append(
            Number(
                f"time for {_batch(first.batch)}", milliseconds(first.median_ms), spread(first), _timed(first, dense)
            )
        )
    numbers.append(
        Number(
            "size",
            size(dense.parameters),
            f"{big(dense.parameters)} learned values",
            "parameters at 4 bytes each, counted",
        )
    )
    numbers.append(
        Number(
            "work for an image",
            f"{big(dense.macs)}",
            "multiplications",
            "multiply-accumulates, counted from the operators",
        )
    )
    right = "" if dense.quality is None else f" that reaches {percent(dense.quality)} {noun(dense)}"
    return Step(
        "What we had",
        f"A network{right} and needs {milliseconds(first.median_ms)} for {_batch(first.batch)}."
        if first is not None
        else f"A network{right} of {big(dense.parameters)} learned values.",
        tuple(numbers),
        (f"The original is {run.spec.model}, measured on {dense.images:,} held-out images of {run.spec.data} that it was not trained on."
         if dense.quality is not None else f"The original is {run.spec.model}.",),
    )  # fmt: skip


def cut(run: FinishedRun) -> Step:
    """Step 2: what was removed, and why nothing else changed."""
    rows = run.plan.groups
    removed, total = sum(row.width - len(row.keep) for row in rows), sum(row.width for row in rows)
    touched = sum(bool(row.granted) for row in rows)
    comb = run.comb
    numbers = [
        Number(
            "internal channels removed", percent(removed / total), f"{removed:,} of {total:,}", "counted in the plan"
        ),
        Number(
            "places that were cut",
            f"{touched}",
            f"of {count(len(rows), 'group')} that belong together",
            "counted in the plan",
        ),
    ]
    if comb is not None and comb.certified:
        about = f"of {count(comb.prunable, 'group')} that may be cut"
        numbers.append(Number("proved before cutting", f"{comb.certified}", about, _CHECKS))
    locked = frozenset(comb.locked) if comb is not None else frozenset()
    taught = f" for {duration(float(run.result['seconds']))}" if "seconds" in run.result else ""
    return Step(
        "What we cut, and why that is safe",
        f"Whole internal channels, {percent(removed / total, 0)} of them, chosen by how little the network relies on them.",
        tuple(numbers),
        (
            "Parts of a network hang together: whoever removes a channel in one layer must remove what reads it in the next. "
            "Those parts were found from the network's own calculation, not from a list of known designs.",
            *(
                [
                    "Each group was then tested on the network itself: exchanging its channels changes nothing, and cutting them "
                    "equals silencing them. A group that fails stays whole."
                ]
                if comb is not None and comb.certified
                else []
            ),
            f"While it shrank, the original network stood by as a teacher{taught}: the smaller one learned to give the same answers.",
            "Nothing is masked or skipped: the removed numbers are gone from the file.",
        ),
        charts.widths(run.plan, locked),
        "Each bar is one group of channels; the orange part was removed, grey bars had to stay whole.",
    )  # fmt: skip


_CHECKS = (
    "two numerical checks on the model itself for every group: exchanging its units everywhere must not change the output, "
    "and the cut network must equal the whole one with the same units silenced"
)


def costs(run: FinishedRun) -> Step:
    """Step 3: what was lost."""
    dense, pruned = run.dense, run.pruned
    if dense.quality is None or pruned.quality is None:
        return Step(
            "What it costs",
            "It was not measured: the run had no labelled images.",
            (),
            ("Measure the pruned network on images of your own first.",),
        )
    change = loss_of(run)
    label = "change in " + noun(pruned)
    tone = "loss" if change.high < 0 else "gain" if change.low > 0 else "plain"
    numbers = [
        Number(
            label,
            points(change.value),
            f"{points_range(change.low, change.high)} ({LEVEL:.0%} interval)",
            change.how,
            tone,
        ),
        _quality("now", pruned),
    ]
    text = [verdict(change, pruned)]
    answers = run.answers
    chart, caption = None, ""
    if answers is not None:
        text.append(flips(answers, pruned))
        numbers.append(_flip_number(answers, pruned))
    chart = charts.learning(run.metrics, pruned.metric, words(pruned.metric).title, run.events)
    if chart is not None:
        caption = (
            "The pruned network while it shrank and learned; the dashed line is the original, orange marks are cuts."
        )
    elif answers is not None:
        chart, caption = (
            charts.per_class(answers.class_differences(), words(pruned.metric).short),
            "Change class by class, with intervals.",
        )
    return Step("What it costs", cost_headline(change, pruned), tuple(numbers), tuple(text), chart, caption)


def _flip_number(answers: Answers, pruned: Measurement) -> Number:
    what = "images answered differently" if pruned.metric == "top1" else "pixels answered differently"
    about = f"{int(answers.flipped.sum())} of {answers.images:,}" if pruned.metric == "top1" else "mean over images"
    return Number(
        what, percent(float(answers.flipped.mean())), about, "answers of both networks compared image by image"
    )


def buys(run: FinishedRun) -> Step:
    """Step 4: what was won, on the machine it was measured on."""
    dense, pruned = run.dense, run.pruned
    numbers = []
    both = [(row, other) for row in dense.latency if (other := pruned.at(row.batch)) is not None]
    for row, other in both:
        factor = row.median_ms / other.median_ms
        about = f"{milliseconds(other.median_ms)} instead of {milliseconds(row.median_ms)}"
        tone = "gain" if factor > WORTHWHILE else "plain"
        numbers.append(
            Number(
                f"faster, {passes(row.batch)}",
                times(factor),
                about,
                f"{_timed(other, pruned)}, in turn with the original",
                tone,
            )
        )
    parameters, macs = pruned.parameters / dense.parameters, pruned.macs / dense.macs
    numbers.append(
        Number(
            "size",
            size(pruned.parameters),
            f"{percent(parameters, 0)} of the original",
            "parameters at 4 bytes each, counted",
            "gain" if parameters < 1 else "plain",
        )
    )
    numbers.append(Number("work for an image", percent(macs, 0), f"of the original: {big(pruned.macs)} multiplications", "multiply-accumulates, counted from the operators",
                          "gain" if macs < 1 else "plain"))  # fmt: skip
    for memory in pruned.memory[-1:]:
        before = dense.memory_at(memory.batch)
        if before:
            numbers.append(
                Number(
                    f"memory while it works, {passes(memory.batch)}",
                    size(memory.peak_bytes // 4),
                    f"{percent(memory.peak_bytes / before, 0)} of the original",
                    "weights, images and all in between at the fullest moment of a pass, every allocation recorded",
                    "gain" if memory.peak_bytes < before else "plain",
                )
            )
    best = speed_up(run)
    headline = (
        f"{times(best[1])} as fast on this machine, {passes(best[0])}, and {percent(1 - parameters, 0)} smaller."
        if best is not None
        else f"{percent(1 - parameters, 0)} smaller; its speed was not measured."
    )
    return Step(
        "What it buys on this machine",
        headline,
        tuple(numbers),
        (f"Measured on {pruned.machine} ({pruned.device}), original and pruned network in turn, so that a busy moment falls on both. "
         "Another machine gives other numbers; measure there before you count on them.",),
        charts.speed(both) if both else None,
        "Time for one image; the thin lines hold eight of ten passes.",
    )  # fmt: skip


def recommend(run: FinishedRun) -> Step:
    """Step 5: what follows from the numbers, by rules that the appendix states."""
    best = speed_up(run)
    faster = max(
        (row.median_ms / other.median_ms for row in run.dense.latency if (other := run.pruned.at(row.batch))),
        default=0.0,
    )
    text: list[str] = []
    if run.pruned.quality is None or run.dense.quality is None:
        return Step(
            "What we recommend",
            "Measure it on labelled images before you use it.",
            (),
            ("Its speed and size are known, what it gets right is not.",),
        )
    change = loss_of(run)
    if change.value < -LARGE_LOSS:
        headline = "Do not switch yet: cut less, or train longer."
        text.append(
            f"It loses {loss(change.value)}. A plan that keeps more, or more training after the last cut, usually wins most of that back."
        )
    elif faster < WORTHWHILE:
        headline = "Switch only for the smaller size: it is not noticeably faster here."
        text.append(
            "Fewer calculations do not always take less time. Widths in multiples of 16, or cuts in other layers, may; the plan screen shows which."
        )
    elif change.low < -LARGE_LOSS:
        headline = "Promising; test it on more images before you switch."
        text.append(f"With {run.pruned.images:,} test images a loss of up to {loss(change.low)} cannot be ruled out.")
    elif change.value < -SAFE_LOSS:
        headline = f"Switch where a loss of {loss(change.value)} is worth a network {times(faster)} as fast."
    else:
        headline = "Switch: it does the same job with less."
    text += [
        "Before it goes live, run it on images from where it will work, and look at the classes that matter most to you.",
        "Keep the original: the same plan can be repeated, or relaxed, from it at any time.",
    ]
    if run.plan.shortfall:
        text.append(f"The target was not met in full: {run.plan.shortfall}")
    numbers = []
    if best is not None:
        numbers.append(
            Number("speed", times(best[1]), passes(best[0]), "", "gain" if best[1] > WORTHWHILE else "plain")
        )
    numbers.append(Number(f"change in {noun(run.pruned)}", points(change.value), points_range(change.low, change.high), "",
                          "loss" if change.high < 0 else "plain"))  # fmt: skip
    numbers.append(Number("of the original size", percent(run.pruned.parameters / run.dense.parameters, 0)))
    return Step("What we recommend", headline, tuple(numbers), tuple(text))


def _quality(label: str, found: Measurement) -> Number:
    assert found.quality is not None
    about = quality_interval(found) or f"on {count(found.images, 'image')}"
    return Number(
        label, percent(found.quality), about, f"{words(found.metric).title} on {count(found.images, 'held-out image')}"
    )


def _batch(batch: int) -> str:
    return "one image" if batch == 1 else f"{batch} images"


def _timed(row: Latency, found: Measurement) -> str:
    threads = count(row.threads, "thread")
    return f"median of {row.runs:,} passes, batch {row.batch}, {threads}, {found.machine}, torch {found.torch}"
