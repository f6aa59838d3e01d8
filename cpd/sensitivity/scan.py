"""The scan: one group after another, cut for real at one width after another, its accuracy and latency measured.

What makes it fast, all of it exact but the second, which says how exact it is:
- the network before a group is the dense one, so images wait there for every width and for the groups behind
  (frontier.py); batch-norm statistics are taken from images that wait there too;
- a width gets as many images as its difference to the dense network needs (judge.py), and a group ends at the floor;
- convolutions get their images channels last, the order that their kernels want;
- latency is timed for all widths of a group in turn, of the operators that differ from the dense network's alone
  (timing.py), and once for networks that do the same work on the same shapes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from cpd.comb.comb import Comb
from cpd.measure.machine import device_name
from cpd.measure.recalibrate import live_norms
from cpd.prune.cost import CostModel
from cpd.prune.index import kept_positions
from cpd.prune.plan import Plan, Scores, uniform_plan
from cpd.prune.surgery import prune
from cpd.sensitivity.evaluate import Enough, Evaluator
from cpd.sensitivity.ladder import Rung, chosen, ladder, tied_family
from cpd.sensitivity.part import Work
from cpd.sensitivity.sample import EVALUATED, calibration, held_out
from cpd.sensitivity.settings import SenseSettings
from cpd.sensitivity.table import GroupSensitivity, Point, SensitivityTable
from cpd.sensitivity.timing import Ratio, Stopwatch
from cpd.sensitivity.turns import Alone, Found
from cpd.tasks.task import Task

Report = Callable[[SensitivityTable, int, int], None]  # (table so far, widths done, widths in all)
Progress = Callable[[int, int], None]


def scan(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    comb: Comb,
    task: Task,
    scores: Scores,
    settings: SenseSettings = SenseSettings(),
    device: torch.device | None = None,
    seed: int = 0,
    table: SensitivityTable | None = None,
    report: Report = lambda table, done, total: None,
    prepare: Progress = lambda done, total: None,
    check: Callable[[], None] = lambda: None,
    share: Alone = Alone(),
) -> SensitivityTable:
    """The sensitivity of every prunable group.

    Args:
        model: the dense model, left as it was.
        scores: which units stay, larger means keep.
        seed: of the images chosen.
        table: what an earlier, interrupted scan with the same arguments has reported last; it is gone on from.
        report: told after every width and every timing; may raise to end the scan.
        prepare: told while the dense network is evaluated; may raise as well.
        check: called between batches; may raise as well.
        share: says which groups other workers of the same scan have measured, or are at.
    Raises:
        PlanError: a group that does not exist or is locked.
        DataError: the model does not fit the data, or the metric cannot be scanned.
    """
    found = _Scan(model, inputs, comb, task, scores, settings, device or torch.device("cpu"), seed)
    return found.run(table, report, prepare, check, share)


class _Scan:
    def __init__(
        self,
        model: nn.Module,
        inputs: tuple[Tensor, ...],
        comb: Comb,
        task: Task,
        scores: Scores,
        settings: SenseSettings,
        device: torch.device,
        seed: int,
    ) -> None:
        self.model, self.inputs, self.comb, self.task = model, inputs, comb, task
        self.settings, self.device, self.seed = settings, device, seed
        record = comb.record
        self.costs = CostModel(record)
        self.families: dict[str, tuple[str, ...]] = {}
        for group in chosen(record, settings.groups):
            family = tied_family(record, group.name)
            self.families.setdefault(family[0], family)
        self.rungs = {
            name: ladder(record, record.by_name[name], settings.ratios, scores, settings.multiple)
            for name in self.families
        }
        self.total = sum(len(rungs) for rungs in self.rungs.values())
        self.dense = self._cut(uniform_plan(record, 0.0))
        self.watch: Stopwatch | None = None
        self.ratios_by_key: dict[tuple[str, ...], Ratio] = {}

    def run(
        self,
        table: SensitivityTable | None,
        report: Report,
        prepare: Progress,
        check: Callable[[], None],
        share: Alone,
    ) -> SensitivityTable:
        self.start = time.perf_counter() - (table.seconds if table else 0.0)
        self.report, self.check = report, check
        size = EVALUATED if self.device.type == "cpu" else 4 * EVALUATED  # small batches leave accelerators idle
        known = held_out(self.task, self.settings.images, self.seed, size=size)
        images: tuple[Tensor, ...] = ()
        if live_norms(self.dense):
            images = calibration(self.task, self.settings.calibration, self.seed)
        self.evaluator = Evaluator(
            self.dense, self.task, images, known, self.device, self.settings.memory_mb << 20, self.seed, prepare
        )
        self.table = table or self._empty(sum(len(each) for each in images))
        self._tell()
        for name, found in share.turns(sorted(self.rungs, key=self._position), check):
            if found is None:
                self._scan_group(name)
                share.keep(name, Found(self.table.groups[name], self.table.dense_latency_ms))
            else:
                self._take(name, found)
        self.table = replace(self.table, done=self.table.groups.keys() >= self.rungs.keys())
        self._tell()
        return self.table

    def _scan_group(self, name: str) -> None:
        rungs, known = self.rungs[name], self.table.groups.get(name)
        points = list(known.points) if known else [self._dense_point(name)]
        stopped = known.stopped if known else ("" if rungs else "no smaller width is legal")
        enough = Enough(self.settings.tolerance, self.table.floor)
        networks: dict[int, GraphModule] = {}
        told: tuple[int, set[Node]] | None = None
        for rung in rungs[len(points) - 1 :]:
            if stopped:
                break
            network = networks[rung.kept] = self._cut(rung.plan)
            each = self.evaluator.split(network)
            place = (each.first, set(each.shared.values()))
            if place != told:  # all widths of a group leave the dense network alike, as a rule
                self.evaluator.advance([each])
                told = place
            verdict, images = self.evaluator(each, enough, self.check)
            macs = self.costs.price(rung.plan.keep).macs
            found = Point(rung.kept, verdict.value, verdict.low, verdict.high, images, macs=macs)
            points.append(replace(found, deviation=verdict.deviation))
            if verdict.value < self.table.floor:
                width = self.comb.record.by_name[name].width
                stopped = (
                    f"{verdict.value:.1%} with {rung.kept} of {width} units, below the floor {self.table.floor:.1%}"
                )
            self._keep(name, points, stopped)
        if self.settings.batch and any(point.latency_ms is None for point in points[1:]):
            points = self._timed(points, rungs, networks)
        self._keep(name, points, stopped)

    def _take(self, name: str, found: Found) -> None:
        """What another worker has measured; times as shares of its own dense network's."""
        if self.table.dense_latency_ms is None:
            self.table = replace(self.table, dense_latency_ms=found.dense_latency_ms)
        here, there = self.table.dense_latency_ms, found.dense_latency_ms
        scale = here / there if here and there else 1.0
        times = ("latency_ms", "latency_low", "latency_high")
        points = [
            replace(point, **{key: ms * scale for key in times if (ms := getattr(point, key)) is not None})
            for point in found.group.points
        ]
        self._keep(name, points, found.group.stopped)

    def _timed(self, points: list[Point], rungs: Sequence[Rung], networks: dict[int, GraphModule]) -> list[Point]:
        """The points with their latency; networks that were cut before an interruption are cut again."""
        plans = {rung.kept: rung.plan for rung in rungs}
        if self.watch is None:
            here = tuple(x.to(self.device) for x in self.inputs)
            self.watch = Stopwatch(self.dense, here, self.settings.batch, self.device)
        works: dict[int, Work] = {}
        for point in points[1:]:
            if point.kept not in networks:
                networks[point.kept] = self._cut(plans[point.kept])
            works[point.kept] = self.watch.work(networks[point.kept])
        keys = {kept: tuple(sorted(each)) for kept, each in works.items()}
        first = {key: kept for kept, key in reversed(keys.items()) if key not in self.ratios_by_key}
        new = {kept: networks[kept] for kept in first.values()}
        if new:
            found, dense_ms = self.watch.ratios(new, works, self.settings.latency_s)
            self.ratios_by_key.update({keys[kept]: ratio for kept, ratio in found.items()})
            if self.table.dense_latency_ms is None:
                self.table = replace(self.table, dense_latency_ms=dense_ms)
        dense = self.table.dense_latency_ms
        assert dense is not None
        timed = [replace(points[0], latency_ms=dense, latency_low=dense, latency_high=dense)]
        for point in points[1:]:
            ratio = self.ratios_by_key[keys[point.kept]]
            low, middle, high = (share * dense for share in (ratio.low, ratio.median, ratio.high))
            timed.append(replace(point, latency_ms=middle, latency_low=low, latency_high=high))
        return timed

    def _cut(self, plan: Plan) -> GraphModule:
        network = prune(self.model, self.comb, plan).to(self.device).eval()
        assert isinstance(network, GraphModule)
        return network

    def _position(self, name: str) -> int:
        """Where the network first reads a tensor that the group cuts: groups are taken in this order."""
        rungs = self.rungs[name]
        if not rungs:
            return -1
        axes = kept_positions(self.comb.record, rungs[0].plan.keep)
        cut = {tensor for tensor, living in axes.items() if any(axis is not None for axis in living)}
        for position, node in enumerate(self.dense.graph.nodes):
            if any(read.op == "get_attr" and read.target in cut for read in node.all_input_nodes):
                return position
        return -1

    def _keep(self, name: str, points: Sequence[Point], stopped: str) -> None:
        groups = dict(self.table.groups)
        for member in self.families[name]:
            tied = tuple(other for other in self.families[name] if other != member)
            groups[member] = GroupSensitivity(tuple(points), stopped, tied)
        order = {group.name: i for i, group in enumerate(self.comb.record.groups)}
        self.table = replace(self.table, groups={n: groups[n] for n in sorted(groups, key=order.__getitem__)})
        self._tell()

    def _tell(self) -> None:
        self.table = replace(self.table, seconds=round(time.perf_counter() - self.start, 3))
        self.report(self.table, done_widths(self.table, self.rungs), self.total)

    def _dense_point(self, name: str) -> Point:
        table, width = self.table, self.comb.record.by_name[name].width
        times = (table.dense_latency_ms,) * 3
        return Point(width, table.dense, table.dense_low, table.dense_high, table.images, *times, self.costs.dense.macs)

    def _empty(self, calibrated: int) -> SensitivityTable:
        found, settings = self.evaluator, self.settings
        return SensitivityTable(
            model=self.comb.model,
            metric=self.task.metric_name,
            dense=found.verdict.value,
            images=found.images,
            batch=settings.batch,
            groups={},
            dense_low=found.verdict.low,
            dense_high=found.verdict.high,
            criterion=settings.criterion,
            floor=found.verdict.value / 2 if settings.floor is None else settings.floor,
            calibration=calibrated,
            device=device_name(self.device),
            threads=torch.get_num_threads() if self.device.type == "cpu" else 0,
        )


def done_widths(table: SensitivityTable, rungs: Mapping[str, Sequence[Rung]]) -> int:
    """Widths that are measured, or that a floor has spared."""
    done = 0
    for name, each in rungs.items():
        group = table.groups.get(name)
        if group is not None:
            done += len(each) if group.stopped else min(len(group.points) - 1, len(each))
    return done
