"""The last activation that still lies on a grid over the image, found in a traced graph, and a tap on it.

Operators of a traced graph are function calls and cannot be hooked. A tap puts one small module behind the chosen
operator, which hands its value on as it is and shows it as (B, C, h, w) on the way; whatever works on modules works there.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from cpd.attribution.scores import ClassScores
from cpd.comb.comb import Comb
from cpd.comb.flow import operator_name, origin
from cpd.errors import ModelError

TAP = "attribution_tap"
_FINE = (
    16  # a map of fewer cells says little about where; a finer one from an earlier layer is taken where there is one
)
_MOST_PREFIX = 16  # class, distillation and register tokens come before those of the image
_TOKENS = ("layer_norm", "add", "rms_norm", "group_norm")  # what blocks of a transformer leave; not queries or keys


@dataclass(frozen=True)
class Place:
    """Where an activation lies on a grid.

    Attributes:
        node: name in the graph, the same in every network cut from one comb.
        layout: "NCHW", "NHWC" or "tokens" (B, prefix + h * w, C).
        grid: (h, w).
        prefix: tokens before those of the grid.
        module: path of the module that it comes from, "" where the graph does not say.
    """

    node: str
    layout: str
    grid: tuple[int, int]
    prefix: int = 0
    module: str = ""

    @property
    def in_words(self) -> str:
        return f"{self.module or self.node}, {self.grid[0]} × {self.grid[1]}"


class Tap(nn.Module):
    """Hands a value on; `grid` sees it as (B, C, h, w)."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.grid = nn.Identity()

    def forward(self, value: Tensor) -> Tensor:
        if self.place.layout == "NCHW":
            # A copy, since what follows may work in place on what was shown.
            passed: Tensor = self.grid(value).clone()
            return passed
        if self.place.layout == "NHWC":
            passed = self.grid(value.permute(0, 3, 1, 2))
            return passed.permute(0, 2, 3, 1).contiguous()
        before, tokens = value[:, : self.place.prefix], value[:, self.place.prefix :]
        h, w = self.place.grid
        shown = self.grid(tokens.transpose(1, 2).reshape(len(value), -1, h, w))
        return torch.cat([before, shown.flatten(2).transpose(1, 2)], 1)


def tapped(network: GraphModule, place: Place) -> tuple[GraphModule, nn.Module]:
    """A copy of `network` with a tap at `place`, and the module to hook."""
    twin = copy.deepcopy(network)
    node = next((n for n in twin.graph.nodes if n.name == place.node), None)
    if node is None:
        raise ModelError(
            f"the pruned model has no activation called {place.node}; it was cut from another architecture."
        )
    tap = Tap(place)
    twin.add_submodule(TAP, tap)
    with twin.graph.inserting_after(node):
        new = twin.graph.call_module(TAP, (node,))
    node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    twin.recompile()
    return twin, tap.grid


def find_place(
    comb: Comb, dense: GraphModule, image: Tensor, target: int, pixels: Tensor | None = None
) -> Place | None:
    """The last place before the last weighted operator that lies on a grid and that the score depends on.

    With a class token, what the last block leaves at the other tokens is read by nothing: the gradient there is zero, and
    the search goes on to what the attention before it reads.

    Args:
        dense: cut from `comb` without removing anything, so that both name their nodes alike.
        image: (1, C, H, W).
    Returns:
        None where no activation lies on a grid. Where the gradient is zero everywhere (a head that starts at zero), the
        last activation that lies on one.
    """
    labels = comb.axes.of_node
    weighted = {operator.name for operator in comb.record.operators}
    last = next((node.name for node in reversed(comb.trace.graph.nodes) if node.name in weighted), "")
    values = _Recorder(dense, stop=last)
    with torch.enable_grad():
        # A gradient from the image on: parameters may be frozen.
        start = image.detach().clone().requires_grad_(True)
        outputs = values.run(start)
        score = ClassScores(_Given(outputs), pixels)(start)[0, target]
        known = [(name, value) for name, value in values.seen.items() if value.requires_grad]
        gradients = torch.autograd.grad(score, [value for _, value in known], allow_unused=True)
    read: list[Place] = []
    unread: list[Place] = []
    operators = {node.name: node for node in comb.trace.graph.nodes}
    for (name, value), gradient in zip(known, gradients, strict=True):
        if gradient is None or name not in labels:
            continue
        place = _place(operators[name], value, labels[name], image.shape[2], image.shape[3])
        if place is not None:
            (read if _on_grid(gradient, place).abs().max() > 0 else unread).append(place)
    places = read or unread
    fine = [place for place in places if place.grid[0] * place.grid[1] >= _FINE]
    return fine[-1] if fine else max(places, key=lambda place: place.grid[0], default=None)


class _Given(nn.Module):
    """Outputs that are there already, in the shape of a network."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor) -> Any:
        return self.outputs


class _Recorder(Interpreter):
    """Runs a graph and keeps the floating-point results of every operator before `stop`."""

    def __init__(self, network: GraphModule, stop: str) -> None:
        super().__init__(network, garbage_collect_values=False)
        self.seen: dict[str, Tensor] = {}
        self._stop, self._over = stop, False

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        self._over = self._over or n.name == self._stop
        if not self._over and n.op == "call_function" and isinstance(value, Tensor) and value.is_floating_point():
            self.seen[n.name] = value
        return value


def _place(node: Node, value: Tensor, labels: Any, height: int, width: int) -> Place | None:
    if value.shape[0] != 1 or not isinstance(labels, list) or len(labels) != value.ndim:
        return None
    shape, name = tuple(value.shape), operator_name(node)
    path = origin(node)[0]
    if value.ndim == 4:
        # Channels carry labels and space does not; where both could be, the usual order.
        if labels[1] is not None and _fits(shape[2:], height, width):
            return Place(node.name, "NCHW", (shape[2], shape[3]), 0, path)
        if labels[3] is not None and _fits(shape[1:3], height, width):
            return Place(node.name, "NHWC", (shape[1], shape[2]), 0, path)
    if value.ndim == 3 and labels[2] is not None and name in _TOKENS:
        found = token_grid(shape[1], height, width)
        if found:
            return Place(node.name, "tokens", found[1], found[0], path)
    return None


def _fits(grid: Sequence[int], height: int, width: int) -> bool:
    """More than one cell, none smaller than a pixel, and both sides scaled alike up to the rounding of strides."""
    h, w = grid
    return h * w > 1 and h <= height and w <= width and abs(h * width - w * height) <= max(height, width)


def token_grid(tokens: int, height: int, width: int) -> tuple[int, tuple[int, int]] | None:
    """(prefix, (h, w)) that `tokens` are made of for an image of this size; the fewest prefix tokens that fit."""
    for prefix in range(min(_MOST_PREFIX, tokens - 1) + 1):
        h = round(((tokens - prefix) * height / width) ** 0.5)
        if h > 0 and (tokens - prefix) % h == 0:
            w = (tokens - prefix) // h
            if h * width == w * height and _fits((h, w), height, width):
                return prefix, (h, w)
    return None


def _on_grid(value: Tensor, place: Place) -> Tensor:
    return value[:, place.prefix :] if place.layout == "tokens" else value
