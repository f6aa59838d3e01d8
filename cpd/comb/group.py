"""Dependency groups: units that are removed whole, and every tensor slice that goes with each of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Slice:
    """Where the units of a group sit in one tensor.

    Unit u owns the positions `index[u]` along `axis` of `tensor`.
    """

    tensor: str  # name in model.state_dict()
    axis: int
    index: IntArray  # (width, k)


@dataclass(frozen=True)
class Tie:
    """One operator on the path that holds a group together."""

    operator: str  # "conv2d"
    module: str  # "layer1.0.conv2", "" at the top of the model
    source: str  # "resnet.py:233", "" where the trace does not know
    effect: str  # what it does to the group, in words: "reads it", "adds it to layer1.0.bn2"


@dataclass(frozen=True, eq=False)
class Group:
    """Units that must be cut at the same indices in all of `slices`.

    Attributes:
        name: module that first writes the group, e.g. "layer1.0.conv1"; unique in a comb.
        width: number of units.
        slices: every tensor slice that a unit owns.
        blocks: a block id per unit, or None. Units may only be exchanged within a block, and every block keeps the
            same number of them (channels inside attention heads, channels of a grouped convolution).
        parent: group whose units contain this group's (a head contains its channels), "" for none.
        tied: groups that must keep the same number of units although their indices are free.
        prunable: False where `reason` says why the group must stay whole.
        reason: why the group is locked, in words; "" when prunable.
        ties: the operators that hold the group together, in forward order.
        certified: True or False once the two checks of `cpd.comb.certify` have run, None before.
    """

    name: str
    width: int
    slices: tuple[Slice, ...]
    blocks: tuple[int, ...] | None = None
    parent: str = ""
    tied: tuple[str, ...] = ()
    prunable: bool = True
    reason: str = ""
    ties: tuple[Tie, ...] = field(default=(), repr=False)
    certified: bool | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that the group touches, in forward order, each once."""
        return tuple(dict.fromkeys(piece.tensor for piece in self.slices))

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules that own those tensors, in forward order, each once."""
        return tuple(dict.fromkeys(name.rpartition(".")[0] for name in self.tensors))

    @property
    def step(self) -> int:
        """How many units leave at once at the least: one of every block."""
        return 1 if self.blocks is None else len(set(self.blocks))
