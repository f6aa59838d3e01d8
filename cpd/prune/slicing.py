"""The part of a tensor that lives, as a tensor of its own, in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_WIDE = 4  # elements of a kernel from which copying kernels one by one beats copying columns
_CHUNK = 1 << 16  # elements gathered at a time, which stay in a processor's cache


def sliced(tensor: Tensor, axes: Sequence[npt.NDArray[np.int64] | None]) -> Tensor:
    """A copy of `tensor`, in memory of its own, cut along each axis to the positions named; None keeps a whole axis.

    Weights are cut along their first two axes, and one axis after the other would write the half-cut tensor to memory
    and read it again. So kernels are copied one by one, and where they are small (linear, 1x1) rows chunk by chunk.
    """
    cuts = [
        (axis, torch.from_numpy(living).to(tensor.device)) for axis, living in enumerate(axes) if living is not None
    ]
    if not cuts:
        return tensor.clone()
    if [axis for axis, _ in cuts] == [0, 1] and tensor.is_contiguous():
        return _kernels(tensor, cuts[0][1], cuts[1][1])
    for axis, living in cuts:
        tensor = tensor.index_select(axis, living)
    return tensor


def _kernels(weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`weight` (out, in, *kernel), contiguous, at every pair of `rows` and `columns`."""
    out, width = weight.shape[:2]
    kernel = weight.shape[2:].numel()
    shape = (len(rows), len(columns), *weight.shape[2:])
    if kernel >= _WIDE:
        pairs = (rows[:, None] * width + columns).reshape(-1)
        return weight.view(out * width, kernel).index_select(0, pairs).view(shape)
    result = weight.new_empty(shape)
    step = max(1, _CHUNK // max(1, width * kernel)) if weight.device.type == "cpu" else len(rows)
    for i in range(0, len(rows), step):
        torch.index_select(weight.index_select(0, rows[i : i + step]), 1, columns, out=result[i : i + step])
    return result
