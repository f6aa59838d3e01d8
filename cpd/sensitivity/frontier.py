"""Batches that have gone part of the way through the dense network, and wait there for the cut ones.

Up to the first operator that a group touches, the cut network is the dense one. Groups are taken in forward order, so
what is kept of every batch moves forward once through the network, and no prefix is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.fx import Node

from cpd.sensitivity.split import Split
from cpd.sensitivity.walk import Norm, Values, Walker


@dataclass(eq=False)
class Passage:
    """One call of the network with one batch.

    Attributes:
        images: the input, on the device.
        position: how many operators of the dense network lie behind `values`.
        values: what the rest of the network reads.
        beyond: values that lie further on but are the dense network's too, for the group at hand.
        size: bytes of both, without the images.
    """

    images: Tensor
    position: int = 0
    values: Values = field(default_factory=dict)
    beyond: Values = field(default_factory=dict)
    size: int = 0


class Frontier:
    """Passages on their way through the dense network.

    Args:
        dense: the dense network.
        batch_statistics: whether batch norm uses each batch's own statistics, as while they are taken anew, or those
            of the network, as in evaluation.
        room: bytes that kept values may take beyond the images themselves; passages that do not fit stay further
            back, and walk from there every time.
    """

    def __init__(self, dense: Walker, calls: Sequence[Tensor], batch_statistics: bool, room: int) -> None:
        self._dense, self._room = dense, room
        self._norm: Norm | None = _batch_norm if batch_statistics else None
        self.passages = [Passage(images) for images in calls]
        self._to = 0
        self._keep: set[Node] = set()  # values before that place which are read after it
        self._ahead: set[Node] = set()  # values after it that the cut networks share
        self._further: list[Node] = []  # operators that lead to those
        self.restart()

    def restart(self) -> None:
        """Back to the images."""
        for passage in self.passages:
            passage.position, passage.values, passage.beyond = 0, self._dense.given(passage.images), {}
            passage.size = 0
        self._kept = 0
        self._settled: set[int] = set()  # passages that are where `advance` wants them

    def advance(self, splits: Sequence[Split]) -> None:
        """Let every passage move to where the first of the cut networks leaves the dense one, once it is asked for."""
        self._to = min((each.first for each in splits), default=0)
        if self._to < max((passage.position for passage in self.passages), default=0):
            self.restart()
        wanted = {node for each in splits for node in each.shared.values()}
        before = {node for node in wanted if self._dense.at[node] < self._to}
        self._keep = self._dense.read_later(self._to) | before
        self._ahead = wanted - before
        self._further = self._leading_to(self._ahead)
        self._settled.clear()

    def outputs(self, each: Split, number: int, norm: Norm | None = None) -> Any:
        """What one of the cut networks returns for the passage with this number.

        Args:
            norm: what its own batch norms do; None for what they do in evaluation.
        """
        values, beyond = self._settle(number)
        start: Values = {}
        for node, source in each.shared.items():
            start[node] = beyond[source] if source in beyond else values[source]
        return each.cut.result(each.cut.run(each.rest, start, norm, each.cut.output.all_input_nodes))

    def dense_outputs(self, number: int, norm: Norm | None = None) -> Any:
        """What the dense network returns, from the images."""
        dense = self._dense
        values = dense.given(self.passages[number].images)
        return dense.result(dense.run(_operators(dense.nodes), values, norm, dense.output.all_input_nodes))

    def _settle(self, number: int) -> tuple[Values, Values]:
        """The values of one passage at the place that `advance` chose; kept there where there is room."""
        passage = self.passages[number]
        if number in self._settled:
            return passage.values, passage.beyond
        values, beyond = self._arrived(passage)
        size = _bytes([*values.values(), *beyond.values()], passage.images)
        if self._kept - passage.size + size <= self._room:
            self._kept += size - passage.size
            passage.position, passage.values, passage.beyond, passage.size = self._to, values, beyond, size
            self._settled.add(number)
        return values, beyond

    def _arrived(self, passage: Passage) -> tuple[Values, Values]:
        """The values at the place that `advance` chose and those beyond; the passage itself stays where it is."""
        dense, start, values = self._dense, passage.position, dict(passage.values)
        nodes = _operators(dense.nodes[start : self._to])
        if not all(node in values or dense.at[node] >= start for node in self._keep):
            # A cut network reads something that the dense one had no more use for.
            nodes, values = _operators(dense.nodes[: self._to]), dense.given(passage.images)
        found = dense.run(nodes, values, self._norm, self._keep)
        values = {node: found[node] for node in self._keep}
        if not self._further:
            return values, {}
        found = dense.run(self._further, dict(values), self._norm, self._ahead)
        return values, {node: found[node] for node in self._ahead}

    def _leading_to(self, wanted: Iterable[Node]) -> list[Node]:
        """Operators beyond the place that `advance` chose on which the wanted values depend, in order."""
        needed, waiting = set(wanted), list(wanted)
        while waiting:
            for read in waiting.pop().all_input_nodes:
                if read not in needed and self._dense.at.get(read, -1) >= self._to:
                    needed.add(read)
                    waiting.append(read)
        return [node for node in _operators(self._dense.nodes) if node in needed]


def _operators(nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if node.op == "call_function"]


def _batch_norm(node: Node, arguments: tuple[Any, ...]) -> Tensor:
    """Batch norm on the batch's own statistics; the network's stay as they are."""
    given = list(arguments)
    given[3], given[4], given[5] = None, None, True
    result: Tensor = node.target(*given)  # type: ignore[operator]
    return result


def _bytes(values: Iterable[Any], images: Tensor) -> int:
    """Memory behind the values, each piece counted once, without that of the images."""
    pieces: dict[int, int] = {}

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            memory = value.untyped_storage()
            pieces[memory.data_ptr()] = memory.nbytes()
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)

    for value in values:
        add(value)
    pieces.pop(images.untyped_storage().data_ptr(), None)
    return sum(pieces.values())
