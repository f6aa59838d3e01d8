"""Where a step runs: device, mixed precision, processes. Hugging Face accelerate, re-aimed at the student after a cut."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import cpd._torchvision  # noqa: F401  accelerate may import torchvision

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor, nn

from cpd.distill.settings import TrainSettings
from cpd.distill.student import Student
from cpd.errors import DeviceError, RunError
from cpd.importance.accumulate import Accumulator
from cpd.measure.latency import evaluating
from cpd.measure.machine import pick_device


class Engine:
    """One process's share of a training step.

    Attributes:
        device: where the student lives.
        module: what is called in training; the student itself, or its wrapper where several processes share it.
        rank, world: this process's number and how many there are.

    Raises:
        DeviceError: the device, or its precision, is not there.
    """

    def __init__(self, settings: TrainSettings) -> None:
        device = pick_device(settings.device)
        if settings.precision == "fp16" and device.type == "cpu":
            raise DeviceError("precision fp16 needs a GPU; use bf16 or no on the CPU.")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if PartialState._shared_state and PartialState().num_processes == 1:
            # accelerate keeps its first choice for the life of the process; a second run may choose otherwise
            AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=settings.precision)
        self.device: torch.device = self.accelerator.device
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.module: nn.Module = nn.Identity()
        self.channels_last = settings.channels_last
        self._optimizer: Any = None

    def lay_out(self, module: nn.Module) -> None:
        """Give the weights the layout that the settings ask for, in place."""
        if self.channels_last:
            laid_out(module, torch.channels_last)

    def placed(self, images: Tensor) -> Tensor:
        """A batch on the device, in that layout."""
        images = images.to(self.device, non_blocking=True)
        fit = self.channels_last and images.ndim == 4
        return images.contiguous(memory_format=torch.channels_last) if fit else images

    def check_layout(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Try the layout on one batch.

        Raises:
            RunError: the network reshapes activations in a way that only the usual layout allows.
        """
        if not self.channels_last:
            return
        try:
            with torch.no_grad(), evaluating(module):
                module(*(self.placed(x) for x in inputs))
        except RuntimeError as error:
            raise RunError(
                "channels_last does not work with this network, it reshapes activations in a way that only the usual "
                "layout allows; turn it off."
            ) from error

    def adopt(self, student: Student) -> None:
        """Train this student from now on."""
        self.lay_out(student.module)
        self.accelerator._models.clear()
        self.accelerator._optimizers.clear()
        self.module = self.accelerator.prepare_model(student.module) if self.world > 1 else student.module
        self._optimizer = self.accelerator.prepare_optimizer(student.optimizer, device_placement=False)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        context: contextlib.AbstractContextManager[Any] = self.accelerator.autocast()
        return context

    def part(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Around one part of a step's batch: gradients are exchanged between processes with the last one only."""
        if last or self.world == 1:
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[Any] = self.accelerator.no_sync(self.module)
        return context

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def gradient_scale(self) -> float:
        """What fp16's scaler has multiplied the gradients by."""
        scaler = self.accelerator.scaler
        return float(scaler.get_scale()) if scaler is not None else 1.0

    def sound(self) -> bool:
        """Whether this step's gradients are numbers. With fp16 now and then they are not: the scaler then leaves the step
        out and scales less, and nothing may be learned of such gradients. Other precisions have no such steps."""
        if self.accelerator.scaler is None:
            return True
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        return not gradients or bool(torch.stack([torch.isfinite(g).all() for g in gradients]).all())

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: fp16's scale and how long it has held; empty in other precisions."""
        scaler = self.accelerator.scaler
        return dict(scaler.state_dict()) if scaler is not None else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """What `state` gave, put back; a run that goes on in fp16 from one in another precision begins its own scale."""
        if self.accelerator.scaler is not None and state:
            self.accelerator.scaler.load_state_dict(dict(state))

    def step(self, clip: float) -> None:
        """Step the optimizer and clear the gradients."""
        if clip:
            self.accelerator.clip_grad_norm_(self.module.parameters(), clip)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def agree(self, flag: bool) -> bool:
        """True on all processes when it is true on one."""
        if self.world == 1:
            return flag
        votes = self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum")
        return bool(votes.item() > 0)

    def shared(self, totals: Accumulator) -> Accumulator:
        """The scores of all processes added up, so that every process cuts the same units."""
        if self.world > 1:
            state = totals.state()
            totals.load_state(
                {
                    k: v if k == "batches" else self.accelerator.reduce(v.to(self.device), "sum")
                    for k, v in state.items()
                }
            )
        return totals


def laid_out(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    """The module itself, its four-dimensional weights in that layout."""
    changed: nn.Module = module.to(memory_format=layout)  # type: ignore[call-overload]
    return changed
