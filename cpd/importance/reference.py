"""The score as the paper's released code computes it: a baseline for our own reading of it, `fisher.py`."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from cpd.comb.record import CombRecord
from cpd.importance.criterion import FirstOrder
from cpd.importance.scores import FloatArray
from cpd.prune.cost import Keep
from cpd.prune.positions import output_positions, reads


class Reference(FirstOrder):
    """Mean over the tensors that write the unit of (sum w * g)^2 over the activations of that tensor's module, added up
    over batches, divided by the number of tensors that write or read it.

    Re-implemented from the released code of "Comb, Prune, Distill" (arXiv 2408.03046; February 2024). Against `fisher`:
    only the tensors that lose output channels are scored, although the divisor counts the others, too; every tensor has
    the memory of its own module's output, with the channels that are still kept.

    Where that code goes by the layout of a tensor and multiplies the wrong axes (tokens), this takes positions times
    channels. Norms and embeddings have the positions of the layer of their group that has most.
    """

    name = "reference"
    title = "Released code's score (baseline)"

    def of_slice(self, sums: Tensor) -> Tensor:
        return sums.square()

    def factors(self, record: CombRecord, keep: Keep | None) -> FloatArray:
        positions, transposed = output_positions(record)
        dimensions = {t.name: len(t.shape) for t in record.tensors if t.is_parameter}
        parts = [np.zeros(0)]
        for group in record.groups:
            slices = [piece for piece in group.slices if piece.tensor in dimensions]
            writes = [not reads(p.tensor, p.axis, dimensions[p.tensor], transposed) for p in slices]
            known = [positions.get(f"{p.tensor.rpartition('.')[0]}.weight") for p in slices]
            most = max([k for k, w in zip(known, writes, strict=True) if w and k] or [1.0])
            left = len(keep[group.name]) if keep and group.name in keep else group.width
            for piece, writing, here in zip(slices, writes, known, strict=True):
                activations = max(1.0, (here or most) * left * piece.index.shape[1])
                factor = 1.0 / (activations * sum(writes) * len(slices)) if writing else 0.0
                parts.append(np.full(group.width, factor))
        return np.concatenate(parts)
