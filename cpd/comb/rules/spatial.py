"""Operators over space: channels pass, space carries nothing that may go.

Source: torch docs of pooling, interpolate, grid_sample, affine_grid, unfold and fold.
"""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.rules.registry import Cutting, Unruled, rewrite, rule

_POOLS = [f"{kind}{n}d" for n in (1, 2, 3) for kind in ("avg_pool", "max_pool", "adaptive_avg_pool", "lp_pool")]
_POOLS += [
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
]
_RESIZES = [
    f"{prefix}upsample_{kind}{suffix}"
    for prefix in ("", "_")
    for kind in ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "bicubic2d", "trilinear3d",
                 "nearest_exact1d", "nearest_exact2d")
    for suffix in ("", "_aa")
]  # fmt: skip


@rule(*_POOLS, *_RESIZES)
def space(flow: Flow, call: Call) -> Any:
    """(B, C, *space): every channel for itself; a window over zeros is zero."""
    x = call.node.args[0]
    labels, result = flow.of(x), call.node.meta["val"]
    several = isinstance(result, (tuple, list))
    rank = (result[0] if several else result).ndim
    kept = 2 if len(labels) == rank and rank > 2 and "1d" not in call.name else rank - 1
    for label in labels[kept:]:
        flow.lock(label, f"space in {flow.where(call.node)}")
    flow.silent[call.node] = flow.silent.get(x, False)  # type: ignore[arg-type]
    axes = [*labels[:kept], *[None] * (rank - kept)]
    return [list(axes) for _ in result] if several else axes


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def sample(flow: Flow, call: Call) -> Labels:
    """(B, C, *space) read at the places (B, *space, coordinates): channels pass, places and coordinates must stay."""
    x, grid = flow.of(call["input"]), flow.of(call["grid"])
    for label in [*x[2:], *grid[1:]]:
        flow.lock(label, f"places in {flow.where(call.node)}")
    flow.silent[call.node] = flow.silent.get(call["input"], False)
    batch = flow.meet(x[0], flow.shape(call["input"])[0], grid[0], flow.shape(call["grid"])[0], call.node)
    return [batch, x[1], *[None] * (len(x) - 2)]


@rule("affine_grid_generator")
def affine_grid(flow: Flow, call: Call) -> Labels:
    """(B, 2, 3) matrices -> (B, *space, coordinates); a matrix must stay whole."""
    labels = flow.of(call["theta"])
    for label in labels[1:]:
        flow.lock(label, f"a matrix in {flow.where(call.node)}")
    return [labels[0], *[None] * (len(flow.shape(call.node)) - 1)]


@rewrite("affine_grid_generator")
def grid_size(cut: Cutting, call: Call, new: Node) -> None:
    """The size of what will be sampled starts with the batch; its channels change nothing."""
    batch, size = cut.axes.of(call["theta"])[0], list(call["size"])
    cut.set(new, "size", [cut.size(batch, size[0]), *size[1:]])


@rule("im2col")
def im2col(flow: Flow, call: Call) -> Labels:
    """(B, C, H, W) -> (B, C * kernel, windows): every channel becomes a run of kernel positions."""
    x = call["self"]
    labels, shape, after = flow.of(x), flow.shape(x), flow.shape(call.node)
    if len(shape) != 4:
        raise Unruled
    for label in labels[2:]:
        flow.lock(label, f"space in {flow.where(call.node)}")
    flow.silent[call.node] = flow.silent.get(x, False)
    return [
        labels[0],
        flow.boxes.merge([(shape[1], labels[1]), (after[1] // shape[1], None)], flow.where(call.node)),
        None,
    ]


@rule("col2im")
def col2im(flow: Flow, call: Call) -> Labels:
    """(B, C * kernel, windows) -> (B, C, H, W): runs of kernel positions become one channel; the kernel must stay."""
    x = call["self"]
    labels, shape, after = flow.of(x), flow.shape(x), flow.shape(call.node)
    if len(shape) != 3:
        raise Unruled
    channel, kernel = flow.boxes.split(labels[1], [after[1], shape[1] // after[1]], flow.where(call.node))
    flow.lock(kernel, f"kernel positions in {flow.where(call.node)}")
    flow.lock(labels[2], f"windows in {flow.where(call.node)}")
    flow.silent[call.node] = flow.silent.get(x, False)
    return [labels[0], channel, None, None]


@rule("unfold")
def unfold(flow: Flow, call: Call) -> Labels:
    """Windows along one axis become an axis of their own at the end; the axis must stay."""
    x = call["self"]
    labels = flow.of(x)
    flow.lock(labels[call["dimension"]], f"windows in {flow.where(call.node)}")
    labels[call["dimension"]] = None
    flow.silent[call.node] = flow.silent.get(x, False)
    return [*labels, None]
