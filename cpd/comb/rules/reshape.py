"""Operators that view the same positions in another shape. `boxes.py` holds the idea.

Source: torch docs of view, flatten, unflatten and pixel_shuffle.
"""

from __future__ import annotations

from torch.fx import Node

from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.rules.registry import Cutting, rewrite, rule

_SIZED = ("view", "reshape", "_unsafe_view", "_reshape_alias")


@rule(*_SIZED, "flatten", "unflatten", "squeeze", "unsqueeze", "reshape_as", "view_as", "ravel")
def view(flow: Flow, call: Call) -> Labels:
    """Positions keep their order, the shape changes."""
    x = call["self"]
    flow.silent[call.node] = flow.silent.get(x, False)
    return flow.boxes.reshape(flow.raw(x), flow.shape(x), flow.shape(call.node), flow.where(call.node))


@rewrite(*_SIZED)
def sizes_left(cut: Cutting, call: Call, new: Node) -> None:
    """Every labelled size follows the labels; one size that follows the batch is left to be inferred."""
    name = "shape" if call.name == "reshape" else "size"
    cut.set(
        new,
        name,
        inferred([cut.size(a, n) for a, n in zip(cut.axes.of(call.node), cut.axes.shape(call.node), strict=True)]),
    )


@rewrite("unflatten")
def parts_left(cut: Cutting, call: Call, new: Node) -> None:
    """The sizes that one axis is split into."""
    first = call["dim"] % len(cut.axes.shape(call["self"]))
    labels, shape = cut.axes.of(call.node), cut.axes.shape(call.node)
    parts = range(first, first + len(call["sizes"]))
    cut.set(new, "sizes", inferred([cut.size(labels[i], shape[i]) for i in parts]))


def inferred(sizes: list[int | Node]) -> list[int | Node]:
    """The first size that is computed becomes -1: torch infers it, at no cost in the graph."""
    first = next((i for i, n in enumerate(sizes) if isinstance(n, Node)), None)
    return [-1 if i == first else n for i, n in enumerate(sizes)]


@rule("pixel_shuffle")
def pixel_shuffle(flow: Flow, call: Call) -> Labels:
    """(B, C r^2, H, W) -> (B, C, r H, r W): r^2 neighbouring channels make one."""
    x, r = call["self"], int(call["upscale_factor"])
    labels, shape = flow.of(x), flow.shape(x)
    out, inside = flow.boxes.split(labels[-3], [shape[-3] // (r * r), r * r], flow.where(call.node))
    flow.lock(inside, f"they become space in {flow.where(call.node)}")
    flow.silent[call.node] = flow.silent.get(x, False)
    return [*labels[:-3], out, None, None]


@rule("pixel_unshuffle")
def pixel_unshuffle(flow: Flow, call: Call) -> Labels:
    """(B, C, r H, r W) -> (B, C r^2, H, W): one channel becomes r^2 neighbouring ones."""
    x, r = call["self"], int(call["downscale_factor"])
    labels, shape = flow.of(x), flow.shape(x)
    flow.silent[call.node] = flow.silent.get(x, False)
    return [*labels[:-3], flow.boxes.merge([(shape[-3], labels[-3]), (r * r, None)], flow.where(call.node)), None, None]


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(flow: Flow, call: Call) -> Labels:
    """View as (groups, n), swap, view back."""
    x, groups = call["self"], int(call["groups"])
    labels, shape = flow.of(x), flow.shape(x)
    where = flow.where(call.node)
    group, within = flow.boxes.split(labels[1], [groups, shape[1] // groups], where)
    flow.lock(group, f"groups of fixed number in {where}")
    labels[1] = flow.boxes.merge([(shape[1] // groups, within), (groups, group)], where)
    flow.silent[call.node] = flow.silent.get(x, False)
    return labels
