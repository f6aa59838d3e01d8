"""Measure: size, latency and quality of a model as it is, on this machine.

measurement.py   the result as numbers, without torch
metrics.py       what each metric is called, without torch
latency.py       median and spread, several models in turn so that a busy machine is fair to all
accuracy.py      the task's metric over the held-out images, accuracy or mean IoU
operators.py     the table behind estimates of latency: every operator timed where it stands, at several widths
quantities.py    what each operator writes, reads and multiplies, as products of axes that plans change
terms.py         from timed calls to the terms of an operator's time
timings.py       operators timed before on this machine
macs.py          multiply-accumulates, from the comb's arithmetic or counted in a run
machine.py       what this machine is called, and the device that was asked for
abilities.py     what it can do for a training, without torch
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cpd.measure.measurement import Latency, Measurement

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cpd.comb.record import CombRecord
    from cpd.prune.cost import Keep
    from cpd.tasks.task import Task

__all__ = ["Latency", "Measurement", "measure", "measure_all"]

Progress = Callable[[int, int], None]  # (steps done, steps in all)


def measure(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    task: Task | None = None,
    *,
    device: str = "cpu",
    batches: Sequence[int] = (1, 32),
    record: CombRecord | None = None,
    keep: Keep | None = None,
    seconds: float = 2.0,
    progress: Progress | None = None,
) -> Measurement:
    """Parameters, MACs, latency and, with a task, accuracy of one model; see `measure_all`."""
    keeps = None if keep is None else {"model": keep}
    return measure_all(
        {"model": module},
        inputs,
        task,
        device=device,
        batches=batches,
        record=record,
        keeps=keeps,
        seconds=seconds,
        progress=progress,
    )["model"]


def measure_all(
    modules: Mapping[str, nn.Module],
    inputs: tuple[Tensor, ...],
    task: Task | None = None,
    *,
    device: str = "cpu",
    batches: Sequence[int] = (1, 32),
    record: CombRecord | None = None,
    keeps: Mapping[str, Keep] | None = None,
    seconds: float = 2.0,
    progress: Progress | None = None,
) -> dict[str, Measurement]:
    """Measure several models of the same inputs, their timed runs interleaved.

    Args:
        inputs: example inputs; their first sample is repeated to every batch size.
        task: None leaves the accuracy out.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto"; the models are moved there.
        record, keeps: the comb and what each model keeps of it ({} for all); MACs then come from its arithmetic,
            which also counts operators that torch's counter does not know. Without them torch counts a run.
        seconds: timed runs of each model at each batch size take about this long.
        progress: told after each part.
    Raises:
        DeviceError: the device is not there.
    """
    from cpd.measure.whole import measure_each

    return measure_each(modules, inputs, task, device, batches, record, keeps, seconds, progress)
