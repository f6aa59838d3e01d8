"""Where a step runs: device, mixed precision, processes. Hugging Face accelerate, re-aimed at the student after a cut.

Several processes (torchrun starts them) share every batch: equal parts of it, gradients averaged once a step, statistics
of batch norm over the whole batch. What they do is what one process does with that batch, to rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cpd._torchvision  # noqa: F401  accelerate may import torchvision

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor, nn

from cpd.distill.compiled import compiled
from cpd.distill.settings import TrainSettings
from cpd.distill.student import Student
from cpd.distill.together import check_device
from cpd.distill.whole_batch import WholeBatch
from cpd.errors import RunError
from cpd.importance.accumulate import Accumulator
from cpd.measure.latency import evaluating
from cpd.measure.machine import pick_device


class Engine:
    """One process's share of a training step.

    Attributes:
        device: where the student lives.
        module: the student in training.
        rank, world: this process's number and how many there are.

    Raises:
        DeviceError: the device, or its precision, is not there.
        RunError: the settings ask for more processes than there are, or a batch has no equal parts for them.
    """

    def __init__(self, settings: TrainSettings) -> None:
        device = pick_device(settings.device)
        gpus = torch.cuda.device_count() if device.type == "cuda" else None
        check_device(settings, device.type, device.index or 0, gpus)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if PartialState._shared_state and PartialState().num_processes == 1:
            # accelerate keeps its first choice for the life of the process; a second run may choose otherwise
            AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=settings.precision)
        self.device: torch.device = self.accelerator.device
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        _check_parts(settings, self.world)
        self._threads = torch.get_num_threads()
        if self.world > 1 and self.device.type == "cpu":
            torch.set_num_threads(max(1, self._threads // self.world))
        self.module: nn.Module = nn.Identity()
        self.channels_last, self.compile = settings.channels_last, settings.compile
        self.forward: Callable[..., Tensor] = self.module  # the student as it is called in training
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

    def fast(self, module: nn.Module) -> Callable[..., Tensor]:
        """The module as it is called in every step: as compiled code where the settings ask for it."""
        return compiled(module) if self.compile else module

    def adopt(self, student: Student) -> None:
        """Train this student from now on."""
        self.lay_out(student.module)
        self.accelerator._optimizers.clear()
        self.module = student.module
        if self.world > 1:  # nothing but rounding could set them apart; now that cannot either
            for tensor in (*student.module.parameters(), *student.module.buffers()):
                if tensor.is_floating_point():
                    first = tensor.detach().contiguous()
                    dist.broadcast(first, 0)
                    tensor.detach().copy_(first)
        self.forward = self.fast(self.module)
        self._optimizer = self.accelerator.prepare_optimizer(student.optimizer, device_placement=False)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Around a forward pass."""
        with self.accelerator.autocast(), WholeBatch() if self.world > 1 else contextlib.nullcontext():
            yield

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def share_gradients(self) -> None:
        """After the last part of a step's batch: every process gets the mean of all, in one exchange."""
        if self.world == 1:
            return
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        if gradients:
            together = self._mean(torch.cat([g.flatten() for g in gradients]))
            torch._foreach_copy_(
                gradients,
                [
                    part.view_as(g)
                    for part, g in zip(together.split([g.numel() for g in gradients]), gradients, strict=True)
                ],
            )

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
        votes = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(votes)
        return bool(votes.item() > 0)

    def shared(self, totals: Accumulator) -> Accumulator:
        """The same scores on all processes, so that every process cuts the same units. They come of gradients that are
        shared already, so their mean is what one process would have."""
        if self.world > 1:
            state = totals.state()
            totals.load_state({k: v if k == "batches" else self._mean(v.to(self.device)) for k, v in state.items()})
        return totals

    def same(self, values: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        """Numbers that every process has worked out for itself: the first one's, on all."""
        rows = {name: list(row) for name, row in values.items()}
        if self.world == 1:
            return rows
        # Single precision where the device knows no other: what counts is that all have the same.
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        flat = torch.tensor([x for row in rows.values() for x in row], dtype=wide, device=self.device)
        dist.broadcast(flat, 0)
        ends = iter(flat.tolist())
        return {name: [next(ends) for _ in row] for name, row in rows.items()}

    def means(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name, each the mean over all processes."""
        if self.world == 1 or not values:
            return dict(values)
        together = self._mean(torch.stack([values[name] for name in sorted(values)]))
        return dict(zip(sorted(values), together, strict=True))

    def everyones(self, state: Tensor) -> list[Tensor]:
        """Bytes of every process, in the order of their ranks, on the CPU."""
        if self.world == 1:
            return [state]
        rows = [torch.empty_like(state, device=self.device) for _ in range(self.world)]
        dist.all_gather(rows, state.to(self.device))
        return [row.cpu() for row in rows]

    def in_turn(self, action: Callable[[], Any]) -> Any:
        """What `action` gives, done by the first process before the others begin."""
        found = action() if self.rank == 0 else None
        self.agree(False)
        return found if self.rank == 0 else action()

    def close(self) -> None:
        """The end of what is done together: from here on this process is on its own."""
        if self.world > 1:
            torch.set_num_threads(self._threads)
            dist.destroy_process_group()
            AcceleratorState._reset_state(reset_partial_state=True)

    def _mean(self, tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor)
        return tensor.div_(self.world)


def _check_parts(settings: TrainSettings, world: int) -> None:
    if settings.processes > 1 and world != settings.processes:
        raise RunError(
            f"processes={settings.processes}, and {world} {'is' if world == 1 else 'are'} at work; start it with "
            f"`python -m cpd`, from the app, or with torchrun --nproc-per-node={settings.processes}."
        )
    settings.check_parts(world)


def laid_out(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    """The module itself, its four-dimensional weights in that layout."""
    changed: nn.Module = module.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs want more with it
    return changed
