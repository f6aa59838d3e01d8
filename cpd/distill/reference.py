"""The removal schedule of the paper's released code, as a baseline: one group loses one chunk, by raw sums of scores."""

from __future__ import annotations

from collections.abc import Iterator

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel
from cpd.prune.order import Cut, Kept, Walk, clusters
from cpd.prune.plan import Constraints, Scores, legal_widths
from cpd.prune.positions import output_positions, reads
from cpd.prune.quantity import Share

_FFN = 32


class _RawSums(Walk):
    """Chunks by the sum of their scores: chunks of unequal size and groups of unequal cost are compared as they are."""

    def worth(self, names: tuple[str, ...], to: int) -> float:
        here = self.living.counts[names[0]]
        return sum(float(self._left[name][here] - self._left[name][to]) for name in names) / len(names)


def reference_cuts(
    model: CostModel, scores: Scores, keep: Kept, constraints: Constraints, fixed: frozenset[str] = frozenset()
) -> Iterator[Cut]:
    """Chunks of the k lowest units of a group, the chunk with the least sum first, whatever it saves.

    The constraints are ours: the released code leaves a group one unit at the least and knows no multiples. Groups that
    must keep equal counts (which it does not have) go together, by the mean of their sums.
    """
    record = model.record
    walk = _RawSums(model, Share(model, "macs"), scores, keep)
    chunk = Chunks(record)
    free = [names for names in clusters(record.groups) if record.by_name[names[0]].prunable and not fixed & set(names)]
    legal = {names: legal_widths(record.by_name[names[0]], constraints) for names in free}

    def offers(names: tuple[str, ...]) -> Iterator[int]:
        left = walk.living.counts[names[0]]
        narrower = [width for width in legal[names] if width < left]
        wanted = left - chunk.of(record.by_name[names[0]], left)
        if narrower:
            yield max([width for width in narrower if width <= wanted] or narrower[:1])

    yield from walk.cheapest_first(free, offers, saving=False)


class Chunks:
    """How many units a group loses at once.

    Of convolutions 4, 2 below 64 channels and 1 below 32, or one of every block; of the hidden units of a token MLP 32;
    of an embedding one for every attention head; of attention one channel of every head; of other linear layers 1.
    In the released code a file made by hand says which of these a group is; here its tensors do. Its 16 for the branches
    of two segmentation heads, known there by name, are not taken over.
    """

    def __init__(self, record: CombRecord) -> None:
        self._positions, self._transposed = output_positions(record)
        self._dimensions = {t.name: len(t.shape) for t in record.tensors}
        self._heads = max([group.step for group in record.groups], default=1)

    def of(self, group: Group, left: int) -> int:
        if group.step > 1 or group.parent:
            return group.step
        writers = [
            piece.tensor
            for piece in group.slices
            if piece.tensor.endswith("weight")
            and self._dimensions[piece.tensor] > 1
            and not reads(piece.tensor, piece.axis, self._dimensions[piece.tensor], self._transposed)
        ]
        linear = [name for name in writers if self._dimensions[name] == 2]
        if not linear:
            return 4 if left >= 64 else 2 if left >= 32 else 1
        if any(self._positions.get(name, 1.0) > 1 for name in linear):
            return _FFN if len(writers) == 1 else self._heads
        return 1
