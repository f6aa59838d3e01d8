"""Batch-norm scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cpd.importance.observer import Batch, Observer


class BatchNormScale(Observer):
    """Mean of |gamma| over the unit's channels in every batch norm of its group.

    Gamma is the factor by which a batch norm scales a channel: where it is near 0 the channel is near constant. The
    authors train with an L1 penalty on gamma that this project does not add. A group without batch norm is left silent.
    Source: Liu et al. 2017, "Network slimming", arXiv:1708.06519, section 3, for single layers; the mean over the
    group's layers is ours.
    """

    name = "bn_scale"
    title = "Batch-norm scale"

    def observe(self, batch: Batch | None, tick: Callable[[], None]) -> Tensor:
        subject, result = self.subject, self.silent()
        tensors = {t.name for t in subject.record.tensors}
        for group in subject.record.groups:
            left = subject.left(group.name)
            scales = []
            for piece in group.slices:
                module, _, leaf = piece.tensor.rpartition(".")
                gamma = subject.parameters.get(piece.tensor)
                if leaf != "weight" or f"{module}.running_var" not in tensors or gamma is None:
                    continue
                where = piece.index[left]
                alive = subject.living[piece.tensor][piece.axis] if subject.living else None
                if alive is not None:
                    where = np.searchsorted(alive, where[np.isin(where, alive)].reshape(len(left), -1))
                size = gamma.detach().abs().cpu().double()
                scales.append(size[torch.as_tensor(where)].mean(1))
                if module not in self._layers:
                    self.note(piece.tensor, size)
            if scales:
                first = subject.record.first_unit[group.name]
                result[first + torch.as_tensor(left)] = torch.stack(scales).mean(0)
        tick()
        return result
