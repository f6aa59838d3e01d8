"""The model card: what the network is, what it takes, what it costs, how well it does, and how all that was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cpd.export import FORMATS
from cpd.export.result import FormParity, Handover
from cpd.files import replacing
from cpd.measure.measurement import Latency, Measurement
from cpd.measure.metrics import words


@dataclass(frozen=True)
class Card:
    """Facts of the card.

    Attributes:
        model: SPEC of the dense architecture, e.g. "timm:resnet18".
        data: data set that it was trained and measured on, "" where none is known.
        classes: names in the order of the outputs.
        inputs: shape of one batch of each input, e.g. "(N, 3, 224, 224)".
        preprocessing: how pixels become inputs: mean and std of each channel, value range.
        dense, pruned: measured by the run; None for a folder without a run.
        cut: sentences about the cut: groups, criterion, shortfall.
        command: a command line that does the run again.
    """

    model: str
    data: str = ""
    classes: tuple[str, ...] = ()
    inputs: str = ""
    preprocessing: Mapping[str, str] = field(default_factory=dict)
    dense: Measurement | None = None
    pruned: Measurement | None = None
    cut: tuple[str, ...] = ()
    command: str = ""


def write_card(path: Path, card: Card, found: Handover) -> None:
    with replacing(path) as file:
        file.write(card_text(card, found).encode())


def card_text(card: Card, found: Handover) -> str:
    """The card in Markdown."""
    parts = [
        f"# {card.model}, pruned\n\nA smaller network with the same inputs and outputs as the dense one it was cut from."
        " Nothing is masked: its tensors are smaller.",
        _numbers(card),
        "## What was cut\n\n" + "\n".join(f"- {line}" for line in card.cut) if card.cut else "",
        _use(card, found),
        _forms(found),
        f"## Do it again\n\n```\n{card.command}\n```" if card.command else "",
        "## Limits\n\n"
        "The numbers hold for the data and the machine they were measured on. The licence of the dense weights and of the"
        " data applies to this network too. It was not examined for uses other than that of the dense model.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _numbers(card: Card) -> str:
    if card.dense is None or card.pruned is None:
        return ""
    dense, pruned = card.dense, card.pruned
    rows = [
        (
            "parameters",
            f"{dense.parameters:,}",
            f"{pruned.parameters:,}",
            f"{pruned.parameters / dense.parameters:.1%} stay",
        ),
        ("MACs per sample", f"{dense.macs:,.0f}", f"{pruned.macs:,.0f}", f"{pruned.macs / dense.macs:.1%} stay"),
    ]
    if dense.quality is not None and pruned.quality is not None:
        change = f"{100 * (pruned.quality - dense.quality):+.2f} points"
        rows.append((words(pruned.metric).short, f"{dense.quality:.2%}", f"{pruned.quality:.2%}", change))
    for timed in dense.latency:
        other = pruned.at(timed.batch)
        if other is not None:
            speed = f"{timed.median_ms / other.median_ms:.2f}x faster"
            rows.append(
                (f"latency, batch {timed.batch}", f"{timed.median_ms:.2f} ms", f"{other.median_ms:.2f} ms", speed)
            )
    table = _table(("", "dense", "pruned", ""), rows)
    where = f"Median latency on {dense.machine}, {dense.device}, torch {dense.torch}"
    images = (
        f"; {words(pruned.metric).short} on {pruned.images:,} held-out images of {card.data}"
        if pruned.quality is not None
        else ""
    )
    return f"## In numbers\n\n{table}\n\n{where}{images}."


def _use(card: Card, found: Handover) -> str:
    lines = ["## Use", ""]
    if card.inputs:
        lines.append(
            f"Inputs: {card.inputs}, float32."
            + (f" {card.preprocessing['about']}" if "about" in card.preprocessing else "")
        )
    if card.classes:
        names = ", ".join(card.classes[:20]) + (f", ... {len(card.classes)} in all" if len(card.classes) > 20 else "")
        lines.append(f"Outputs: one score for each of {len(card.classes)} classes: {names}.")
    examples = {
        "loader": "from load import load          # beside this file; needs torch and safetensors\nnet = load()",
        "onnx": 'session = onnxruntime.InferenceSession("model.onnx")',
        "pt2": 'net = torch.export.load("model.pt2").module()',
    }
    code = [examples[form.form] for form in found.forms if form.form in examples and form.files]
    lines += ["", "```python", *code, "```"] if code else []
    return "\n".join(lines)


def _forms(found: Handover) -> str:
    on = f"{found.images:,} held-out images" if found.inputs == "images" else "random inputs, since there were no data"
    metric = words(found.metric).short
    rows = []
    for form in found.forms:
        name = FORMATS.get(form.form, "torch.compile, not a file")
        cells = [form.form, name, _difference(form), "" if form.quality is None else f"{form.quality:.2%}"]
        rows.append(
            (
                *cells,
                *(_ms(form.latency, row.batch) for row in found.eager),
                form.verdict,
            )
        )
    eager = ("pruned", "as measured here, eager", "", "" if found.quality is None else f"{found.quality:.2%}")
    rows.insert(0, (*eager, *(_ms(found.eager, row.batch) for row in found.eager), ""))
    head = (
        "form",
        "what",
        "largest difference",
        metric,
        *(f"ms, batch {row.batch}" for row in found.eager),
        "verified",
    )
    return (
        f"## Every form beside the pruned model\n\n{_table(head, rows)}\n\n"
        f"Each file was opened again and run on {on}; latency is the median, timed from the opened file, {found.machine}."
    )


def _difference(form: FormParity) -> str:
    if form.difference is None or form.scale is None:
        return ""
    if form.difference == 0:
        return "none, to the last bit"
    return f"{form.difference:.1e} of {form.scale:.3g}" if math.isfinite(form.difference) else "not finite"


def _ms(rows: tuple[Latency, ...], batch: int) -> str:
    return next((f"{row.median_ms:.2f}" for row in rows if row.batch == batch), "")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
