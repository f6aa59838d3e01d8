"""The paper's criterion: accumulated squared first-order terms per activation memory."""

from __future__ import annotations

from torch import Tensor

from cpd.importance.criterion import FirstOrder, Totals


class Fisher(FirstOrder):
    """Mean over the group's slices of the accumulated (sum w * g)^2, divided by the group's activation memory.

    From "Comb, Prune, Distill" (arXiv 2408.03046) and its released code, which describe the score as Hessian-based:
    for every parameter tensor and channel, (sum over the channel's weights of w * g)^2 is added up over the batches of
    an interval (gradient of the batch-mean loss, squared once per batch: the diagonal of the empirical Fisher matrix
    in the direction "remove this channel"); the tensors of a group are averaged; and the result is divided by the
    activations that the group still holds, so that units which occupy much memory go first.

    Ours, where the code is narrower or unclear: all slices of the group count, also those that read the unit (the code
    scores only the tensors that write it, and then divides by the number of both); the memory is that of the whole
    group, once (the code divides tensor by tensor by the output of the owning module, and for token layouts multiplies
    the wrong axis); units are compared per chunk by `cpd.prune.order`, not by raw sums of chunks of unequal size.
    The idea of the memory divisor is from Group Fisher Pruning, Liu et al. 2021, arXiv:2108.00708.
    """

    name = "fisher"
    title = "Accumulated Fisher per activation memory"

    def of_slice(self, sums: Tensor) -> Tensor:
        return sums.square()

    def finish(self, totals: Tensor, about: Totals) -> Tensor:
        return totals / about.slices / about.memory
