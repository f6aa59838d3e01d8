"""The metric of one cut network after another, on the same images, from where each of them leaves the dense one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils._pytree import tree_map

from cpd.measure.recalibrate import CumulativeNorm, live_norms, recalibrate
from cpd.sensitivity.frontier import Frontier
from cpd.sensitivity.interval import FloatArray, Z
from cpd.sensitivity.judge import Verdict, judge_for
from cpd.sensitivity.sample import reordered
from cpd.sensitivity.split import Split, split
from cpd.sensitivity.walk import Walker
from cpd.tasks.task import Batch, Task

_OF_DROP = 0.1  # a drop need not be known better than to a tenth of itself


@dataclass(frozen=True)
class Enough:
    """When no further image is needed.

    Attributes:
        tolerance: half of a 90 % interval against evaluating all images; 0 for all of them.
        floor: a value that is clearly below needs no further precision.
    """

    tolerance: float
    floor: float

    def __call__(self, verdict: Verdict, dense: float) -> bool:
        off = Z * verdict.spare
        wide = max(self.tolerance, _OF_DROP * abs(dense - verdict.value))
        return self.tolerance > 0 and (off <= wide or verdict.value + off < self.floor)


class Evaluator:
    """Evaluates cut networks of one dense network.

    Args:
        dense: the dense network as surgery gives it, on `device`; its batch-norm statistics are taken anew.
        calibration: images to take statistics from, in batches.
        held_out: images and targets to evaluate on, in batches; accuracy takes them in an order of its own.
        room: bytes for what is kept between networks.
        seed: of the order of the images.
        progress: told of the dense network's pass.

    Attributes:
        verdict: of the dense network on all images, its statistics taken anew.
        images: how many there are.
    """

    def __init__(
        self,
        dense: GraphModule,
        task: Task,
        calibration: Sequence[Tensor],
        held_out: Sequence[Batch],
        device: torch.device,
        room: int,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._task, self._device = task, device
        self._held_out: Sequence[Batch] = held_out
        self._judge = judge_for(task, device)
        self._dense = Walker(dense)
        self._norms = bool(live_norms(dense))
        self.images = sum(len(targets) for _, targets in held_out)
        with torch.no_grad():
            first = held_out[0][0].to(device)
            self._format = _memory_format(dense, first, task)
            images = [self._placed(each) for each in calibration] if self._norms else []
            if self._norms:
                recalibrate(dense, images)
            rows: list[FloatArray] = []
            calls: list[list[Tensor]] = []
            for done, (pictures, targets) in enumerate(held_out, 1):
                recorder = _Recorder(dense)
                outputs = task.predict(recorder, self._placed(pictures))
                task.check(outputs)
                rows.append(self._judge.rows(outputs, targets))
                calls.append(recorder.seen)
                if progress:
                    progress(done, len(held_out))
        self._rows = np.concatenate(rows)
        self.verdict = self._judge.verdict(self._rows, self._rows)
        order = self._judge.order(self._rows, seed)
        ranked = None if order is None else reordered(held_out, order, len(held_out[0][1]))
        if order is not None and ranked is not None:
            self._held_out, self._rows, calls = ranked, self._rows[order], []
            for pictures, _ in ranked:
                mute = _Mute(recorder.answer)
                task.predict(mute, self._placed(pictures))
                calls.append(mute.seen)
        self._calls = [len(each) for each in calls]
        count = sum(len(each) for each in images)
        share = int(room * count / (count + self.images))
        self._calibration = Frontier(self._dense, images, True, share)
        self._evaluation = Frontier(self._dense, [call for each in calls for call in each], False, room - share)

    def split(self, module: GraphModule) -> Split:
        """A cut network, on the device, beside the dense one."""
        return split(self._dense, module)

    def advance(self, splits: Sequence[Split]) -> None:
        """Bring the images to where these networks begin to differ from the dense one."""
        with torch.no_grad():
            self._calibration.advance(splits)
            self._evaluation.advance(splits)

    def __call__(self, each: Split, enough: Enough, check: Callable[[], None] = lambda: None) -> tuple[Verdict, int]:
        """The verdict on a cut network that `advance` was told of, and the number of images behind it.

        Args:
            check: called between batches; may raise to end the evaluation.
        """
        with torch.no_grad():
            norm = CumulativeNorm()
            for number in range(len(self._calibration.passages)):
                self._calibration.outputs(each, number, norm)
                check()
            rows: list[FloatArray] = []
            call = images = 0
            for number, (pictures, targets) in enumerate(self._held_out):
                replay = _Replay(self._evaluation, each, call)
                outputs = self._task.predict(replay, self._placed(pictures))
                call += self._calls[number]
                rows.append(self._judge.rows(outputs, targets))
                images += len(targets)
                check()
                if self._judge.fewest(self.images) <= images < self.images:
                    verdict = self._judge.verdict(self._rows, np.concatenate(rows))
                    if enough(verdict, self.verdict.value):
                        return verdict, images
            return self._judge.verdict(self._rows, np.concatenate(rows)), images

    def _placed(self, images: Tensor) -> Tensor:
        return images.to(self._device, memory_format=self._format if images.ndim == 4 else torch.preserve_format)


def _memory_format(dense: GraphModule, images: Tensor, task: Task) -> torch.memory_format:
    """Channels last where the network convolves and runs so: the same sums, without reordering for every kernel."""
    if not any("conv2d" in str(node.target) for node in dense.graph.nodes) or images.ndim != 4:
        return torch.contiguous_format
    try:
        task.predict(dense, images.to(memory_format=torch.channels_last))
    except RuntimeError:  # a view that needs the usual order
        return torch.contiguous_format
    return torch.channels_last


class _Recorder(nn.Module):
    """The dense network, remembering what it was called with: a task may call it more than once for a batch."""

    def __init__(self, dense: nn.Module) -> None:
        super().__init__()
        self.dense = dense
        self.seen: list[Tensor] = []
        self.answer: Any = None  # the latest

    def forward(self, images: Tensor) -> Any:
        self.seen.append(images)
        self.answer = self.dense(images)
        return self.answer


class _Mute(nn.Module):
    """Remembers what it was called with, and answers zeros of the dense network's shapes."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Any:
        self.seen.append(images)
        return tree_map(lambda x: x.new_zeros((len(images), *x.shape[1:])), self._answer)


class _Replay(nn.Module):
    """A cut network that answers the calls that the dense one was given, in the same order."""

    def __init__(self, frontier: Frontier, each: Split, call: int) -> None:
        super().__init__()
        self._frontier, self._split, self._call = frontier, each, call

    def forward(self, images: Tensor) -> Any:
        self._call += 1
        return self._frontier.outputs(self._split, self._call - 1)
