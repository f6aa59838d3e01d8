"""The dense network with units silenced: what the cut network must equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from cpd.comb.comb import Comb
from cpd.comb.flow import Call, operator_name
from cpd.comb.labels import Label
from cpd.comb.trace import TRAINING
from cpd.prune.cost import CostModel, Keep

_LAST_AXES = ("layer_norm", "rms_norm")


class Silenced(Interpreter):
    """Runs the dense graph with the parameters of removed units at zero.

    Norms take their statistics over the positions that are left, as the cut network's do; every other operator runs
    unchanged at full width.
    """

    def __init__(self, model: nn.Module, comb: Comb, keep: Keep) -> None:
        self._comb = comb
        self._alive = comb.axes.alive(CostModel(comb.record).dead(keep))
        self._state = self._silenced_state(model, keep)
        super().__init__(
            GraphModule(nn.Module(), torch.fx.Graph()), garbage_collect_values=True, graph=comb.trace.graph
        )

    @torch.no_grad()
    def run(self, inputs: tuple[Any, ...]) -> list[Tensor]:  # type: ignore[override]
        """Float outputs for positional `inputs`."""
        result = super().run(*pytree.tree_leaves(inputs))
        return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor) and leaf.is_floating_point()]

    def _silenced_state(self, model: nn.Module, keep: Keep) -> dict[str, Tensor]:
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        for group in self._comb.groups:
            gone = np.setdiff1d(np.arange(group.width), keep.get(group.name, range(group.width)))
            for piece in group.slices:
                if piece.tensor in parameters and len(gone):
                    state[piece.tensor].index_fill_(piece.axis, torch.from_numpy(piece.index[gone].reshape(-1)), 0.0)
        return state

    def fetch_attr(self, target: str) -> Any:
        if target == TRAINING:
            return False
        if target in self._state:
            return self._state[target]
        value = self._comb.trace.constants[target]
        return value.double() if value.is_floating_point() else value

    def run_node(self, n: Node) -> Any:
        if n.op == "call_function":
            name = operator_name(n)
            axes = self._statistics(n, name)
            left = [self._left(self._comb.axes.of(n)[axis]) for axis in axes]
            if any(positions is not None for positions in left):
                return self._norm(n, name, axes, left)
        return super().run_node(n)

    def _statistics(self, node: Node, name: str) -> list[int]:
        """Axes over which a norm takes its statistics and that carry labels."""
        if name in _LAST_AXES:
            call = Call(node, name)
            return list(range(-len(call["normalized_shape"]), 0))
        if name == "group_norm":
            return [1]
        if name == "batch_norm" and Call(node, name).get("running_mean") is None:
            return list(range(2, len(self._comb.axes.shape(node))))  # weight standardisation
        return []

    def _left(self, label: Label) -> Tensor | None:
        if label is None:
            return None
        alive = self._alive[label]
        return None if alive.all() else torch.from_numpy(np.flatnonzero(alive))

    def _norm(self, node: Node, name: str, axes: list[int], left: list[Tensor | None]) -> Tensor:
        """The norm of what is left, put back among zeros."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        x = args[0]
        own = [i for i, a in enumerate(args) if isinstance(a, Tensor) and i > 0]
        rest = list(args)
        narrow = x
        for axis, positions in zip(axes, left, strict=True):
            if positions is None:
                continue
            narrow = narrow.index_select(axis, positions)
            if name != "batch_norm":
                for i in own:
                    along = axis if name in _LAST_AXES else 0
                    rest[i] = rest[i].index_select(along, positions)
        if name in _LAST_AXES:
            rest[1] = list(narrow.shape[len(x.shape) - len(axes) :])
        if name == "group_norm" and left[0] is not None:
            size = x.shape[1] // args[1]
            rest[1] = int(torch.unique(left[0] // size).numel())
        value = node.target(narrow, *rest[1:], **kwargs)  # type: ignore[operator]
        for axis, positions in reversed(list(zip(axes, left, strict=True))):
            if positions is not None:
                shape = list(value.shape)
                shape[axis] = x.shape[axis]
                wide = torch.zeros(shape, dtype=value.dtype)
                value = wide.index_copy_(axis, positions, value)
        shaped: Tensor = value.reshape(x.shape)
        return shaped
