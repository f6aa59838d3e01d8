"""The two tables that rules and rewrites enter themselves in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch.fx import Node

from cpd.comb.axes import Axes
from cpd.comb.flow import Call, Flow
from cpd.comb.labels import Label

Size = int | Node  # a number, or the node that computes it from the batch


class Unruled(Exception):
    """This call is outside what its operator's rule covers; the labels that enter it are locked."""


class Cutting(Protocol):
    """What a rewrite sees of the network being cut. `node` is always a node of the dense graph."""

    axes: Axes

    def size(self, label: Any, dense: int) -> Size:
        """New size of an axis that had `dense` positions."""

    def alive(self, label: Label) -> npt.NDArray[np.bool_]:
        """Which positions of a labelled axis live."""

    def is_cut(self, label: Any) -> bool:
        """Whether any position of the axis is gone."""

    def set(self, new: Node, name: str, value: Any) -> None:
        """Change one argument of the copied node by its schema name."""

    def after(self, new: Node, target: Any, *args: Any) -> Node:
        """Insert a call behind the copied node and let it replace the result."""

    def constant(self, values: npt.NDArray[np.int64]) -> Node:
        """A tensor of numbers as a node of the new graph."""


Rule = Callable[[Flow, Call], Any]
Rewrite = Callable[[Cutting, Call, Node], None]

RULES: dict[str, Rule] = {}
REWRITES: dict[str, Rewrite] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a label rule for operators."""

    def enter(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"two rules for {name}")
            RULES[name] = function
        return function

    return enter


def rewrite(*names: str) -> Callable[[Rewrite], Rewrite]:
    """Register what a cut changes in the arguments of operators."""

    def enter(function: Rewrite) -> Rewrite:
        for name in names:
            if name in REWRITES:
                raise ValueError(f"two rewrites for {name}")
            REWRITES[name] = function
        return function

    return enter


def covered() -> dict[str, str]:
    """Every operator with a rule -> the family it belongs to."""
    return {name: function.__module__.rpartition(".")[2] for name, function in sorted(RULES.items())}
