"""A comb as names and numbers: what plans, costs and screens need, without torch and without the model.

Sizes are counts of living *atoms*. An atom is a label that flows along axes (see `labels.py`); a unit of a group
kills a set of atoms; an `extent` is one axis of some tensor in the graph, as the list of its atoms. Whatever a plan
removes, every size in the network is the number of atoms of an extent that are still alive, so parameters and
multiply-accumulates of any plan follow by arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cpd.comb.group import Group, IntArray, Slice, Tie
from cpd.errors import StorageError
from cpd.files import make_folder, replacing

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Ragged:
    """A list of integer lists in two arrays: row i is values[start[i]:start[i + 1]]."""

    start: IntArray
    values: IntArray

    @staticmethod
    def of(rows: Sequence[Sequence[int] | IntArray]) -> Ragged:
        arrays = [np.asarray(row, dtype=np.int64) for row in rows]
        start = np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype(np.int64)
        return Ragged(start, np.concatenate(arrays) if arrays else np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.start) - 1

    def row(self, i: int) -> IntArray:
        return self.values[self.start[i] : self.start[i + 1]]


@dataclass(frozen=True)
class TensorSize:
    """Shape of a parameter or buffer: each axis a fixed size, or the number of an extent."""

    name: str
    shape: tuple[int, ...]
    extents: tuple[int, ...]  # per axis; -1 where nothing can be removed
    is_parameter: bool


@dataclass(frozen=True)
class OperatorCost:
    """Multiply-accumulates of one operator for one sample: factor times the living sizes of `extents`."""

    name: str  # graph node
    module: str
    operator: str
    factor: float
    extents: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CombRecord:
    """Groups of a model and the arithmetic of their sizes.

    Attributes:
        model: digest of the architecture (operators, names and shapes), which plans carry.
        groups: in forward order.
        unit_atoms: atoms that die with each unit; rows are the units of all groups, one group after another.
        extents: atoms of each extent; -1 for a position that nothing removes.
        tensors: every parameter and buffer.
        operators: every operator that multiplies and accumulates, in forward order.
        unknown: operators without a rule, with what they locked, in words.
    """

    model: str
    groups: tuple[Group, ...]
    atoms: int
    unit_atoms: Ragged
    extents: Ragged
    tensors: tuple[TensorSize, ...]
    operators: tuple[OperatorCost, ...]
    unknown: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, Group]:
        return {group.name: group for group in self.groups}

    @cached_property
    def first_unit(self) -> dict[str, int]:
        """Row of a group's unit 0 in `unit_atoms`."""
        rows = np.concatenate([[0], np.cumsum([g.width for g in self.groups])])
        return {group.name: int(row) for group, row in zip(self.groups, rows, strict=False)}

    def with_groups(self, groups: Sequence[Group]) -> CombRecord:
        """The same record with groups of the same names and widths (certified or locked since)."""
        if [(g.name, g.width) for g in groups] != [(g.name, g.width) for g in self.groups]:
            raise ValueError("with_groups changes what is said of groups, not which there are")
        return replace(self, groups=tuple(groups))

    def save(self, folder: Path) -> None:
        """Write comb.json (readable) and comb.npz (index arrays) into `folder`."""
        arrays: dict[str, IntArray] = {
            "unit_start": self.unit_atoms.start,
            "unit_values": self.unit_atoms.values,
            "extent_start": self.extents.start,
            "extent_values": self.extents.values,
        }
        groups: list[dict[str, Any]] = []
        for g, group in enumerate(self.groups):
            slices = []
            for s, piece in enumerate(group.slices):
                arrays[f"index_{g}_{s}"] = piece.index
                slices.append({"tensor": piece.tensor, "axis": piece.axis})
            row = {f: getattr(group, f) for f in _GROUP_FIELDS}
            groups.append(row | {"slices": slices, "ties": [asdict(t) for t in group.ties]})
        text = {
            "schema": SCHEMA,
            "model": self.model,
            "atoms": self.atoms,
            "groups": groups,
            "tensors": [asdict(t) for t in self.tensors],
            "operators": [asdict(o) for o in self.operators],
            "unknown": self.unknown,
        }
        make_folder(folder)
        with replacing(folder / "comb.npz") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        with replacing(folder / "comb.json") as file:
            file.write(json.dumps(text, indent=1).encode())

    @staticmethod
    def load(folder: Path) -> CombRecord:
        """Read what `save` wrote.

        Raises:
            StorageError: the files are missing, of another schema, or damaged.
        """
        try:
            text = json.loads((folder / "comb.json").read_text())
            if text["schema"] != SCHEMA:
                raise StorageError(
                    f"{folder}/comb.json has schema {text['schema']}, this version reads {SCHEMA}; comb the model again."
                )
            with np.load(folder / "comb.npz", allow_pickle=False) as arrays:
                groups = tuple(_group(g, row, arrays) for g, row in enumerate(text["groups"]))
                return CombRecord(
                    model=text["model"],
                    groups=groups,
                    atoms=text["atoms"],
                    unit_atoms=Ragged(arrays["unit_start"], arrays["unit_values"]),
                    extents=Ragged(arrays["extent_start"], arrays["extent_values"]),
                    tensors=tuple(_tuples(TensorSize, row) for row in text["tensors"]),
                    operators=tuple(_tuples(OperatorCost, row) for row in text["operators"]),
                    unknown=tuple(text["unknown"]),
                )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise StorageError(f"{folder}: cannot read the comb ({error}); comb the model again.") from error


_GROUP_FIELDS = ("name", "width", "blocks", "parent", "tied", "prunable", "reason", "certified")


def _tuples(kind: type, row: dict[str, Any]) -> Any:
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})


def _group(number: int, row: dict[str, Any], arrays: Any) -> Group:
    slices = tuple(
        Slice(piece["tensor"], piece["axis"], arrays[f"index_{number}_{s}"]) for s, piece in enumerate(row["slices"])
    )
    fields: dict[str, Any] = {f: row[f] for f in _GROUP_FIELDS}
    fields["blocks"] = None if fields["blocks"] is None else tuple(fields["blocks"])
    fields["tied"] = tuple(fields["tied"])
    return Group(**fields, slices=slices, ties=tuple(Tie(**tie) for tie in row["ties"]))
