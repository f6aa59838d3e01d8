"""What a cut network still has in common with the dense one: operators that do the same to the same values."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from cpd.sensitivity.walk import Walker


@dataclass(frozen=True, eq=False)
class Split:
    """A cut network, divided into what the dense one computes too and the rest.

    Attributes:
        cut: the cut network.
        rest: its operators that have to run, in order.
        shared: nodes of `cut` that are read and not computed by `rest` -> the dense nodes that hold their values.
        first: position in the dense network of the first operator that the cut one does not have in common.
    """

    cut: Walker
    rest: tuple[Node, ...]
    shared: dict[Node, Node]
    first: int


def split(dense: Walker, module: GraphModule) -> Split:
    """Compare by structure: an operator is shared when the dense network has the same one with the same constants, whose
    arguments are all shared, and which reads no tensor that was cut. Statistics of batch norm are not compared: those of
    shared ones depend on shared values alone, wherever they are taken from.
    """
    cut = Walker(module)
    twin, rest = _matched(dense, cut, frozenset())
    first = _first(dense, twin)
    # What lies beyond and shares memory with something that is changed in place there has no one value to share.
    changing = dense.changed_roots(dense.nodes[first:])
    unsure = frozenset(node for node in dense.nodes[first:] if dense.roots[node] in changing)
    if unsure:
        twin, rest = _matched(dense, cut, unsure)
    own = set(rest)
    reads = {read for node in (*rest, cut.output) for read in node.all_input_nodes if read.op != "get_attr"}
    return Split(cut, tuple(rest), {node: twin[node] for node in cut.nodes if node in reads - own}, first)


def _matched(dense: Walker, cut: Walker, banned: frozenset[Node]) -> tuple[dict[Node, Node], list[Node]]:
    """Nodes of the cut network with the dense ones that have their values, and those that have none."""
    offers: dict[Any, deque[Node]] = defaultdict(deque)
    for node in dense.nodes:
        if node not in banned:
            offers[_key(node, {})].append(node)
    twin: dict[Node, Node] = dict(zip(cut.inputs, dense.inputs, strict=True))
    rest: list[Node] = []
    stale: set[Node] = set()  # roots of shared values that an operator of the rest changes in place
    for node in cut.nodes:
        if node.op == "placeholder":
            continue
        reads = [n for n in node.all_input_nodes if n.op != "get_attr"]
        same = all(n in twin and cut.roots[n] not in stale for n in reads) and _attributes_alike(node, cut, dense)
        waiting = offers.get(_key(node, twin)) if same else None
        if waiting:
            twin[node] = waiting.popleft()
            continue
        rest.append(node)
        stale |= cut.changed_roots([node])
    return twin, rest


def _first(dense: Walker, twin: dict[Node, Node]) -> int:
    taken = set(twin.values())
    return next((i for i, node in enumerate(dense.nodes) if node not in taken), len(dense.nodes))


def _key(node: Node, twin: dict[Node, Node]) -> Any:
    """Names an operator with its arguments, values by the dense nodes that hold them, attributes by their names."""

    def name(n: Node) -> Any:
        return f"@{n.target}" if n.op == "get_attr" else f"%{twin.get(n, n).name}"

    return (node.op, str(node.target), str(map_arg(node.args, name)), str(map_arg(dict(node.kwargs), name)))


def _attributes_alike(node: Node, cut: Walker, dense: Walker) -> bool:
    """Whether the attributes that a node reads are the dense network's, uncut."""
    for read in node.all_input_nodes:
        if read.op != "get_attr":
            continue
        mine = cut.attribute(read)
        try:
            path, _, leaf = str(read.target).rpartition(".")
            theirs = getattr(dense.module.get_submodule(path), leaf)
        except AttributeError:
            return False
        if not isinstance(mine, Tensor):
            if mine != theirs:
                return False
        elif mine.shape != theirs.shape:
            return False
        elif not _is_state(cut.module, str(read.target)) and not torch.equal(mine, theirs):
            return False  # tables and positions are made for the cut: equal shapes do not mean equal content
    return True


def _is_state(module: GraphModule, name: str) -> bool:
    """Whether a tensor is a parameter or persistent buffer: those are sliced, so an equal shape means untouched."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    return leaf in owner._parameters or (leaf in owner._buffers and leaf not in owner._non_persistent_buffers_set)
