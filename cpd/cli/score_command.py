"""Score every unit of every group by one or several criteria; larger means keep."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpd.cli import options
from cpd.cli.progress import Bar
from cpd.importance.registry import CRITERIA, check_criteria, unfit
from cpd.importance.stability import stability

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cpd.comb.record import CombRecord
    from cpd.importance.scores import ScoreTable

HELP = "importance of every unit"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_data(parser, required=False)
    parser.add_argument(
        "--criterion", metavar="C", action="append", default=[],
        help=f"{', '.join(CRITERIA)}; all for every one that fits; repeat for several (default fisher)",
    )  # fmt: skip
    parser.add_argument("--batches", type=int, default=8, help="batches of 32 images behind the scores (default 8)")
    parser.add_argument("--out", metavar="DIR", default="", help="keep each table there, as CRITERION.json")
    parser.add_argument("--seed", type=int, default=0, help="of the images chosen (default 0)")
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from cpd.cli.combed import comb_model

    asked = arguments.criterion or ["fisher"]
    names = check_criteria(CRITERIA if "all" in asked else asked)
    options.check_writable(arguments.json)
    model, inputs = options.load(arguments)
    record = comb_model(model, inputs, certify=False).record
    if "all" in asked:
        names = tuple(n for n in names if not unfit(n, record) and (arguments.data or not CRITERIA[n].needs_data))
    tables = score_model(model, inputs, record, names, arguments)
    if arguments.out:
        for name, found in tables.items():
            found.save(Path(arguments.out) / f"{name}.json")
    if arguments.json:
        options.write_json(arguments.json, {name: json.loads(found.to_json()) for name, found in tables.items()})
    if arguments.json != "-":
        for found in tables.values():
            print(as_text(record, found))
    return 0


def score_model(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    record: CombRecord,
    names: tuple[str, ...],
    arguments: argparse.Namespace,
) -> dict[str, ScoreTable]:
    """Scores by the criteria, on data where one of them needs it.

    Raises:
        DataError: one does, and no data was named.
    """
    from torch.nn import functional

    from cpd.importance.scoring import score
    from cpd.measure.machine import pick_device

    device = pick_device(arguments.device)
    model.to(device)
    batches = None
    loss: Callable[[Any, Any], Any] = functional.cross_entropy
    if arguments.data and any(CRITERIA[name].needs_data for name in names):
        from cpd.tasks import load_task

        with Bar("reading images") as bar:
            task = load_task(arguments.data, inputs, arguments.spec, bar)
        source = task.train_batches(32, seed=arguments.seed, augment=False)
        batches = ((images.to(device), targets.to(device)) for images, targets in source)
        loss = task.loss
    with Bar("scoring") as bar:
        return score(model, record, batches, names, arguments.batches, arguments.seed, loss=loss, progress=bar)


def as_text(record: CombRecord, found: ScoreTable) -> str:
    """A row a group; `stable` is the rank correlation between scores of separate parts of the batches."""
    stable = stability(found.parts)
    rows = [("group", "units", "least", "median", "most") + (("stable",) if stable else ())]
    for group in record.groups:
        if group.name in found.groups:
            values = np.asarray(found.groups[group.name])
            low, middle, high = np.percentile(values, [0, 50, 100])
            quiet = group.name in found.silent
            numbers = ("-", "-", "-") if quiet else (f"{low:.3g}", f"{middle:.3g}", f"{high:.3g}")
            again = stable.get(group.name, float("nan"))
            last = (("-" if quiet or again != again else f"{again:.2f}"),) if stable else ()
            rows.append((group.name, str(group.width), *numbers, *last))
    lines = [f"{CRITERIA[found.criterion].title}, {found.batches} batches, {found.seconds:.1f} s"]
    lines.append(options.table(rows, right=(1, 2, 3, 4, 5)))
    if stable:
        lines.append(f"stable: rank correlation between scores of {len(found.parts)} separate parts of the batches")
    if found.silent:
        lines.append(f"-: the criterion says nothing of {len(found.silent)} of {len(found.groups)} groups")
    return "\n".join(lines) + "\n"
