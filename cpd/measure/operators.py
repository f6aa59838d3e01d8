"""How long every operator of a model takes on this machine at several widths: the table behind estimates of latency.

Random plans are really cut and run, operator by operator: each is timed where it stands, with the memory layout, the
caches and the neighbours that it has in the network. What was timed becomes terms (`terms.py`) whose sum, with what a
pass takes beside its operators, is the estimate. Other random plans are timed whole and not fitted; they say how far off
it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from cpd.comb.comb import Comb
from cpd.measure.latency import batch_of, finish, pass_ms
from cpd.measure.machine import device_name, pick_device
from cpd.measure.quantities import Inventory, Quantities, take_inventory
from cpd.measure.terms import FloatArray, as_terms, columns, fit, whole
from cpd.measure.timings import Timings
from cpd.prune.cost import CostModel
from cpd.prune.latency import Check, LatencyTable, OperatorTime
from cpd.prune.plan import Constraints, Plan, plan_ratios
from cpd.prune.surgery import prune

FITTED, AGAIN, HELD_OUT = 16, 6, 8  # random plans: fitted where calls are new, where all are known, and never fitted
_ENOUGH = 12  # points of a call after which it counts as known
_LEAST_ROUNDS, _MOST_ROUNDS = 4, 40
_TOGETHER = 400_000_000  # parameters of networks that are kept in memory at once
_LISTED = 2e-4  # share of the dense operators' time below which one that never changes is not listed

Progress = Callable[[int, int], None]


@dataclass
class _Timed:
    """One cut network: its sizes, its whole passes and its operators' times, in milliseconds."""

    sizes: FloatArray
    passes: list[float] = field(default_factory=list)
    operators: list[list[float]] = field(default_factory=list)  # per pass one time an operator of the inventory

    @property
    def whole_ms(self) -> float:
        return float(np.median(self.passes))

    @property
    def each_ms(self) -> FloatArray:
        """(operators,) medians; a busy moment falls on few passes."""
        return np.asarray(np.median(np.array(self.operators), axis=0), np.float64)


def profile(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    comb: Comb,
    *,
    batch: int = 1,
    device: str = "cpu",
    seconds: float = 30.0,
    seed: int = 0,
    held_out: int = HELD_OUT,
    timings: Timings | None = None,
    progress: Progress | None = None,
) -> LatencyTable:
    """Time the operators of `model` and check their sum against whole passes.

    Args:
        model: the dense model; moved to the device, its mode is put back.
        comb: of this model.
        batch: samples in a pass.
        seconds: of timed passes, about; cutting comes on top.
        seed: of the random plans.
        held_out: plans that are timed and not fitted.
        timings: what earlier profiles timed; by default this machine's cache.
        progress: told after every network.
    Raises:
        DeviceError: the device is not there.
    """
    start = time.perf_counter()
    place = pick_device(device)
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    dtype = str(parameter.dtype if parameter is not None else torch.get_default_dtype()).removeprefix("torch.")
    threads = torch.get_num_threads()
    if timings is None:
        timings = Timings(f"{device_name(place)} {place.type} {torch.__version__} {threads} {dtype}")
    inventory = take_inventory(comb, batch)
    used = {q.key: columns(q) for q in inventory.operators}
    new = [key for key, row in used.items() if len(timings.of(key, len(row))) < _ENOUGH]
    fitted = FITTED if new else AGAIN
    plans = [plan_ratios(comb, {}), *_random_plans(comb, fitted + held_out, seed)]
    model.to(place)
    sample = batch_of(inputs, batch, place)
    timed = _time_all(model, comb, inventory, plans, sample, place, seconds, progress)
    # Spread evenly: where not all networks fit into memory at once, the machine's mood falls on both kinds alike.
    aside = set(np.linspace(2, fitted + held_out, held_out).round().astype(int).tolist())
    seen = [t for i, t in enumerate(timed) if i not in aside]

    for key, rows in _points(inventory, seen).items():
        timings.add(key, rows)
    timings.save()
    fits = {}
    for key, row in used.items():
        points = timings.of(key, len(row))
        fits[key] = fit(points[:, :-1], points[:, -1])
    sums = [_sum(inventory, fits, t.sizes) for t in timed]
    measured = [t.whole_ms for t in timed]
    fixed, factor = whole(
        [s for i, s in enumerate(sums) if i not in aside], [m for i, m in enumerate(measured) if i not in aside]
    )
    operators, unlisted = _listed(inventory, fits, factor, seen[0])
    return LatencyTable(
        model=comb.record.model,
        batch=batch,
        device=str(place),
        machine=device_name(place),
        torch=torch.__version__,
        threads=threads,
        dtype=dtype,
        operators=operators,
        extents=tuple(tuple(int(a) for a in row) for row in inventory.extents[inventory.known :]),
        fixed_ms=fixed + unlisted,
        checks=tuple(Check(fixed + factor * sums[i], measured[i]) for i in sorted(aside)),
        dense_ms=timed[0].whole_ms,
        seconds=time.perf_counter() - start,
    )


def _random_plans(comb: Comb, count: int, seed: int) -> list[Plan]:
    """Plans from light to heavy with every group at a ratio of its own, half of them at widths that suit vectors."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        middle = rng.random() * 0.8
        ratios = {g.name: float(np.clip(rng.normal(middle, 0.25), 0, 0.95)) for g in comb.groups if g.prunable}
        limits = Constraints(multiple=int(rng.choice([1, 1, 8, 16])))
        result.append(plan_ratios(comb, ratios, constraints=limits))
    return result


def _time_all(
    model: nn.Module,
    comb: Comb,
    inventory: Inventory,
    plans: Sequence[Plan],
    sample: tuple[Tensor, ...],
    place: torch.device,
    seconds: float,
    progress: Progress | None,
) -> list[_Timed]:
    """Every network's times; as many as fit are kept in memory and take turns, so that a busy moment falls on all."""
    costs = CostModel(comb.record)
    result = [_Timed(inventory.sizes(costs.dead(plan.keep))) for plan in plans]
    held: list[tuple[nn.Module, _Timed]] = []
    parameters = 0
    for number, plan in enumerate(plans):
        network = prune(model, comb, plan).to(place)
        held.append((network, result[number]))
        parameters += sum(p.numel() for p in network.parameters())
        if parameters >= _TOGETHER or number == len(plans) - 1:
            _take_turns(held, inventory, sample, place, seconds * len(held) / len(plans))
            held, parameters = [], 0
        if progress:
            progress(number + 1, len(plans))
    return result


def _take_turns(
    held: Sequence[tuple[nn.Module, _Timed]],
    inventory: Inventory,
    sample: tuple[Tensor, ...],
    place: torch.device,
    seconds: float,
) -> None:
    clocks = [(_Clock(network, inventory, place), network, timed) for network, timed in held]
    with torch.inference_mode():
        for _, network, _ in clocks:
            network.eval()
            network(*sample)  # the first pass allocates and chooses kernels
        deadline = time.perf_counter() + seconds
        rounds = 0
        while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and time.perf_counter() < deadline):
            for clock, network, timed in clocks if rounds % 2 == 0 else clocks[::-1]:
                timed.operators.append(clock.operators(sample))
                timed.passes.append(clock.whole(network, sample))
                timed.passes.append(clock.whole(network, sample))
            rounds += 1


class _Clock(Interpreter):
    """Runs a cut network operator by operator, with a clock around each."""

    def __init__(self, network: nn.Module, inventory: Inventory, place: torch.device) -> None:
        assert isinstance(network, GraphModule)
        super().__init__(network)
        self.place = place
        self.position = _positions(network, inventory)
        self.count = len(inventory.operators)
        # Of one thread on the processor the time that it computed is asked for: it does not run on while others have
        # the core. Several threads, or a device beside it, leave only the wall's clock.
        alone = place.type == "cpu" and torch.get_num_threads() == 1
        self.now = time.thread_time if alone else time.perf_counter
        self.times: list[float] = []

    def operators(self, sample: tuple[Tensor, ...]) -> list[float]:
        """Milliseconds of every operator of the inventory in one pass."""
        self.times = [0.0] * self.count
        self.run(*sample)
        return self.times

    def whole(self, network: nn.Module, sample: tuple[Tensor, ...]) -> float:
        """Milliseconds of one pass of the network itself."""
        return pass_ms(network, sample, self.place, self.now)

    def run_node(self, n: Node) -> Any:
        at = self.position.get(n)
        if at is None:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        target: Any = n.target
        finish(self.place)
        start = self.now()
        result = target(*args, **kwargs)
        finish(self.place)
        self.times[at] = (self.now() - start) * 1e3
        return result


def _positions(network: GraphModule, inventory: Inventory) -> dict[Node, int]:
    """Which operator of the dense graph each node of the cut one is: they come in the same order, with a few new ones
    between them that surgery put there."""
    found: dict[Node, int] = {}
    nodes = [n for n in network.graph.nodes if n.op == "call_function"]
    at = 0
    for position, operator in enumerate(inventory.operators):
        match = next((i for i in range(at, len(nodes)) if str(nodes[i].target) == operator.target), None)
        if match is not None:
            found[nodes[match]] = position
            at = match + 1
    return found


def _points(inventory: Inventory, seen: Sequence[_Timed]) -> dict[str, FloatArray]:
    """(points, columns + 1) regressors and milliseconds of every call that was timed, by its key."""
    times = [t.each_ms for t in seen]
    rows: dict[str, list[list[float]]] = {}
    for position, operator in enumerate(inventory.operators):
        regressors = columns(operator)
        for timed, each in zip(seen, times, strict=True):
            row = [column.at(timed.sizes) for column in regressors]
            rows.setdefault(operator.key, []).append([*row, float(each[position])])
    return {key: np.array(points) for key, points in rows.items()}


def _sum(inventory: Inventory, fits: dict[str, FloatArray], sizes: FloatArray) -> float:
    return sum(_time_of(operator, fits[operator.key], sizes) for operator in inventory.operators)


def _time_of(operator: Quantities, coefficients: FloatArray, sizes: FloatArray) -> float:
    return float(sum(c * column.at(sizes) for c, column in zip(coefficients, columns(operator), strict=True) if c > 0))


def _listed(
    inventory: Inventory, fits: dict[str, FloatArray], factor: float, dense: _Timed
) -> tuple[tuple[OperatorTime, ...], float]:
    """The operators of the table, and what the many together take that are short and always the same (views)."""
    whole_ms = dense.whole_ms
    rows, unlisted = [], 0.0
    for operator in inventory.operators:
        terms = as_terms(operator, fits[operator.key] * factor)
        if all(not t.extents for t in terms) and sum(t.ms for t in terms) < _LISTED * whole_ms:
            unlisted += sum(t.ms for t in terms)
            continue
        rows.append(OperatorTime(operator.name, operator.module, operator.kind, terms))
    return tuple(rows), unlisted
