"""A small comb made by hand: a chain of convolutions, whose sizes and costs can be checked with pencil and paper."""

from __future__ import annotations

import numpy as np

from cpd.comb.group import Group, Slice, Tie
from cpd.comb.record import CombRecord, OperatorCost, Ragged, TensorSize
from cpd.importance.scores import LayerScores, ScoreTable
from cpd.prune.latency import Check, LatencyTable, OperatorTime, Term
from cpd.sensitivity.table import GroupSensitivity, Point, SensitivityTable


def chain(widths: tuple[int, ...] = (8, 16, 16, 32), classes: int = 10, size: int = 16, locked: tuple[int, ...] = ()) -> CombRecord:
    """Conv 3x3 (no bias) from 3 channels through `widths` at `size` x `size`, then a linear head after a global mean.

    Group i is the output of convolution i; `locked` numbers those that may not be pruned.
    """
    first = np.concatenate([[0], np.cumsum(widths)])
    atoms = int(first[-1])
    extents = [list(range(first[i], first[i + 1])) for i in range(len(widths))]
    units = [[atom] for atom in range(atoms)]
    groups, tensors, operators = [], [], []
    for i, width in enumerate(widths):
        name = f"stage{i // 2}.conv{i % 2}"
        after = f"stage{(i + 1) // 2}.conv{(i + 1) % 2}.weight" if i + 1 < len(widths) else "head.weight"
        index = np.arange(width)[:, None]
        groups.append(
            Group(
                name, width, (Slice(f"{name}.weight", 0, index), Slice(after, 1, index)),
                prunable=i not in locked, reason="an operator without a rule reads it" if i in locked else "", certified=True,
                ties=(Tie("conv2d", name, "net.py:10", "writes it"), Tie("conv2d", after.rpartition(".")[0], "net.py:11", "reads it")),
            )
        )  # fmt: skip
        before = i - 1
        tensors.append(TensorSize(f"{name}.weight", (width, widths[before] if i else 3, 3, 3), (i, before, -1, -1), True))
        factor = 9 * size * size * (1 if i else 3)
        operators.append(OperatorCost(f"conv{i}", name, "conv2d", float(factor), (i, before) if i else (i,)))
    tensors.append(TensorSize("head.weight", (classes, widths[-1]), (-1, len(widths) - 1), True))
    operators.append(OperatorCost("linear", "head", "linear", float(classes), (len(widths) - 1,)))
    unknown = ("aten.mystery: locks stage0.conv1",) if locked else ()
    return CombRecord("digest-" + "-".join(map(str, widths)), tuple(groups), atoms, Ragged.of(units), Ragged.of(extents), tuple(tensors), tuple(operators), unknown)


def macs_by_hand(widths: tuple[int, ...], classes: int = 10, size: int = 16) -> int:
    """Multiply-accumulates of the chain, summed layer by layer."""
    total, before = 0, 3
    for width in widths:
        total += 9 * before * width * size * size
        before = width
    return total + before * classes


def parameters_by_hand(widths: tuple[int, ...], classes: int = 10) -> int:
    total, before = 0, 3
    for width in widths:
        total += 9 * before * width
        before = width
    return total + before * classes


def scores(record: CombRecord, seed: int = 0) -> dict[str, list[float]]:
    """Positive scores for every unit of every group."""
    rng = np.random.default_rng(seed)
    return {group.name: np.sort(rng.gamma(2.0, size=group.width)).tolist() for group in record.groups}


def table(record: CombRecord, criterion: str, seed: int = 0) -> ScoreTable:
    """Made-up scores of one criterion for every group, and for the weights that write them."""
    groups = {name: np.asarray(values) for name, values in scores(record, seed).items()}
    layers = {name: LayerScores(f"{name}.weight", values) for name, values in groups.items()}
    return ScoreTable(criterion, record.model, groups, layers, batches=4, seconds=1.5)


MS_PER_MAC = 1e-6


def latency_table(record: CombRecord, batch: int = 32, fixed_ms: float = 0.5) -> LatencyTable:
    """A made-up machine that takes `MS_PER_MAC` for every MAC and half a millisecond for a pass; checked on two plans,
    once 10 % too high and once 10 % too low."""
    operators = tuple(OperatorTime(o.name, o.module, o.operator, (Term(o.factor * MS_PER_MAC, o.extents, (1,) * len(o.extents)),)) for o in record.operators)
    checks = (Check(1.1, 1.0), Check(0.9, 1.0))
    return LatencyTable(record.model, batch, "cpu", "a test bench", "2.13.0", 1, "float32", operators, (), fixed_ms, checks, 1.0)


def sensitivity_table(record: CombRecord, dense: float = 0.9, steps: int = 4, groups: int | None = None) -> SensitivityTable:
    """Every group, cut alone, loses up to 40 points, later groups less; `groups` says how many have been scanned."""
    found = {}
    for position, group in enumerate(record.groups[:groups]):
        worst = 0.4 / (1 + position)
        widths = [group.width - group.width * step // (steps + 1) for step in range(steps + 1)]
        points = [Point(kept, dense - worst * (1 - kept / group.width), 0.0, 1.0, 500) for kept in widths]
        found[group.name] = GroupSensitivity(tuple(points))
    return SensitivityTable(record.model, "top1", dense, 500, 32, found, done=groups is None)
