"""The criteria by name. A new one is a file beside this and one row here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpd.errors import PlanError

if TYPE_CHECKING:
    from cpd.comb.record import CombRecord
    from cpd.importance.criterion import Criterion
    from cpd.importance.observer import Observer, Subject


@dataclass(frozen=True)
class Entry:
    """One criterion: where it lives and how a screen names it.

    Attributes:
        reads: "weights", "gradients" or "curvature" for a criterion that puts a number on every weight
            (`criterion.py`); "structure", "activations" or "attributions" for an observer (`observer.py`).
        help: what it measures and what it costs, for a screen.
        home: module:class, imported when it is used, so that listing criteria costs no torch.
    """

    name: str
    title: str
    reads: str
    home: str
    help: str

    @property
    def needs_data(self) -> bool:
        return self.reads not in ("weights", "structure")

    @property
    def needs_comb(self) -> bool:
        """Whether it looks at activations, whose positions only the comb of the model knows."""
        return self.reads in ("activations", "attributions")

    @property
    def per_weight(self) -> bool:
        """Whether it is a number on every weight; all others are observers."""
        return self.reads in ("weights", "gradients", "curvature")

    @property
    def follows_training(self) -> bool:
        """Whether it can be accumulated from the gradients of a student that is being trained."""
        return self.reads in ("weights", "gradients")

    def load(self) -> Criterion:
        """The criterion, where it is one of weights."""
        criterion: Criterion = self._kind()()
        return criterion

    def observe(self, subject: Subject) -> Observer:
        """The observer of a model, where it is one."""
        observer: Observer = self._kind()(subject)
        return observer

    def _kind(self) -> Any:
        module, _, kind = self.home.partition(":")
        return getattr(importlib.import_module(module), kind)


def _entry(name: str, title: str, reads: str, kind: str, help: str) -> Entry:
    return Entry(name, title, reads, f"cpd.importance.{name}:{kind}", help)


CRITERIA: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        _entry("l1", "L1 magnitude", "weights", "L1", "Sum of absolute weights of everything that leaves with the unit."),
        _entry("l2", "L2 magnitude", "weights", "L2", "Euclidean norm of all weights that leave with the unit."),
        _entry("fpgm", "Geometric median (FPGM)", "structure", "Fpgm",
               "Distance to the other units of the group: near the middle, others can stand in for it."),
        _entry("bn_scale", "Batch-norm scale", "structure", "BatchNormScale",
               "Mean of |gamma| in the unit's batch norms (network slimming). Says nothing of groups without batch norm."),
        _entry("lamp", "LAMP", "weights", "Lamp",
               "Squared magnitude as a share of all units that are at least as large: magnitudes made comparable between groups."),
        _entry("taylor", "Taylor, first order", "gradients", "Taylor", "First-order change of the loss without the unit."),
        _entry("fisher", "Accumulated Fisher per activation memory", "gradients", "Fisher",
               "The paper's score: squared first-order terms, accumulated, divided by the activation memory of the group."),
        _entry("reference", "Released code's score (baseline)", "gradients", "Reference",
               "The score as the paper's released code computes it: only of the tensors that write a unit, each over the memory of its own layer."),
        _entry("hessian", "Hessian diagonal", "curvature", "Hessian",
               "Second-order change of the loss without the unit, by Hutchinson's estimate of the diagonal; a few times the cost of Taylor."),
        _entry("activation", "Mean absolute activation", "activations", "Activation",
               "How much the rest of the network gets to see of the unit, over images and positions; forward passes only."),
        _entry("integrated_gradients", "Integrated gradients (Captum)", "attributions", "IntegratedGradients",
               "Share of each image's loss that the unit accounts for. Slow: 8 training steps a batch for every layer."),
        _entry("random", "Random (control)", "weights", "Random", "What every other criterion has to beat."),
    )
}  # fmt: skip


def criterion_names() -> tuple[str, ...]:
    return tuple(CRITERIA)


def check_criteria(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order given.

    Raises:
        PlanError: a name that is not registered.
    """
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in CRITERIA:
            raise PlanError(f"no criterion is called {name!r}; there are {', '.join(CRITERIA)}.")
    if not chosen:
        raise PlanError(f"name at least one criterion of {', '.join(CRITERIA)}.")
    return chosen


def unfit(name: str, record: CombRecord) -> str:
    """Why a criterion has nothing to say of a model, in words; "" where it has."""
    if name == "bn_scale":
        owned = {piece.tensor for group in record.groups if group.prunable for piece in group.slices}
        if not any(tensor.endswith(".running_var") for tensor in owned):
            return "none of its groups has a batch norm"
    return ""
