"""Operators that move positions: what they do to data they do to labels.

Source: torch docs, "Indexing, Slicing, Joining, Mutating Ops".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.fx import Node

from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.labels import IntArray, Label, Varying
from cpd.comb.rules.registry import Cutting, Unruled, rewrite, rule


@rule("permute", "movedim")
def permute(flow: Flow, call: Call) -> Labels:
    """Axes in another order."""
    labels = _rows(flow, call)
    if call.name == "movedim":
        raise Unruled
    return [labels[d] for d in call["dims"]]


@rule("transpose", "swapaxes", "t", "mT", "numpy_T")
def transpose(flow: Flow, call: Call) -> Labels:
    """Two axes swapped."""
    labels = _rows(flow, call)
    first, second = (call["dim0"], call["dim1"]) if call.name == "transpose" else (-1, -2)
    if len(labels) > 1:
        labels[first], labels[second] = labels[second], labels[first]
    return labels


@rule("slice")
def slices(flow: Flow, call: Call) -> Labels:
    """A run of positions of one axis; they are treated apart from the rest of it."""
    labels = _rows(flow, call)
    axis = call["dim"]
    label = labels[axis] = flow.boxes.plain(labels[axis])
    if label is not None:
        size = len(label)
        taken = _range(call, size)
        if len(taken) < size:
            labels = _narrowed(flow, labels, axis, taken)
            label = label[taken]
            if not flow.is_batch(label):
                flow.atoms.treat(label, f"{call.node.name}")
            if len(taken) == 1:
                flow.lock(label, f"one position is taken in {flow.where(call.node)}")
        labels[axis] = label if len(taken) > 1 else None
    return labels


@rewrite("slice")
def slice_left(cut: Cutting, call: Call, new: Node) -> None:
    """The run's ends move with the living positions; a stepped slice becomes a list of positions."""
    label = cut.axes.of(call["self"])[call["dim"]]
    if label is None or not cut.is_cut(label):
        return
    alive = cut.alive(label)
    taken = _range(call, len(label))
    rank = np.cumsum(alive) - 1
    positions = rank[taken[alive[taken]]]
    if call["step"] == 1:
        cut.set(new, "start", int(alive[: taken[0]].sum()) if len(taken) else 0)
        cut.set(new, "end", int(alive[: taken[-1] + 1].sum()) if len(taken) else 0)
    else:
        new.target = torch.ops.aten.index_select.default
        new.args = (new.args[0], call["dim"], cut.constant(positions))
        new.kwargs = {}


def _range(call: Call, size: int) -> IntArray:
    start, end = call.get("start", 0), call.get("end", size)
    if isinstance(start, Node) or isinstance(end, Node):
        raise Unruled
    return np.arange(size)[slice(start, end, call["step"])]


@rule("select")
def select(flow: Flow, call: Call) -> Labels:
    """One position of an axis, which must stay."""
    labels = _rows(flow, call)
    axis, place = call["dim"], call["index"]
    flow.lock(labels[axis], f"one position is taken in {flow.where(call.node)}")
    return _picked(flow, labels, axis, place % flow.shape(call["self"])[axis])


@rule("unbind")
def unbind(flow: Flow, call: Call) -> list[Labels]:
    """Every position of an axis becomes a value of its own."""
    labels, axis = _rows(flow, call), call["dim"]
    flow.lock(labels[axis], f"its positions are taken one by one in {flow.where(call.node)}")
    return [_picked(flow, labels, axis, i) for i in range(len(call.node.meta["val"]))]


@rule("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes")
def split(flow: Flow, call: Call) -> list[Labels]:
    """An axis cut in runs; each run is treated apart from the others."""
    labels, axis = _rows(flow, call), call["dim"]
    label = labels[axis] = flow.boxes.plain(labels[axis])
    results, start = [], 0
    for number, part in enumerate(call.node.meta["val"]):
        size = part.shape[axis]
        row = _narrowed(flow, labels, axis, np.arange(start, start + size))
        if label is not None:
            piece = label[start : start + size]
            if not flow.is_batch(piece):
                flow.atoms.treat(piece, f"{call.node.name} {number}")
            if size == 1:
                flow.lock(piece, f"one position is taken in {flow.where(call.node)}")
            row[axis] = piece if size > 1 else None
        start += size
        results.append(row)
    return results


@rule("glu")
def glu(flow: Flow, call: Call) -> Labels:
    """The first half of an axis times the sigmoid of the second: halves are treated apart and meet."""
    labels, axis = _pass(flow, call, "self"), call["dim"]
    label = labels[axis]
    if label is not None:
        first, second = np.split(label, 2)
        for number, half in enumerate((first, second)):
            flow.atoms.treat(half, f"{call.node.name} {number}")
            if len(half) == 1:
                flow.lock(half, f"one position is taken in {flow.where(call.node)}")
        labels[axis] = flow.tie(first, second, call.node) if len(first) > 1 else None
    return labels


@rewrite(
    "split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes"
)
def runs_left(cut: Cutting, call: Call, new: Node) -> None:
    """Each run keeps its living positions, which need no longer be equally many."""
    axis = call["dim"]
    label = cut.axes.of(call["self"])[axis]
    if label is None or not cut.is_cut(label):
        return
    alive, sizes, start = cut.alive(label), [], 0
    for part in call.node.meta["val"]:
        sizes.append(int(alive[start : start + part.shape[axis]].sum()))
        start += part.shape[axis]
    new.target = torch.ops.aten.split_with_sizes.default
    new.args, new.kwargs = (new.args[0], sizes, axis), {}


@rule("getitem")
def getitem(flow: Flow, call: Call) -> Any:
    """One of several results."""
    source, number = call.node.args
    labels = flow.labels[source]  # type: ignore[index]
    flow.silent[call.node] = flow.silent.get(source, False)  # type: ignore[arg-type]
    return labels[number]


@rule("cat", "concat", "concatenate")
def cat(flow: Flow, call: Call) -> Labels:
    """Values side by side along one axis; along the others they meet."""
    parts = [p for p in call["tensors"] if flow.shape(p) != [0]]
    shape = flow.shape(call.node)
    axis = call["dim"] % len(shape)
    flow.silent[call.node] = all(flow.silent.get(p, False) for p in parts)
    labels: Labels = []
    for i in range(len(shape)):
        own = [flow.of(p)[i] for p in parts]
        if i == axis:
            labels.append(_joined(flow, call, own, [flow.shape(p)[i] for p in parts]))
            continue
        label = own[0]
        for other in own[1:]:
            label = flow.meet(label, shape[i], other, shape[i], call.node) if shape[i] > 1 else None
        labels.append(label)
    return labels


def _joined(flow: Flow, call: Call, labels: list[Label], sizes: list[int]) -> Label:
    if all(label is None for label in labels):
        return None
    parts = []
    for label, size in zip(labels, sizes, strict=True):
        if label is None:
            label = flow.atoms.new(size)
            flow.lock(label, f"a part of fixed size is joined on in {flow.where(call.node)}")
        parts.append(label)
    return np.concatenate(parts)


@rule("stack")
def stack(flow: Flow, call: Call) -> Labels:
    """Values meet, along a new axis that must stay."""
    parts, rank = call["tensors"], len(flow.shape(call.node))
    labels = flow.broadcast([(flow.of(p), flow.shape(p)) for p in parts], call.node)
    flow.silent[call.node] = all(flow.silent.get(p, False) for p in parts)
    labels.insert(call["dim"] % rank, None)
    return labels


@rule("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad2d", "replication_pad1d")
def pad(flow: Flow, call: Call) -> Labels:
    """Zeros added to an axis are neutral: they take the label of what they meet. Anything else locks the axis."""
    labels = _pass(flow, call, "self")
    amounts, rank = _amounts(call), len(labels)
    zero = call.get("mode", "constant") == "constant" and not call.get("value", 0)
    for k in range(len(amounts) // 2):
        axis, before, after = rank - 1 - k, amounts[2 * k], amounts[2 * k + 1]
        label = labels[axis]
        if label is None or not (before or after):
            continue
        if call.name not in ("pad", "constant_pad_nd") or not zero or before < 0 or after < 0:
            flow.lock(label, f"its border is padded in {flow.where(call.node)}")
            labels[axis] = None
            continue
        labels[axis] = np.concatenate([flow.atoms.new(before), label, flow.atoms.new(after)])
    return labels


@rewrite("pad", "constant_pad_nd")
def padding_left(cut: Cutting, call: Call, new: Node) -> None:
    """Only zeros whose partner lives are added."""
    amounts, labels = _amounts(call), cut.axes.of(call.node)
    for k in range(len(amounts) // 2):
        label = labels[len(labels) - 1 - k]
        if label is None or not cut.is_cut(label):
            continue
        alive, before, after = cut.alive(label), amounts[2 * k], amounts[2 * k + 1]
        amounts[2 * k] = int(alive[:before].sum())
        amounts[2 * k + 1] = int(alive[len(alive) - after :].sum()) if after else 0
    new.args = (new.args[0], amounts, *new.args[2:])


def _amounts(call: Call) -> list[int]:
    """Positions added before and after, last axis first."""
    amounts: Any = call.node.args[1]
    if not all(isinstance(n, int) for n in amounts):
        raise Unruled
    return list(amounts)


@rule("roll")
def roll(flow: Flow, call: Call) -> Labels:
    """Positions shift round an axis; a labelled one must stay."""
    labels = _pass(flow, call, "self")
    for shift, axis in zip(call["shifts"], call["dims"] or range(len(labels)), strict=False):
        label = labels[axis]
        if label is not None and shift:
            flow.lock(label, f"its positions shift in {flow.where(call.node)}")
            labels[axis] = np.roll(label, shift)
    return labels


@rule("flip")
def flip(flow: Flow, call: Call) -> Labels:
    """Positions in reverse order."""
    labels = _pass(flow, call, "self")
    for axis in call["dims"]:
        label = labels[axis]
        labels[axis] = None if label is None else label[::-1].copy()
    return labels


@rule("index")
def index(flow: Flow, call: Call) -> Labels:
    """Positions picked by index tensors; picked axes must stay, the others pass."""
    labels = _pass(flow, call, "self")
    given = [i for i, picked in enumerate(call["indices"]) if picked is not None]
    for i in given:
        flow.lock(labels[i], f"its positions are picked in {flow.where(call.node)}")
    picked = len(flow.shape(call.node)) - (len(labels) - len(given))
    rest = [label for i, label in enumerate(labels) if i not in given]
    together = given == list(range(given[0], given[0] + len(given)))
    at = given[0] if together else 0
    return [*rest[:at], *[None] * picked, *rest[at:]]


@rule("index_select")
def index_select(flow: Flow, call: Call) -> Labels:
    """Positions of one axis picked by a list; the axis must stay."""
    labels = _pass(flow, call, "self")
    flow.lock(labels[call["dim"]], f"its positions are picked in {flow.where(call.node)}")
    labels[call["dim"]] = None
    return labels


@rule("gather")
def gather(flow: Flow, call: Call) -> Labels:
    """Positions along one axis picked element by element; the index has the result's shape and no labels."""
    for label in _pass(flow, call, "self"):
        if label is not None and not flow.is_batch(label):
            flow.lock(label, f"its positions are picked in {flow.where(call.node)}")
    labels = flow.of(call["index"])
    return labels


@rule("embedding")
def embedding(flow: Flow, call: Call) -> Labels:
    """Rows of a table; the rows must stay, the columns pass."""
    rows, columns = flow.of(call["weight"])
    flow.lock(rows, f"entries of a table looked up in {flow.where(call.node)}")
    flow.silent[call.node] = flow.silent.get(call["weight"], False)
    return [*flow.of(call["indices"]), columns]


@rule("meshgrid")
def meshgrid(flow: Flow, call: Call) -> list[Labels]:
    """Every input along its own axis."""
    labels = [flow.of(t)[0] if flow.of(t) else None for t in call["tensors"]]
    if call.get("indexing", "ij") == "xy":
        labels[:2] = labels[1::-1]
    return [list(labels) for _ in call["tensors"]]


def _pass(flow: Flow, call: Call, name: str) -> Labels:
    flow.silent[call.node] = flow.silent.get(call[name], False)
    return flow.of(call[name])


def _rows(flow: Flow, call: Call) -> Labels:
    """As `_pass`, for operators that keep the rows of a varying label apart."""
    flow.silent[call.node] = flow.silent.get(call["self"], False)
    return flow.raw(call["self"])


def _narrowed(flow: Flow, labels: Labels, axis: int, positions: IntArray | int) -> Labels:
    """Labels after axis `axis` was cut to `positions`, or to one, as those see it that vary with it."""
    row = labels[axis]
    result = list(labels)
    for i, label in enumerate(labels):
        if isinstance(label, Varying) and row is not None:
            at = [n for n, c in enumerate(label.context) if flow.boxes.same(c, row)]
            if at:
                result[i] = label.take(at[0], positions)
    return result


def _picked(flow: Flow, labels: Labels, axis: int, place: int) -> Labels:
    """Labels after one position of axis `axis` was taken and the axis is gone."""
    result = _narrowed(flow, labels, axis, place)
    del result[axis]
    return result
