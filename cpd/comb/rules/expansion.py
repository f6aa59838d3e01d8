"""Operators that repeat positions or make values: repeated positions are alike, so they take the label they meet.

Source: torch docs of expand, repeat, repeat_interleave, tile and the creation operators.
"""

from __future__ import annotations

from torch.fx import Node

from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.rules.registry import Cutting, Size, Unruled, rewrite, rule
from cpd.comb.rules.runs import runs_left


@rule("expand", "expand_as", "broadcast_to", "repeat", "tile")
def widen(flow: Flow, call: Call) -> Labels:
    """A single position becomes many, all alike; a wide axis stays, or is repeated as a whole."""
    x = call["self"]
    labels, before, after = flow.of(x), flow.shape(x), flow.shape(call.node)
    shift = len(after) - len(before)
    flow.silent[call.node] = flow.silent.get(x, False)
    result = flow.fresh(after)
    for i, (label, size) in enumerate(zip(labels, before, strict=True), start=shift):
        if size == after[i]:
            result[i] = label
        elif size > 1:
            times = after[i] // size
            result[i] = flow.boxes.merge([(times, flow.atoms.new(times)), (size, label)], flow.where(call.node))
        else:
            flow.silent[call.node] = False
    return result


@rewrite("expand", "broadcast_to")
def expanded_left(cut: Cutting, call: Call, new: Node) -> None:
    """Axes that were wide already stay as they come (-1), the others get their living size."""
    labels, before, after = cut.axes.of(call.node), cut.axes.shape(call["self"]), cut.axes.shape(call.node)
    shift = len(after) - len(before)
    sizes: list[Size] = []
    for i, (label, n) in enumerate(zip(labels, after, strict=True)):
        same = i >= shift and before[i - shift] == n
        sizes.append(-1 if same else cut.size(label, n))
    cut.set(new, "size", sizes)


@rewrite("repeat", "tile")
def times_left(cut: Cutting, call: Call, new: Node) -> None:
    """As often as there are living positions, or runs of them where more than one was repeated."""
    times = list(call.node.args[1])  # type: ignore[arg-type]
    labels, before, after = cut.axes.of(call.node), cut.axes.shape(call["self"]), cut.axes.shape(call.node)
    lead, missing = len(after) - len(times), len(after) - len(before)
    sizes: list[Size] = []
    for i, n in enumerate(times, start=lead):
        if i < missing or before[i - missing] == 1:
            sizes.append(cut.size(labels[i], after[i]))
        else:
            sizes.append(n if n == 1 or labels[i] is None else runs_left(cut, cut.axes.of(call.node)[i], n))
    new.args = (new.args[0], sizes)


@rule("repeat_interleave")
def repeat_interleave(flow: Flow, call: Call) -> Labels:
    """Every position of an axis repeated in place."""
    x, times, axis = call["self"], call["repeats"], call.get("dim")
    if not isinstance(times, int) or axis is None:
        raise Unruled
    labels, shape = flow.of(x), flow.shape(x)
    flow.silent[call.node] = flow.silent.get(x, False) and shape[axis] > 1
    if shape[axis] == 1:
        labels[axis] = flow.fresh([times])[0]
    else:
        labels[axis] = flow.boxes.merge([(shape[axis], labels[axis]), (times, None)], flow.where(call.node))
    return labels


@rewrite("repeat_interleave")
def interleave_left(cut: Cutting, call: Call, new: Node) -> None:
    """Where a single position was repeated, as often as there are living positions."""
    axis = call["dim"]
    if cut.axes.shape(call["self"])[axis] == 1:
        cut.set(new, "repeats", cut.size(cut.axes.of(call.node)[axis], cut.axes.shape(call.node)[axis]))


_ALIKE = (
    "zeros",
    "ones",
    "full",
    "empty",
    "new_zeros",
    "new_ones",
    "new_full",
    "new_empty",
    "rand",
    "randn",
    "randint",
)
_LIKE = ("zeros_like", "full_like", "empty_like")


@rule(*_ALIKE)
def made(flow: Flow, call: Call) -> Labels:
    """Positions are alike; zeros are neutral."""
    flow.silent[call.node] = "zeros" in call.name
    return flow.fresh(flow.shape(call.node))


@rewrite(*_ALIKE)
def made_left(cut: Cutting, call: Call, new: Node) -> None:
    """The size follows what the value meets."""
    sizes = [cut.size(a, n) for a, n in zip(cut.axes.of(call.node), cut.axes.shape(call.node), strict=True)]
    cut.set(new, "size", sizes)


@rule(*_LIKE)
def made_like(flow: Flow, call: Call) -> Labels:
    """As wide as another value."""
    flow.silent[call.node] = "zeros" in call.name
    return flow.of(call["self"])


@rule("arange", "linspace", "eye", "tril_indices", "triu_indices", "scalar_tensor", "hann_window")
def counted(flow: Flow, call: Call) -> Labels:
    """Every position has a value of its own, so none may go."""
    labels = flow.fresh(flow.shape(call.node))
    for label in labels:
        flow.lock(label, f"numbers counted in {flow.where(call.node)}")
    return labels


@rule("device", "getattr", "sym_size")
def nothing(flow: Flow, call: Call) -> Labels:
    """Not a tensor."""
    return []


@rule("triu", "tril")
def triangle(flow: Flow, call: Call) -> Labels:
    """A triangle of the last two axes, which must stay."""
    labels = flow.of(call["self"])
    for label in labels[-2:]:
        flow.lock(label, f"a triangle is cut out in {flow.where(call.node)}")
    return labels


@rule("diagonal")
def diagonal(flow: Flow, call: Call) -> Labels:
    """Two axes meet and become the last one, which must stay."""
    labels = flow.of(call["self"])
    first, second = sorted((call["dim1"] % len(labels), call["dim2"] % len(labels)))
    for label in (labels[first], labels[second]):
        flow.lock(label, f"a diagonal is taken in {flow.where(call.node)}")
    return [label for i, label in enumerate(labels) if i not in (first, second)] + [None]
