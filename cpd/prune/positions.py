"""How often an operator with a weight is applied in one sample: the positions, or tokens, of its output."""

from __future__ import annotations

import numpy as np

from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel


def output_positions(record: CombRecord) -> tuple[dict[str, float], frozenset[str]]:
    """Positions by the weight's name: an operator's MACs over the elements of its weight, summed over its uses; and
    which of those weights are of transposed convolutions, whose output channels lie along axis 1."""
    model = CostModel(record)
    numel = {t.name: float(np.prod(t.shape)) for t in record.tensors}
    macs = model.operator_macs(model.sizes(model.dead({})))
    positions: dict[str, float] = {}
    transposed: set[str] = set()
    for operator, cost in zip(record.operators, macs, strict=True):
        weight = f"{operator.module}.weight" if operator.module else "weight"
        if weight in numel:
            positions[weight] = positions.get(weight, 0.0) + cost / numel[weight]
            if "transpose" in operator.operator:
                transposed.add(weight)
    return positions, frozenset(transposed)


def reads(tensor: str, axis: int, dimensions: int, transposed: frozenset[str]) -> bool:
    """Whether a tensor reads the units along this axis; it writes them otherwise, as biases, norms and embeddings do."""
    return tensor.endswith("weight") and dimensions > 1 and axis == (0 if tensor in transposed else 1)
