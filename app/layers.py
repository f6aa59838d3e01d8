"""The layers of a combed model in forward order, and the state of its groups: what pictures and tables are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cpd.comb.group import Group
from cpd.comb.record import CombRecord

PRUNABLE, LOCKED = "prunable", "locked"


@dataclass(frozen=True)
class Layer:
    """One operator with weights.

    Attributes:
        width: output channels of the dense model.
        macs: multiply-accumulates for one sample, dense.
        groups: names of the groups that own its output channels, () where nothing does.
        extent: number of the record's extent that its output channels are, -1 where nothing of it can go.
    """

    module: str
    operator: str
    width: int
    macs: float
    groups: tuple[str, ...]
    extent: int = -1


@dataclass(frozen=True)
class Section:
    """Consecutive layers of one part of the model, e.g. "layer2": positions first..last."""

    name: str
    first: int
    last: int


def layers(record: CombRecord, macs: Sequence[float]) -> list[Layer]:
    """Every operator that owns a weight, in forward order.

    Args:
        macs: per operator of the record, as `CostModel.operator_macs` gives them.
    """
    sizes = {tensor.name: tensor for tensor in record.tensors}
    owners: dict[tuple[str, int], list[str]] = {}
    for group in record.groups:
        for piece in group.slices:
            names = owners.setdefault((piece.tensor, piece.axis), [])
            if group.name not in names:
                names.append(group.name)
    found = []
    for operator, cost in zip(record.operators, macs, strict=True):
        weight = f"{operator.module}.weight" if operator.module else "weight"
        tensor = sizes.get(weight)
        if tensor is None or len(tensor.shape) < 2:
            continue
        axis = 1 if "transpose" in operator.operator else 0
        found.append(
            Layer(operator.module, operator.operator, tensor.shape[axis], float(cost), tuple(owners.get((weight, axis), ())),
                  tensor.extents[axis])
        )  # fmt: skip
    return found


def widths_left(found: Sequence[Layer], sizes: Sequence[float]) -> list[int]:
    """Output channels of every layer that are left.

    Args:
        sizes: living size of every extent of the record, as `CostModel.sizes` gives them.
    """
    return [layer.width if layer.extent < 0 else int(sizes[layer.extent]) for layer in found]


def state_of(group: Group) -> str:
    return PRUNABLE if group.prunable else LOCKED


def sections(names: Sequence[str], most: int = 18) -> list[Section]:
    """Runs of layers that share the head of their name, as finely as gives at most `most` runs."""
    best = _runs(names, 1)
    for depth, enough in ((2, most), (3, 3)):  # a third level only where two tell next to nothing
        finer = _runs(names, depth)
        if len(best) >= enough or len(finer) > most:
            break
        best = finer
    return best


def _runs(names: Sequence[str], depth: int) -> list[Section]:
    found: list[Section] = []
    for position, name in enumerate(names):
        parts = name.partition("#")[0].partition(":")[0].split(".")  # group names may say which axis they mean
        # The last part names the layer itself, unless it stands alone at the top.
        head = ".".join(parts[: min(depth, max(1, len(parts) - 1))])
        if found and found[-1].name == head:
            found[-1] = Section(head, found[-1].first, position)
        else:
            found.append(Section(head, position, position))
    return found
