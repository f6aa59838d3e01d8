"""The network that shrinks while it trains, and everything that has to be cut with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cpd._torchvision  # noqa: F401  before timm, which imports torchvision

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.fx import GraphModule

from cpd.distill.optimizer import cut_optimizer, make_optimizer, take
from cpd.distill.settings import TrainSettings
from cpd.prune.index import Positions, kept_positions, relative_positions
from cpd.prune.order import Kept

if TYPE_CHECKING:
    from cpd.comb.comb import Comb


class Student:
    """A module in training, its optimizer and its moving average, always of one width.

    Without a comb it is the dense model and never shrinks.

    Attributes:
        module: what is trained.
        keep: units it still has, per group; empty without a comb.
        optimizer: over the module's parameters.
        average: timm's moving average of the weights, None where settings ask for none.
    """

    def __init__(
        self, module: nn.Module, settings: TrainSettings, comb: Comb | None = None, keep: Kept | None = None
    ) -> None:
        self.module, self.settings, self.comb = module, settings, comb
        self.keep: Kept = dict(keep or {})
        self.optimizer = make_optimizer(module, settings)
        self.average = ModelEmaV3(module, decay=settings.average) if settings.average else None

    @staticmethod
    def whole(model: nn.Module, comb: Comb, settings: TrainSettings, keep: Kept, device: torch.device) -> Student:
        """A student that keeps `keep`, cut from the dense model."""
        from cpd.prune.plan import uniform_plan
        from cpd.prune.surgery import prune, recut

        everything = {group.name: tuple(range(group.width)) for group in comb.record.groups}
        module = prune(model, comb, uniform_plan(comb.record, 0.0))
        if keep != everything:
            module = recut(module, comb, everything, keep)
        return Student(module.to(device), settings, comb, keep)

    @property
    def handed_over(self) -> nn.Module:
        """The module that is evaluated, and that the run ends with."""
        return self.average.module if self.average is not None else self.module

    def become(self, model: nn.Module, keep: Kept) -> None:
        """Be what `whole` gives: cut anew from the dense model, to any width; weights and optimizer begin anew."""
        assert self.comb is not None
        device = next(self.module.parameters()).device
        other = Student.whole(model, self.comb, self.settings, keep, device)
        self.module, self.optimizer, self.average = other.module, other.optimizer, other.average
        self.keep = dict(keep)

    def cut(self, after: Kept, images: Sequence[Tensor] = ()) -> None:
        """Remove everything that `after` does not keep: weights, buffers, optimizer state and average alike.

        Args:
            images: batches on the student's device by which the rest takes over what is removed; none, and it does not.
        """
        from cpd.prune.surgery import recut
        from cpd.prune.takeover import mixtures, take_over

        assert self.comb is not None
        record = self.comb.record
        positions = relative_positions(kept_positions(record, self.keep), kept_positions(record, after))
        training = self.module.training
        if images and isinstance(self.module, GraphModule):
            found = mixtures(self.module, positions, images)
            take_over(self.module, found)
            if self.average is not None:
                take_over(self.average.module, found)
        module = recut(self.module, self.comb, self.keep, after).train(training)
        optimizer = make_optimizer(module, self.settings)
        cut_optimizer(self.optimizer, self.module, optimizer, module, positions)
        if self.average is not None:
            self.average = self._cut_average(self.average, module, positions)
        self.module, self.optimizer, self.keep = module, optimizer, dict(after)

    def _cut_average(self, old: ModelEmaV3, module: nn.Module, positions: Positions) -> ModelEmaV3:
        new = ModelEmaV3(module, decay=self.settings.average)
        state = old.module.state_dict()
        none = {name: (None,) * tensor.dim() for name, tensor in state.items()}
        new.module.load_state_dict(
            {name: take(tensor, positions.get(name, none[name])) for name, tensor in state.items()}
        )
        return new
