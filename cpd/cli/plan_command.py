"""Choose what to remove: for a target, by hand, or both. The ledger shows what was asked, what was granted, and why."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cpd.cli import options
from cpd.cli.progress import Bar
from cpd.cli.score_command import score_model
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.importance.registry import CRITERIA, check_criteria
from cpd.prune.cost import CostModel
from cpd.prune.latency import LatencyModel, LatencyTable
from cpd.prune.plan import Constraints, Plan, plan_ratios
from cpd.prune.predict import AccuracyModel
from cpd.prune.solve import plan_for_target
from cpd.sensitivity.table import SensitivityTable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cpd.comb.comb import Comb

Number = TypeVar("Number", int, float)
HELP = "a plan for a target or from ratios"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_data(parser, required=False)
    parser.add_argument(
        "--target",
        metavar="T",
        action="append",
        default=[],
        help="macs=0.25 or params=0.4: the share that stays; latency_ms=8: milliseconds of a pass on this machine",
    )
    parser.add_argument(
        "--floor",
        type=float,
        default=0.0,
        metavar="A",
        help="predicted accuracy (0..1) before training that the plan must not fall below; needs --sensitivity",
    )
    parser.add_argument(
        "--sensitivity", metavar="F", default="", help="what `cpd sense --json F` measured; the solver then goes by it"
    )
    parser.add_argument(
        "--latency",
        metavar="F",
        default="",
        help="what `cpd measure --operators --json F` measured; without it latency_ms is profiled here and now",
    )
    parser.add_argument(
        "--batch", type=int, default=1, metavar="N", help="samples in a pass, for latency_ms (default 1)"
    )
    parser.add_argument(
        "--ratio", metavar="GROUP=R", action="append", default=[],
        help="remove this share of a group's units, by hand; a pattern such as 'layer1.*=0.3' names several; repeat",
    )  # fmt: skip
    parser.add_argument(
        "--min-width", metavar="GROUP=N", action="append", default=[],
        help="fewest units that this group keeps, where --minimum is not enough; patterns as for --ratio; repeat",
    )  # fmt: skip
    parser.add_argument(
        "--criterion", metavar="C", default="fisher", help=f"what ranks units: {', '.join(CRITERIA)} (default fisher)"
    )
    parser.add_argument("--batches", type=int, default=8, help="batches of 32 images behind the scores (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the images chosen (default 0)")
    parser.add_argument("--no-certify", action="store_true", help="leave out the checks that prove every group")
    parser.add_argument("--out", metavar="F", default="", help="write the plan there")
    options.add_constraints(parser)
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from cpd.cli.combed import comb_model

    target = options.targets(arguments.target)
    ratios = [options.share(text, "--ratio") for text in arguments.ratio]
    if not target and not ratios:
        raise PlanError("name a --target (macs=0.5) or a --ratio (GROUP=0.3), or both.")
    for name, ratio in ratios:
        if not 0 <= ratio <= 1:
            raise PlanError(f"{name}: pruning ratio {ratio:g} is outside 0..1.")
    if not 0 <= arguments.floor < 1 or arguments.batch < 1:
        raise PlanError("--floor must lie in 0..1 and --batch be 1 or more.")
    if arguments.floor and not arguments.sensitivity:
        raise PlanError("--floor needs --sensitivity F; `python -m cpd sense SPEC --data D --json F` measures it.")
    if (arguments.floor or arguments.sensitivity) and not target:
        raise PlanError("--floor and --sensitivity steer the solver: name a --target too.")
    table = SensitivityTable.load(Path(arguments.sensitivity)) if arguments.sensitivity else None
    times = LatencyTable.load(Path(arguments.latency)) if arguments.latency else None
    constraints = Constraints(arguments.multiple, arguments.minimum, arguments.max_ratio)
    least = [options.whole(text, "--min-width") for text in arguments.min_width]
    names = check_criteria([arguments.criterion])
    options.check_writable(arguments.out)
    options.check_writable(arguments.json)

    model, inputs = options.load(arguments)
    comb = comb_model(model, inputs, not arguments.no_certify)
    record = comb.record
    by_hand = matched(record, ratios)
    constraints = replace(constraints, minimums=matched(record, least))
    accuracy = AccuracyModel(record, table) if table else None
    if times is None and "latency_ms" in target:
        times = _profiled(model, inputs, comb, arguments)
    latency = LatencyModel(record, times) if times else None
    scores = score_model(model, inputs, record, names, arguments)[arguments.criterion].groups
    if target:
        plan = plan_for_target(
            record, scores, target, constraints, by_hand, arguments.criterion,
            accuracy=accuracy, latency=latency, floor=arguments.floor,
        )  # fmt: skip
    else:
        plan = plan_ratios(record, by_hand, scores, constraints, arguments.criterion)
    if arguments.out:
        plan.save(Path(arguments.out))
    if arguments.json:
        options.write_json(arguments.json, json.loads(plan.to_json()))
    if arguments.json != "-":
        print(as_text(record, plan, accuracy, latency))
    return 0


def _profiled(model: nn.Module, inputs: tuple[Tensor, ...], comb: Comb, arguments: argparse.Namespace) -> LatencyTable:
    from cpd.measure.operators import profile

    with Bar("timing operators") as bar:
        return profile(model, inputs, comb, batch=arguments.batch, device=arguments.device, progress=bar)


def matched(record: CombRecord, given: Sequence[tuple[str, Number]]) -> dict[str, Number]:
    """Ratio or width by group name; later patterns win. A pattern passes over locked groups, a full name does not.

    Raises:
        PlanError: a name or pattern that fits no group.
    """
    found: dict[str, Number] = {}
    for pattern, value in given:
        if pattern in record.by_name:
            found[pattern] = value
            continue
        names = [g.name for g in record.groups if g.prunable and fnmatchcase(g.name, pattern)]
        if not names:
            raise PlanError(f"no prunable group is called {pattern!r}; `python -m cpd comb SPEC` lists the names.")
        found.update(dict.fromkeys(names, value))
    return found


def as_text(
    record: CombRecord, plan: Plan, accuracy: AccuracyModel | None = None, latency: LatencyModel | None = None
) -> str:
    cost = CostModel(record)
    shares: Mapping[str, float] = cost.price(plan.keep).share_of(cost.dense)
    rows = [("group", "units", "kept", "asked", "granted", "because")]
    for row in plan.groups:
        rows.append(
            (row.group, str(row.width), str(len(row.keep)), f"{row.requested:.1%}", f"{row.granted:.1%}", row.reason)
        )
    after = cost.price(plan.keep)
    lines = [
        options.table(rows, right=(1, 2, 3, 4)),
        "",
        f"MACs       {cost.dense.macs / 1e6:12,.1f} -> {after.macs / 1e6:12,.1f} million  ({shares['macs']:.1%} stay)",
        f"parameters {cost.dense.parameters:12,} -> {after.parameters:12,}          ({shares['params']:.1%} stay)",
    ]
    if latency is not None:
        before, now = latency.estimate({}), latency.estimate(plan.keep)
        lines.append(
            f"latency    {before.value:9.2f} ms -> {now.value:9.2f} ms  (estimates; 90 % interval "
            f"{now.low:.2f}..{now.high:.2f} ms at batch {latency.table.batch})"
        )
    if accuracy is not None:
        kept = accuracy.estimate(plan.keep)
        lines.append(
            f"{accuracy.metric:10} {accuracy.table.dense:12.2%} -> {kept.value:12.2%}  (predicted before training; 90 % "
            f"interval {kept.low:.1%}..{kept.high:.1%})"
        )
    if plan.shortfall:
        lines.append(f"target not met: {plan.shortfall}")
    return "\n".join(lines)
