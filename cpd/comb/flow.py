"""What a rule sees of the graph: labels of values, the operator's arguments by name, and how labels meet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from torch import Tensor
from torch.fx import Node

from cpd.comb.boxes import Boxes
from cpd.comb.labels import Atoms, IntArray, Label, Varying

Labels = list[Any]  # per axis a Label, or a Varying one


def operator_name(node: Node) -> str:
    """ "aten.add_.Tensor" -> "add": in-place variants are the same operator here."""
    text = str(node.target)
    if not text.startswith("aten."):
        return getattr(node.target, "__name__", text)
    name = text.split(".")[1]
    return name.rstrip("_") if not name.startswith("_") else name


@dataclass(eq=False)
class Call:
    """One operator call with its arguments by their names in the operator's schema."""

    node: Node
    name: str

    @cached_property
    def arguments(self) -> dict[str, Any]:
        schema = getattr(self.node.target, "_schema", None)
        if schema is None:
            return {str(i): a for i, a in enumerate(self.node.args)} | dict(self.node.kwargs)
        bound = {a.name: (a.default_value if a.has_default_value() else None) for a in schema.arguments}
        bound.update({a.name: value for a, value in zip(schema.arguments, self.node.args, strict=False)})
        bound.update(self.node.kwargs)
        return bound

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        value = self.arguments.get(name, default)
        return default if value is None else value


@dataclass(eq=False)
class Flow:
    """Labels of every value, filled in graph order.

    Attributes:
        labels: per node one label an axis, or a list of such lists for an operator with several results.
        silent: nodes whose removed positions hold zeros once a unit's weights are zero. Sums, norms and contractions
            over a labelled axis need that of what they read: a sigmoid turns those zeros into one half.
        macs: per node the axes whose sizes multiply to its multiply-accumulates.
        unknown: operators without a rule, with where they stand.
        heads: slots on the batch axes of contractions.
        batch: atoms of the batch axis.
        forced: splits whose rows must drop the same columns (see `boxes.py`).
        given: values computed from the model's inputs alone.
    """

    atoms: Atoms = field(default_factory=Atoms)
    labels: dict[Node, Any] = field(default_factory=dict)
    silent: dict[Node, bool] = field(default_factory=dict)
    macs: dict[Node, list[list[tuple[int, Any]]]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    heads: list[IntArray] = field(default_factory=list)
    batch: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    forced: set[str] = field(default_factory=set)
    given: set[Node] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.boxes = Boxes(self.atoms, self.forced)

    # What a value is

    def shape(self, node: Node) -> list[int]:
        return list(node.meta["val"].shape)

    def of(self, node: Any) -> Labels:
        """Plain labels of a tensor argument, one atom a position; nothing for numbers."""
        return [self.boxes.plain(label) for label in self.raw(node)]

    def raw(self, node: Any) -> Labels:
        """Labels of a tensor argument as they are, varying ones included: for operators that keep rows apart."""
        return list(self.labels[node]) if isinstance(node, Node) else []

    def rooted(self, labels: Labels) -> Labels:
        """Labels in which what varies still varies with axes of the same value; other freedoms are taken back."""
        rows = [label for label in labels if label is not None and not isinstance(label, Varying)]

        def keeps(label: Varying) -> bool:
            return all(any(self.boxes.same(c, row) for row in rows) for c in label.context)

        return [
            label if not isinstance(label, Varying) or keeps(label) else self.boxes.plain(label) for label in labels
        ]

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, Node) and isinstance(value.meta.get("val"), Tensor)

    def where(self, node: Node) -> str:
        """ "conv2d in layer1.0.conv2 (resnet.py:233)"."""
        module, source = origin(node)
        name = operator_name(node)
        return name + (f" in {module}" if module else "") + (f" ({source})" if source else "")

    # How labels meet

    def meet(self, a: Any, size_a: int, b: Any, size_b: int, node: Node) -> Any:
        """The label of an axis on which two values meet position by position; an axis of size 1 broadcasts."""
        if size_a == 1 and size_b != 1:
            return b
        if size_b == 1:
            return a
        return self.tie(a, b, node)

    def tie(self, a: Any, b: Any, node: Node) -> Any:
        """Positions of two axes of one size live and die together; where one has no label, the other must stay."""
        if isinstance(a, Varying) and isinstance(b, Varying) and self._alike(a, b):
            self.atoms.union(a.atoms.reshape(-1), b.atoms.reshape(-1))
            return a
        a, b = self.boxes.plain(a), self.boxes.plain(b)
        if a is None or b is None:
            known = b if a is None else a
            given = any(source in self.given for source in node.all_input_nodes)
            self.lock(known, "input of the model" if given else f"it meets an axis of fixed size in {self.where(node)}")
            return known
        self.atoms.union(a, b)
        return a

    def _alike(self, a: Varying, b: Varying) -> bool:
        """Whether two varying labels vary with the same axes; rows that meet later in the call count as met."""
        return a.atoms.shape == b.atoms.shape and all(
            self.boxes.same(x, y) for x, y in zip(a.context, b.context, strict=True)
        )

    def lock(self, label: Any, why: str) -> None:
        self.atoms.lock(self.boxes.plain(label), why)

    def broadcast(self, operands: Sequence[tuple[Labels, Sequence[int]]], node: Node) -> Labels:
        """Labels of values that meet element by element under broadcasting."""
        rank = max(len(shape) for _, shape in operands)
        result: Labels = [None] * rank
        sizes = [1] * rank
        for labels, shape in operands:
            shift = rank - len(shape)
            for i, (label, size) in enumerate(zip(labels, shape, strict=True), start=shift):
                result[i] = label if sizes[i] == 1 else self.meet(result[i], sizes[i], label, size, node)
                sizes[i] = max(sizes[i], size)
        return result

    def need_silence(self, nodes: Iterable[Node], label: Any, node: Node) -> None:
        """Lock `label` when none of `nodes` holds zeros where it was removed: the operator would still count them."""
        if label is not None and not any(self.silent.get(n, False) for n in nodes):
            self.lock(label, f"removed positions would still count in {self.where(node)}")

    def removable(self, labels: Iterable[Label]) -> bool:
        """Whether any of these axes may lose positions; the batch and what is locked may not."""

        def may(label: Any) -> bool:
            atoms = label.atoms.reshape(-1) if isinstance(label, Varying) else label
            return not (self.is_batch(label) or self.atoms.is_locked(atoms))

        return any(label is not None and may(label) for label in labels)

    def is_batch(self, label: Any) -> bool:
        """Whether an axis is the batch, perhaps merged with axes of fixed size."""
        if isinstance(label, Varying):
            return False
        return bool(np.isin(self.atoms.find(label), self.atoms.find(self.batch)).all())

    def fresh(self, shape: Sequence[int]) -> Labels:
        """Labels for a value made in the graph whose positions are all alike (zeros, an expanded axis)."""
        return [self.atoms.new(n) if n > 1 else None for n in shape]

    def count(self, node: Node, axes: Sequence[tuple[int, Any]]) -> None:
        """Record that `node` does as many multiply-accumulates as these axis sizes multiply to."""
        if prod(n for n, _ in axes):
            self.macs.setdefault(node, []).append(list(axes))

    def head(self, label: Label) -> None:
        """Remember a slot on the batch axis of a contraction: a head."""
        if label is not None and not self.is_batch(label):
            self.heads.append(label)


_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def origin(node: Node) -> tuple[str, str]:
    """(module path, "file.py:line" outside torch) of a node; empty strings where the trace does not know."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    frame = origin_frame(node)
    source = f"{frame[0].rpartition('/')[2]}:{frame[1]}" if frame else ""
    return (paths[-1] if paths else ""), source


def origin_frame(node: Node) -> tuple[str, str] | None:
    """(path of the file, line) of the innermost call outside torch, None where the trace does not know."""
    frames: list[tuple[str, str]] = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if "/torch/nn/" not in frame[0]] or frames
    return own[-1] if own else None
