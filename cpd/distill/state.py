"""Everything that a resumed run needs to end as the uninterrupted one would have."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from cpd.distill.optimizer import load_named_state, named_state
from cpd.distill.student import Student


def random_state() -> dict[str, Any]:
    """The states of every generator that training may draw from."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": np.random.get_state(),
    }


def restore_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(state["numpy"]))


def seed_everything(seed: int, rank: int = 0) -> None:
    """`rank`: of several processes each draws its own dropout from torch; numpy's mixup is the same on all."""
    torch.manual_seed(_own_seed(seed, rank))
    random.seed(seed)
    np.random.seed(seed % 2**32)


def own_draws(device: torch.device) -> torch.Tensor:
    """The state of what this process draws from by itself, as bytes."""
    own = torch.get_rng_state()
    return torch.cat([own, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else own


def restore_own_draws(others: list[torch.Tensor], seed: int, step: int, rank: int, device: torch.device) -> None:
    """Put back what a process other than the first had saved; anew where that was by fewer processes."""
    if not rank:
        return
    if rank > len(others):
        torch.manual_seed(_own_seed(seed + step, rank))
        return
    size = torch.get_rng_state().numel()
    torch.set_rng_state(others[rank - 1][:size])
    if device.type == "cuda" and others[rank - 1].numel() > size:
        torch.cuda.set_rng_state(others[rank - 1][size:], device)


def _own_seed(seed: int, rank: int) -> int:
    return (seed + rank * 0x9E3779B97F4A7C15) % 2**63  # splitmix64's odd constant keeps neighbours apart


def student_state(student: Student, device: str | None = None) -> dict[str, Any]:
    """Weights, optimizer and average of a student, with what it keeps; copies, on `device` where one is given."""

    def copied(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.detach().to(device, copy=True) if device else value.detach().clone()

    moments = named_state(student.optimizer, student.module)
    state: dict[str, Any] = {
        "keep": {name: list(units) for name, units in student.keep.items()},
        "weights": {name: copied(t) for name, t in student.module.state_dict().items()},
        "optimizer": {name: {key: copied(v) for key, v in row.items()} for name, row in moments.items()},
        "optimizer_name": student.settings.optimizer,
    }
    if student.average is not None:
        state["average"] = {name: copied(t) for name, t in student.average.module.state_dict().items()}
    return state


def fill_student(student: Student, state: dict[str, Any]) -> None:
    """Put `student_state` into a student that already keeps what it says.

    What another optimizer, or a run without a moving average, did not leave behind begins anew.
    """
    student.module.load_state_dict(state["weights"])
    if state.get("optimizer_name", student.settings.optimizer) == student.settings.optimizer:
        load_named_state(student.optimizer, student.module, state["optimizer"])
    if student.average is not None:
        student.average.module.load_state_dict(state.get("average", state["weights"]))


def is_finite(student: Student) -> bool:
    """Whether every weight and every running statistic is a number."""
    floats = [t for t in student.handed_over.state_dict().values() if t.is_floating_point()]
    floats += [p.detach() for p in student.module.parameters()]
    return not floats or bool(torch.stack([torch.isfinite(t).all() for t in floats]).all())
