"""What a run measures of itself while it trains: accuracy, latency, size. Never anything but the module handed over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cpd.comb.record import CombRecord
from cpd.distill.heard import Heard, apart
from cpd.measure.accuracy import accuracy
from cpd.measure.history import KEY, packed, sample
from cpd.measure.latency import latency
from cpd.measure.map_history import event_data
from cpd.prune.cost import CostModel
from cpd.prune.order import Kept
from cpd.tasks.task import Task

_BATCHES = (1, 32)
_SHARE = 0.03  # of the run's time may go into timing forward passes


class Watch:
    """Measures a student at chosen moments.

    Args:
        record: the comb's record; None for a dense training, which has no cost to follow.
    """

    def __init__(self, task: Task, inputs: tuple[Tensor, ...], device: torch.device, record: CombRecord | None) -> None:
        self.task, self.inputs, self.device = task, inputs, device
        self.cost = CostModel(record) if record is not None else None
        self._timed: Kept | None = None
        self._heard = Heard(task)
        self._dense: dict[int, Tensor] = {}  # the dense model's maps of the sample
        self._spent = 0.0
        self._start = time.perf_counter()

    def metric(self, module: nn.Module) -> float:
        """The task's metric on the held-out images, 0..1."""
        self._heard = Heard(self.task)
        # a task by what it passes on, which types cannot see
        return accuracy(module, self._heard, self.device)  # type: ignore[arg-type]  # a task by what it passes on

    def refer(self) -> None:
        """The network whose metric was just measured is the dense one, which others are compared with."""
        self._dense = self._heard.maps

    def answers(self, dense: Callable[[], nn.Module]) -> Mapping[str, Any]:
        """What was answered when the metric was last measured, to a fixed sample of the held-out images; for the data of
        an event. Empty where answers are neither classes nor maps, or where other processes heard a part of them.

        Args:
            dense: gives the dense network, on this device; asked for once where maps are compared and `refer` was not
                called, as after a restart.
        """
        heard = self._heard
        if heard.classes:
            if sum(map(len, heard.classes)) != self.task.val_images:
                return {}
            return {KEY: packed(torch.cat(heard.classes).cpu().numpy()[sample(self.task.val_images)])}
        if not heard.is_whole:
            return {}
        if not self._dense:
            first = Heard(self.task)
            first.listen(dense(), self.device)
            self._dense = first.maps
        found = self.task.per_class(heard.made) or {}
        table = getattr(heard.made, "confmat", None)
        return event_data(
            np.array(apart(heard, self._dense)),
            [found.get(name) for name in self.task.classes],
            None if table is None else table.long().cpu().numpy(),
        )

    def latency(self, module: nn.Module, keep: Kept, always: bool = False) -> dict[str, float]:
        """Median milliseconds of a few forward passes at batch 1 and 32; empty where nothing was cut since the last
        time, or where timing has had its share of the run."""
        elapsed = time.perf_counter() - self._start
        first = self._timed is None
        if not always and not first and (keep == self._timed or self._spent > _SHARE * elapsed):
            return {}
        start = time.perf_counter()
        values = {
            f"latency/ms_b{batch}": latency(module, self.inputs, batch, self.device, seconds=0.0).median_ms
            for batch in _BATCHES
        }
        self._spent += time.perf_counter() - start
        self._timed = dict(keep)
        return values

    def size(self, keep: Kept) -> dict[str, float]:
        """Share of the dense cost, and the width of every group that can be cut."""
        if self.cost is None:
            return {}
        share = self.cost.price(keep).share_of(self.cost.dense)
        widths = {f"width/{g.name}": float(len(keep[g.name])) for g in self.cost.record.groups if g.prunable}
        return {"cost/macs": share["macs"], "cost/params": share["params"]} | widths
