"""What cutting needs of a finished flow: every value's axes as atoms of the record.

The flow itself (classes, owners, locks, boxes) is only needed to find the groups. What stays are plain arrays, which go
to disk and come back in no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.fx import Node

from cpd.comb.flow import Flow
from cpd.comb.labels import IntArray, Varying

FIXED, BATCH = -1, -2  # in place of an atom: a position that no unit removes, and one of those that follows the batch


@dataclass(frozen=True, eq=False)
class Axes:
    """Per value of the graph, and per axis of it, which atoms of the record sit at its positions.

    A label is None for an axis that keeps its size, (n,) atoms, or (*rows, n) atoms where every row keeps positions of
    its own. Equal labels are one array.

    Attributes:
        of_node: per node name a list of labels, or a list of such lists for an operator with several results.
        batch: (atoms + 2,) True where a position follows the batch; indexed by atom, so that its last two entries are
            those of BATCH and FIXED.
    """

    of_node: dict[str, list[Any]]
    batch: npt.NDArray[np.bool_]

    def of(self, node: Any) -> list[Any]:
        """Labels of a tensor argument; nothing for numbers."""
        return self.of_node[node.name] if isinstance(node, Node) else []

    def shape(self, node: Node) -> list[int]:
        return list(node.meta["val"].shape)

    def alive(self, dead: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(atoms + 2,) which atoms live, to be indexed by labels; `dead` is that of `CostModel.dead`."""
        return np.concatenate([~dead[: len(self.batch) - 2], [True, True]])

    def distinct(self) -> list[IntArray]:
        """Every label once, in the order of the graph."""
        return list({id(label): label for labels in self.of_node.values() for label in leaves(labels)}.values())


def numbered(flow: Flow, roots: IntArray, number_of: IntArray, with_batch: npt.NDArray[np.bool_]) -> Axes:
    """The axes of a flow.

    Args:
        roots: (flow atoms,) the class of every atom.
        number_of: (flow atoms,) the record's number of every class, -1 where no unit kills it.
        with_batch: (flow atoms,) which classes follow the batch.
    """
    number = np.where((number_of < 0) & with_batch, BATCH, number_of)[roots]
    known: dict[bytes, IntArray] = {}
    seen: dict[int, IntArray] = {}  # by the identity of labels of the flow, which outlives this function

    def numbers(label: Any) -> Any:
        if label is None:
            return None
        if isinstance(label, list):
            return [numbers(one) for one in label]
        if id(label) not in seen:
            atoms = number[label.atoms if isinstance(label, Varying) else label]
            seen[id(label)] = known.setdefault(f"{atoms.shape}".encode() + atoms.tobytes(), atoms)
        return seen[id(label)]

    batch = np.zeros(int(number_of.max(initial=-1)) + 3, bool)
    killed = number_of >= 0
    batch[number_of[killed]] = with_batch[killed]
    batch[BATCH] = True
    return Axes({node.name: numbers(labels) for node, labels in flow.labels.items()}, batch)


def leaves(labels: list[Any]) -> Iterator[IntArray]:
    """The labels in a value's list, or in its lists."""
    for label in labels:
        if isinstance(label, list):
            yield from leaves(label)
        elif label is not None:
            yield label
