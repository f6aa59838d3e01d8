"""All measurements of one or several models, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cpd.comb.record import CombRecord
from cpd.measure import Progress
from cpd.measure.accuracy import Quality, quality
from cpd.measure.latency import latencies
from cpd.measure.machine import device_name, pick_device
from cpd.measure.macs import counted_macs, planned_macs
from cpd.measure.measurement import Latency, Measurement, Memory
from cpd.measure.memory import peak_memory
from cpd.prune.cost import Keep
from cpd.tasks.task import Task


def measure_each(
    modules: Mapping[str, nn.Module],
    inputs: tuple[Tensor, ...],
    task: Task | None,
    device: str,
    batches: Sequence[int],
    record: CombRecord | None,
    keeps: Mapping[str, Keep] | None,
    seconds: float,
    progress: Progress | None,
) -> dict[str, Measurement]:
    """See `cpd.measure.measure_all`."""
    place = pick_device(device)
    steps = len(batches) + (len(modules) if task else 0)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, steps)

    for module in modules.values():
        module.to(place)
    judged: dict[str, Quality] = {}
    if task:  # first: a model that does not fit the data is found out before a clock runs
        for name, module in modules.items():
            judged[name] = quality(module, task, place)
            tick()
    timed: dict[str, list[Latency]] = {name: [] for name in modules}
    taken: dict[str, list[Memory]] = {name: [] for name in modules}
    for batch in batches:
        for name, row in latencies(modules, inputs, batch, place, seconds).items():
            timed[name].append(row)
        for name, module in modules.items():
            taken[name].append(Memory(batch, peak_memory(module, inputs, batch, place)))
        tick()
    result = {}
    for name, module in modules.items():
        keep = None if keeps is None else keeps.get(name)
        counted = record is None or keep is None
        macs = counted_macs(module, tuple(x.to(place) for x in inputs)) if counted else planned_macs(record, keep)  # type: ignore[arg-type]
        result[name] = Measurement(
            parameters=sum(p.numel() for p in module.parameters()),
            macs=macs,
            metric=task.metric_name if task else "",
            quality=judged[name].value if task else None,
            images=task.val_images if task else 0,
            latency=tuple(timed[name]),
            device=str(place),
            machine=device_name(place),
            torch=torch.__version__,
            classes=judged[name].classes if task else None,
            memory=tuple(taken[name]),
        )
    return result
