"""What combing found, on disk: names as JSON, numbers as a few flat arrays (`sealed.py`).

Everything ragged (slices of groups, atoms of units, labels of values) is one array of values, read back as views.
Positions and atoms are numbers of things in memory, far below 2**31, so 32 bits hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from cpd.comb.axes import Axes
from cpd.comb.group import Group, IntArray, Slice, Tie
from cpd.comb.record import CombRecord, OperatorCost, Ragged, TensorSize
from cpd.comb.sealed import read_sealed, write_sealed

_NO_LABEL = -1  # in place of a label's number


def write_comb(path: Path, record: CombRecord, axes: Axes) -> None:
    """Write the record and the axes of a comb as it was found: nothing of it is certified yet."""
    ties = list(dict.fromkeys(tie for group in record.groups for tie in group.ties))
    place = {tie: i for i, tie in enumerate(ties)}
    labels = axes.distinct()
    number = {id(label): i for i, label in enumerate(labels)}
    head = {
        "model": record.model,
        "atoms": record.atoms,
        "groups": [_group_row(group, place) for group in record.groups],
        "ties": [[t.operator, t.module, t.source, t.effect] for t in ties],
        "tensors": [[t.name, t.shape, t.extents, t.is_parameter] for t in record.tensors],
        "operators": [[o.name, o.module, o.operator, o.factor, o.extents] for o in record.operators],
        "unknown": record.unknown,
        "values": {name: _numbers(of, number) for name, of in axes.of_node.items()},
        "shapes": {i: label.shape for i, label in enumerate(labels) if label.ndim > 1},
    }
    tables = {
        "index": _flat([piece.index for group in record.groups for piece in group.slices]),
        "blocks": _flat([np.array(group.blocks) for group in record.groups if group.blocks is not None]),
        "unit_start": record.unit_atoms.start,
        "unit_values": record.unit_atoms.values,
        "extent_start": record.extents.start,
        "extent_values": record.extents.values,
        "label_size": np.array([label.size for label in labels], np.int64),
        "label_values": _flat(labels),
        "batch": axes.batch,
    }
    small = {name: table.astype(np.int32, casting="unsafe") for name, table in tables.items()}
    write_sealed(path, head, {name: torch.from_numpy(table) for name, table in small.items()})


def read_comb(path: Path) -> tuple[CombRecord, Axes] | None:
    """Record and axes at `path`; None where there is no whole file."""
    try:
        head, small, _ = read_sealed(path)
        tables = {name: table.long() for name, table in small.items()}
        ties = [Tie(*row) for row in head["ties"]]
        index, blocks = _Reader(tables["index"]), _Reader(tables["blocks"])
        record = CombRecord(
            model=head["model"],
            groups=tuple(_group(row, ties, index, blocks) for row in head["groups"]),
            atoms=head["atoms"],
            unit_atoms=Ragged(tables["unit_start"].numpy(), tables["unit_values"].numpy()),
            extents=Ragged(tables["extent_start"].numpy(), tables["extent_values"].numpy()),
            tensors=tuple(TensorSize(name, tuple(shape), tuple(at), own) for name, shape, at, own in head["tensors"]),
            operators=tuple(_cost(*row) for row in head["operators"]),
            unknown=tuple(head["unknown"]),
        )
        values = _Reader(tables["label_values"])
        labels: list[IntArray | None] = [values.take(size) for size in tables["label_size"].tolist()]
        for number, shape in head["shapes"].items():
            labels[int(number)] = labels[int(number)].reshape(shape)  # type: ignore[union-attr]
        labels.append(None)  # which _NO_LABEL reads
        of_node = {name: _labels(row, labels) for name, row in head["values"].items()}
        return record, Axes(of_node, tables["batch"].bool().numpy())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, SafetensorError):
        return None


def _group_row(group: Group, place: dict[Tie, int]) -> list[Any]:
    slices = [[piece.tensor, piece.axis, piece.index.shape[1]] for piece in group.slices]
    ties = [place[tie] for tie in group.ties]
    return [
        group.name, group.width, group.blocks is not None, group.parent, group.tied, group.prunable, group.reason,
        slices, ties,
    ]  # fmt: skip


def _group(row: Sequence[Any], ties: list[Tie], index: _Reader, blocks: _Reader) -> Group:
    name, width, blocked, parent, tied, prunable, reason, slices, tied_by = row
    return Group(
        name=name,
        width=width,
        slices=tuple(Slice(tensor, axis, index.take(width * k).reshape(width, k)) for tensor, axis, k in slices),
        blocks=tuple(blocks.take(width).tolist()) if blocked else None,
        parent=parent,
        tied=tuple(tied),
        prunable=prunable,
        reason=reason,
        ties=tuple(ties[i] for i in tied_by),
    )


def _cost(name: str, module: str, operator: str, factor: float, extents: list[int]) -> OperatorCost:
    return OperatorCost(name, module, operator, factor, tuple(extents))


def _numbers(labels: list[Any], number: dict[int, int]) -> list[Any]:
    """Labels of a value, or of several, by their numbers."""
    return [
        _numbers(one, number) if isinstance(one, list) else _NO_LABEL if one is None else number[id(one)]
        for one in labels
    ]


def _labels(row: list[Any], labels: list[IntArray | None]) -> list[Any]:
    return [_labels(one, labels) if isinstance(one, list) else labels[one] for one in row]


def _flat(arrays: Sequence[IntArray]) -> IntArray:
    return np.concatenate([array.reshape(-1) for array in arrays]) if arrays else np.zeros(0, np.int64)


class _Reader:
    """A flat array handed out piece by piece."""

    def __init__(self, table: Tensor) -> None:
        self._values: IntArray = table.numpy()
        self._at = 0

    def take(self, size: int) -> IntArray:
        piece = self._values[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("the array ends too early")
        self._at += size
        return piece
