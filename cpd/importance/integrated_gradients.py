"""Layer integrated gradients, by Captum."""

from __future__ import annotations

from collections.abc import Callable

import cpd._torchvision  # noqa: F401  captum may import torchvision

import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from cpd.importance.observer import Batch, Observer, Subject
from cpd.importance.taps import Tap, graph_of, written

STEPS = 8  # of the integral, Gauss-Legendre
_IMAGES = 64  # images, times steps, that go through the network at once


class IntegratedGradients(Observer):
    """How much of each image's loss the unit accounts for: mean over images of |sum of its attributions|.

        a(y) = (y - y0) * integral over t in 0..1 of d loss / d y at y0 + t (y - y0)

    y is the output of an operator that writes the unit, y0 its output for an image that is 0 after normalisation (the
    mean colour). Attributions of one image are summed over the unit's positions with their sign, the absolute value is
    taken per image, and the mean is over images, then over the operators that write the group: signed means over images
    cancel and rank no better than chance. The loss is attributed, not a logit.
    Source: Sundararajan et al. 2017, arXiv:1703.01365, equation 1, per layer as Captum's `LayerIntegratedGradients`.
    Cost: about the integral's steps times a training step, for every operator that writes a prunable group.
    """

    name = "integrated_gradients"
    title = "Integrated gradients (Captum)"
    needs_data = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        assert subject.comb is not None
        self._taps: dict[str, list[Tap]] = {}
        for tap in written(subject.comb, subject.keep):
            if tap.batch is not None:
                self._taps.setdefault(tap.node, []).append(tap)
        module, nodes = graph_of(subject)
        self._module = module.requires_grad_(False)
        self._layers_of: dict[str, nn.Module] = {}
        for number, (name, taps) in enumerate(self._taps.items()):
            batch = taps[0].batch
            assert batch is not None
            self._layers_of[name] = _as_layer(module, nodes[name], f"_tap_{number}", batch)
        module.recompile()

    @property
    def steps(self) -> int:  # type: ignore[override]
        return max(1, len(self._taps))

    def observe(self, batch: Batch | None, tick: Callable[[], None]) -> Tensor:
        assert batch is not None
        device = self.subject.device
        images, targets = batch[0].to(device), batch[1].to(device)
        total, count = (torch.zeros(self.subject.units, dtype=torch.float64) for _ in range(2))
        for name, taps in self._taps.items():
            found = self._attributions(self._layers_of[name], images, targets)
            for tap in taps:
                rows = _per_image(tap, found, len(images)).cpu().double()
                owned = tap.owned(self.subject.units) > 0
                total += torch.where(owned, tap.per_unit(rows, self.subject.units).abs().mean(0), 0.0)
                count += owned
                if tap.weight.endswith("weight") and len(tap.axes) == 1:
                    self.note(tap.weight, rows.abs().mean(0))
            tick()
        return torch.where(count > 0, total / count.clamp_min(1), float("nan"))

    def _attributions(self, layer: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Of the layer's output, samples on axis 0."""
        attribute = LayerIntegratedGradients(self._loss, layer).attribute
        found: Tensor = attribute(
            images, additional_forward_args=(targets,), n_steps=STEPS, internal_batch_size=max(_IMAGES, len(images))
        )
        return found.detach()

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """The sum of the images' losses: each image's gradient is then that of its own loss."""
        return (self.subject.loss(self._module(images), targets) * len(images)).reshape(1)


def _as_layer(module: GraphModule, node: Node, name: str, batch: int) -> nn.Module:
    """Make a node's value the output of a module, samples on axis 0, as Captum wants to have it.

    What follows reads a copy of it: an operator that works in place must not write into what Captum differentiates by.
    """
    layer = nn.Identity()
    module.add_submodule(name, layer)
    graph = module.graph
    users = list(node.users)
    with graph.inserting_after(node):
        first = graph.call_function(torch.movedim, (node, batch, 0))
    with graph.inserting_after(first):
        seen = graph.call_module(name, (first,))
    with graph.inserting_after(seen):
        back = graph.call_function(torch.movedim, (seen, 0, batch))
    with graph.inserting_after(back):
        copy = graph.call_function(torch.clone, (back,))
    for user in users:
        user.replace_input_with(node, copy)
    return layer


def _per_image(tap: Tap, found: Tensor, images: int) -> Tensor:
    """(images, positions) sums over everything else: space, tokens, and the windows of an image."""
    assert tap.batch is not None
    rows = tap.flat(found.movedim(0, tap.batch))
    batch = tap.batch - sum(axis < tap.batch for axis in tap.axes)
    rows = rows.movedim(batch, 0)
    return rows.reshape(images, -1, rows.shape[-1]).sum(1)
