"""Measure a model on this machine: parameters, MACs, latency and, with data, accuracy."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cpd.cli import options
from cpd.cli.progress import Bar
from cpd.errors import RunError
from cpd.measure.measurement import Measurement
from cpd.measure.metrics import words
from cpd.prune.latency import LatencyModel, LatencyTable

if TYPE_CHECKING:
    from torch import Tensor, nn

HELP = "parameters, MACs, latency, accuracy"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_data(parser, required=False)
    parser.add_argument(
        "--batch",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="batch size to time; repeat (default 1 and 32)",
    )
    parser.add_argument(
        "--seconds", type=float, default=3.0, metavar="S", help="of timed passes for each batch size (default 3)"
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: torch's own choice)")
    parser.add_argument(
        "--operators",
        action="store_true",
        help="time every operator at several widths instead, for estimates of latency; --json keeps the table for plan",
    )
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    import torch

    from cpd.measure import measure
    from cpd.measure.machine import pick_device
    from cpd.tasks import load_task

    batches = tuple(dict.fromkeys(arguments.batch or (1, 32)))
    if min(batches) < 1 or arguments.threads < 0:
        raise RunError("--batch must be 1 or more and --threads not below 0.")
    pick_device(arguments.device)
    options.check_writable(arguments.json)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model, inputs = options.load(arguments)
    if arguments.operators:
        return _operators(model, inputs, batches[0], arguments)
    task = None
    if arguments.data:
        with Bar("reading images") as bar:
            task = load_task(arguments.data, inputs, arguments.spec, bar)
    with Bar("measuring") as bar:
        found = measure(
            model, inputs, task, device=arguments.device, batches=batches, seconds=arguments.seconds, progress=bar
        )
    if arguments.json:
        options.write_json(arguments.json, found.to_dict())
    if arguments.json != "-":
        print(as_columns({arguments.spec: found}))
    return 0


def _operators(model: nn.Module, inputs: tuple[Tensor, ...], batch: int, arguments: argparse.Namespace) -> int:
    from cpd.cli.combed import comb_model
    from cpd.measure.operators import profile

    comb = comb_model(model, inputs, certify=False)
    with Bar("timing operators") as bar:
        table = profile(
            model, inputs, comb, batch=batch, device=arguments.device, seconds=10 * arguments.seconds, progress=bar
        )
    if arguments.json:
        options.write_json(arguments.json, table.to_dict())
    if arguments.json != "-":
        print(as_kinds(table, LatencyModel(comb.record, table)))
    return 0


def as_kinds(table: LatencyTable, model: LatencyModel) -> str:
    """Milliseconds of the dense network by kind of operator, and how far off estimates are."""
    times: dict[str, tuple[int, float]] = {}
    for operator, ms in zip(table.operators, model.by_operator({}), strict=True):
        count, total = times.get(operator.kind, (0, 0.0))
        times[operator.kind] = (count + 1, total + float(ms))
    rows = [("operator", "calls", "ms", "share")]
    for kind, (count, ms) in sorted(times.items(), key=lambda item: -item[1][1]):
        rows.append((kind, str(count), f"{ms:.3f}", f"{ms / max(table.dense_ms, 1e-9):.1%}"))
    rows.append(("beside them", "", f"{table.fixed_ms:.3f}", f"{table.fixed_ms / max(table.dense_ms, 1e-9):.1%}"))
    return (
        f"{options.table(rows, right=(1, 2, 3))}\n"
        f"dense at batch {table.batch}: {table.dense_ms:.2f} ms measured, {model.estimate({}).value:.2f} ms estimated; "
        f"over {len(table.checks)} random plans that were not fitted estimates are off by {table.median_error:.1%} in the "
        f"median. {table.machine}, {table.device}, {table.threads} thread(s), torch {table.torch}; {table.seconds:.0f} s."
    )


def as_columns(columns: Mapping[str, Measurement]) -> str:
    """Measurements side by side; with two, what changed between the first and the last."""
    found = list(columns.values())
    first, last = found[0], found[-1]
    ratio = len(found) > 1

    def row(name: str, cells: list[str], change: str) -> list[str]:
        return [name, *cells, *([change] if ratio else [])]

    rows = [row("", list(columns), "change")]
    rows.append(
        row("parameters", [f"{m.parameters:,}" for m in found], f"{last.parameters / first.parameters:.1%} stay")
    )
    rows.append(
        row(
            "million MACs",
            [f"{m.macs / 1e6:,.1f}" for m in found],
            f"{last.macs / first.macs:.1%} stay" if first.macs else "",
        )
    )
    if all(m.quality is not None and m.metric == first.metric for m in found):
        points = ((last.quality or 0) - (first.quality or 0)) * 100
        said = words(first.metric)
        rows.append(row(said.short, [f"{m.quality:.2%}" for m in found], f"{points:+.2f} points"))
        for name in first.classes or {}:
            each = [(m.classes or {}).get(name) for m in found]
            points = ((each[-1] or 0) - (each[0] or 0)) * 100
            cells = [f"{value:.2%}" if value is not None else "" for value in each]
            rows.append(row(f"  {said.per} {name}", cells, f"{points:+.2f} points"))
    for timed in first.latency:
        others = [m.at(timed.batch) for m in found]
        cells = [f"{t.median_ms:.2f} ms ({t.p10_ms:.2f}..{t.p90_ms:.2f})" if t else "" for t in others]
        change = f"{timed.median_ms / others[-1].median_ms:.2f}x faster" if others[-1] else ""
        rows.append(row(f"batch {timed.batch}", cells, change))
    tail = f"median (10th..90th percentile), {first.machine}, {first.device}, torch {first.torch}"
    if first.quality is not None:
        tail += f"; {first.images} held-out images"
    return f"{options.table(rows, right=range(1, len(rows[0])))}\n{tail}"
