"""Score every unit of every group by one or several criteria; larger means keep."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cpd.cli import options
from cpd.cli.progress import Bar
from cpd.importance.registry import CRITERIA, check_criteria

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cpd.comb.record import CombRecord
    from cpd.importance.scores import ScoreTable

HELP = "importance of every unit"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_data(parser, required=False)
    names = ", ".join(CRITERIA)
    parser.add_argument(
        "--criterion", metavar="C", action="append", default=[], help=f"{names}; repeat for several (default fisher)"
    )
    parser.add_argument("--batches", type=int, default=8, help="batches of 32 images behind the scores (default 8)")
    parser.add_argument("--out", metavar="DIR", default="", help="keep each table there, as CRITERION.json")
    parser.add_argument("--seed", type=int, default=0, help="of the images chosen (default 0)")
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from cpd.cli.combed import comb_model

    names = check_criteria(arguments.criterion or ["fisher"])
    options.check_writable(arguments.json)
    model, inputs = options.load(arguments)
    record = comb_model(model, inputs, certify=False).record
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
    from cpd.importance.scoring import score
    from cpd.measure.machine import pick_device

    device = pick_device(arguments.device)
    model.to(device)
    batches = None
    if arguments.data and any(CRITERIA[name].needs_data for name in names):
        from cpd.tasks import load_task

        with Bar("reading images") as bar:
            task = load_task(arguments.data, inputs, arguments.spec, bar)
        source = task.train_batches(32, seed=arguments.seed, augment=False)
        batches = ((images.to(device), targets.to(device)) for images, targets in source)
    with Bar("scoring") as bar:
        return score(model, record, batches, names, arguments.batches, arguments.seed, progress=bar)


def as_text(record: CombRecord, found: ScoreTable) -> str:
    rows = [("group", "units", "least", "median", "most")]
    for group in record.groups:
        if group.name in found.groups:
            values = np.asarray(found.groups[group.name])
            low, middle, high = np.percentile(values, [0, 50, 100])
            rows.append((group.name, str(group.width), f"{low:.3g}", f"{middle:.3g}", f"{high:.3g}"))
    return f"{CRITERIA[found.criterion].title}, {found.batches} batches, {found.seconds:.1f} s\n{options.table(rows, right=(1, 2, 3, 4))}\n"
