"""The activations that feature losses compare: outputs of norm layers, where the student still has the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from cpd.comb.group import IntArray
from cpd.distill.losses.term import Pair
from cpd.errors import ModelError
from cpd.prune.index import kept_positions
from cpd.prune.order import Kept

if TYPE_CHECKING:
    from cpd.comb.comb import Comb

_LAYERS = 4  # compared, evenly spread over depth
_NORMS = {"batch_norm": 1, "layer_norm": -1, "group_norm": 1}  # ATen name -> axis of the channels
_WEIGHT = {"batch_norm": 1, "layer_norm": 2, "group_norm": 2}  # which argument is the weight


class Taps:
    """Teacher and student as graphs that also return the activations behind a few norm layers.

    Both graphs are copies that share the modules' own parameters: one forward pass gives answer and activations.

    Raises:
        ModelError: the network has no norm layer to compare at.
    """

    def __init__(self, comb: Comb, model: nn.Module, device: torch.device) -> None:
        from cpd.prune.plan import uniform_plan
        from cpd.prune.surgery import prune

        self.comb, self.device = comb, device
        teacher = prune(model, comb, uniform_plan(comb.record, 0.0)).eval().requires_grad_(False).to(device)
        found = norm_nodes(teacher)
        if not found:
            raise ModelError(
                "losses that compare features look at the outputs of norm layers, and this model has none; set their weights to 0."
            )
        spaced = [found[(len(found) - 1) * (i + 1) // _LAYERS] for i in range(min(_LAYERS, len(found)))]
        self.layers = tuple(dict.fromkeys(spaced))
        self.teacher = tapped(teacher, [name for name, _, _ in self.layers])

    def follow(self, student: nn.Module, keep: Kept) -> None:
        """Compare with this student from now on."""
        self.student = tapped(student, [name for name, _, _ in self.layers])
        positions = kept_positions(self.comb.record, keep)
        self.kept: list[Tensor | None] = [
            self._index(positions.get(weight, (None,))[0]) for _, weight, _ in self.layers
        ]

    def see(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[Pair, ...]]:
        """(student's outputs, teacher's outputs, pairs of activations)."""
        outputs, *mine = self.student(x)
        with torch.no_grad():
            teacher, *theirs = self.teacher(x)
        pairs = []
        for (_, _, axis), kept, a, b in zip(self.layers, self.kept, mine, theirs, strict=True):
            axis %= b.dim()
            whole = b.float()
            pairs.append(Pair(a.float(), whole if kept is None else whole.index_select(axis, kept), whole, axis))
        return outputs, teacher, tuple(pairs)

    def _index(self, positions: IntArray | None) -> Tensor | None:
        return None if positions is None else torch.as_tensor(positions, device=self.device)


def norm_nodes(module: nn.Module) -> list[tuple[str, str, int]]:
    """(node, weight's name in the state_dict, axis of the channels) of every norm operator, in forward order."""
    result: list[tuple[str, str, int]] = []
    if not isinstance(module, fx.GraphModule):
        return result
    for node in module.graph.nodes:
        kind = (
            str(node.target).split(".")[1]
            if node.op == "call_function" and str(node.target).startswith("aten.")
            else ""
        )
        if kind not in _NORMS:
            continue
        weight = node.args[_WEIGHT[kind]] if len(node.args) > _WEIGHT[kind] else None
        if isinstance(weight, fx.Node) and weight.op == "get_attr":
            result.append((node.name, str(weight.target), _NORMS[kind]))
    return result


def tapped(module: nn.Module, nodes: list[str]) -> fx.GraphModule:
    """The same network with the values of some nodes after its output; parameters and buffers are the module's own."""
    assert isinstance(module, fx.GraphModule)
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    out = graph.graph_copy(module.graph, copied)
    by_name = {node.name: copied[node] for node in module.graph.nodes if node in copied}
    graph.output((out, *[by_name[name] for name in nodes]))
    twin = fx.GraphModule(module, graph)
    twin.training = module.training
    return twin
