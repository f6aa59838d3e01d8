"""Atoms: the labels that flow along axes, merged by a union-find, locked with a reason, owned by slots.

An axis of a value carries one atom per position, or None where nothing can ever be removed (space, tokens). Two
positions with the same atom live and die together. An atom may own others: removing it removes them (a head owns its
channels). An owned atom is never removed on its own.

Everything works on whole vectors: a wide network has a hundred thousand atoms, a Python loop over them takes minutes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Label = IntArray | None  # one atom per position, or None: the axis keeps its size


@dataclass(frozen=True, eq=False)
class Free:
    """A split axis whose rows may each drop positions of their own, as long as all rows drop equally many."""

    key: str  # names the split, so that it can be taken back
    atoms: IntArray  # (*rows, n)


@dataclass(frozen=True, eq=False)
class Varying:
    """A label whose atoms differ with the position on other axes: every head has channels of its own.

    Attributes:
        atoms: (*sizes of the context, n).
        context: labels of the axes that the atoms vary with, in the order of `atoms`.
        source: the split that it comes from.
    """

    atoms: IntArray
    context: tuple[IntArray, ...]
    source: Free

    def __len__(self) -> int:
        return int(self.atoms.shape[-1])

    def take(self, number: int, positions: IntArray | int) -> Varying | IntArray:
        """The label where context axis `number` is cut to `positions`, or to one position and gone."""
        atoms = self.atoms.take(positions, axis=number)
        rest = [c for i, c in enumerate(self.context) if i != number]
        if isinstance(positions, int):
            return Varying(atoms, tuple(rest), self.source) if rest else atoms
        kept = [c[positions] if i == number else c for i, c in enumerate(self.context)]
        return Varying(atoms, tuple(kept), self.source)


class Atoms:
    """A growing set of atoms, numbered from 0."""

    def __init__(self) -> None:
        self._parent = np.arange(1024, dtype=np.int64)
        self._must_stay = np.zeros(1024, bool)
        self._count = 0
        self._locks: list[tuple[IntArray, str]] = []
        self._owners: list[tuple[IntArray, IntArray, bool]] = []
        self._treatments: list[tuple[IntArray, np.uint64]] = []

    def __len__(self) -> int:
        return self._count

    def new(self, number: int) -> IntArray:
        """`number` fresh atoms."""
        while self._count + number > len(self._parent):
            self._parent = np.concatenate([self._parent, np.arange(len(self._parent), 2 * len(self._parent))])
            self._must_stay = np.concatenate([self._must_stay, np.zeros_like(self._must_stay)])
        atoms = np.arange(self._count, self._count + number, dtype=np.int64)
        self._count += number
        return atoms

    def find(self, atoms: IntArray) -> IntArray:
        """The representative of each atom's class."""
        roots = self._parent[atoms]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                break
            roots = self._parent[above]
        self._parent[atoms] = roots
        return roots

    def union(self, left: IntArray, right: IntArray) -> None:
        """Merge the classes of left[i] and right[i], for every i."""
        while True:
            a, b = self.find(left), self.find(right)
            differ = a != b
            if not differ.any():
                return
            # A root that meets several others keeps the last of them here; the next round merges the rest.
            high, low = np.maximum(a, b)[differ], np.minimum(a, b)[differ]
            self._parent[high] = low
            stays = self._must_stay[high] | self._must_stay[low]
            self._must_stay[self.find(high[stays])] = True

    def roots(self) -> IntArray:
        """(count,) the representative of every atom."""
        return self.find(np.arange(self._count, dtype=np.int64))

    def lock(self, label: Label, why: str) -> None:
        """Say that these positions must stay, and why."""
        if label is not None and len(label):
            self._locks.append((label, why))
            self._must_stay[self.find(label)] = True

    def is_locked(self, label: IntArray) -> bool:
        """Whether every position of an axis must stay, as far as is known yet."""
        return bool(self._must_stay[self.find(label)].all())

    def own(self, owners: IntArray, owned: IntArray, free: bool = False) -> None:
        """owners[i] owns owned[i]: when the first dies so does the second. Unless `free`, the second never dies alone."""
        self._owners.append((owners, owned, free))

    def treat(self, label: Label, key: str) -> None:
        """Note that an operator treats these positions alike and apart from the rest of their axis.

        Units are exchangeable only when they were treated alike: two halves of an axis that go through branches of
        different depth have the same slices, and yet are groups of their own.
        """
        if label is not None and len(label):
            digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
            self._treatments.append((label, np.uint64(int.from_bytes(digest, "little"))))

    def locked(self) -> dict[int, str]:
        """Reason per locked class; the first reason given stays."""
        reasons: dict[int, str] = {}
        for label, why in self._locks:
            for root in np.unique(self.find(label)).tolist():
                reasons.setdefault(root, why)
        return reasons

    def ownership(self) -> tuple[IntArray, IntArray]:
        """All (owner, owned) pairs of classes; pairs may repeat."""
        if not self._owners:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        owner = self.find(np.concatenate([o for o, _, _ in self._owners]))
        owned = self.find(np.concatenate([o for _, o, _ in self._owners]))
        return owner, owned

    def dependent(self) -> npt.NDArray[np.bool_]:
        """(count,) True for classes that never die alone."""
        flag = np.zeros(self._count, bool)
        for _, owned, free in self._owners:
            if not free:
                flag[self.find(owned)] = True
        return flag

    def treatments(self) -> npt.NDArray[np.uint64]:
        """(count,) per class a number that tells how operators treated its positions, regardless of order."""
        total = np.zeros(self._count, np.uint64)
        for label, key in self._treatments:
            np.add.at(total, self.find(label), key)
        return total
