"""What a cut network must survive before it is called fine: forward at another batch size, save and reload, backward."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cpd.comb.certify import floats, outputs, randomised, relative_error
from cpd.comb.comb import Comb
from cpd.prune.plan import Plan, uniform_plan
from cpd.prune.surgery import prune

STEPS = ("forward", "reload", "backward")
_ALIKE = 1e-3  # relative, single precision: another batch size may choose another kernel


@dataclass(frozen=True)
class Trouble:
    """The first step that a network did not survive, and why."""

    step: str
    text: str


class Mill:
    """Puts cut networks of one model through `STEPS`, in single precision, on copies.

    Steps that the uncut network does not survive either say nothing about a cut: they stand in `faults` and are
    left out from then on.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Any, ...], comb: Comb, device: str = "cpu") -> None:
        self._comb = comb
        self._device = torch.device(device)
        self._model = copy.deepcopy(model).to("cpu").float().eval()
        for parameter in self._model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        self._other = randomised(model, 1).float()
        self._inputs = tuple(pytree.tree_map(_single, inputs))
        self._narrow = tuple(pytree.tree_map(lambda x: _batch(x, 1), self._inputs))
        self._wide = tuple(pytree.tree_map(lambda x: _batch(x, None), self._inputs))
        self._shapes: list[torch.Size] = []
        self._trained: set[str] = set()
        self._mixes: bool | None = None
        self.faults: dict[str, str] = {}
        self._dense()

    @property
    def steps(self) -> tuple[str, ...]:
        """What cut networks are put through."""
        return tuple(step for step in STEPS if step not in self.faults)

    def trial(self, plan: Plan) -> Trouble | None:
        """Cut by `plan` and take every step in turn; the first that fails."""
        step = "forward"
        try:
            network = prune(self._model, self._comb, plan)
            for step in self.steps:
                text = getattr(self, f"_{step}")(network, plan)
                if text:
                    return Trouble(step, text)
        except Exception as error:  # noqa: BLE001  whatever breaks is what the doctor looks for
            return Trouble(step, f"{type(error).__name__}: {_first_line(error)}")
        return None

    def _dense(self) -> None:
        """What the uncut network does, which the cut ones are held against."""
        plan = uniform_plan(self._comb, 0.0)
        try:
            whole = prune(self._model, self._comb, plan)
            with torch.no_grad():
                off = relative_error(outputs(whole, self._inputs), outputs(self._model, self._inputs))
        except Exception as error:  # noqa: BLE001
            self.faults = dict.fromkeys(
                STEPS, f"the traced graph does not run ({type(error).__name__}: {_first_line(error)})."
            )
            return
        if off > _ALIKE:
            self.faults["trace"] = (
                f"the traced graph answers otherwise than the model's own code (relative error {off:.0e})."
            )
        for step in STEPS:
            try:
                text = getattr(self, f"_{step}")(whole, plan)
            except Exception as error:  # noqa: BLE001
                text = f"{type(error).__name__}: {_first_line(error)}"
            if text:
                self.faults[step] = f"{step} fails before anything is cut, so it was not tried on groups ({text})."

    @torch.no_grad()
    def _forward(self, network: nn.Module, plan: Plan) -> str:
        """Answers at a batch of one with the dense shapes, finite, and as it does at the batch of the trace."""
        network.to(self._device)
        many, one = (outputs(network, self._here(x)) for x in (self._inputs, self._narrow))
        network.to("cpu")
        if not one:
            return "it returns no floating tensor"
        if not all(bool(torch.isfinite(o).all()) for o in (*many, *one)):
            return "its outputs are not finite"
        shapes = [o.shape for o in (*many, *one)]
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            return f"outputs of shape {_words(shapes)} in place of {_words(self._shapes)}"
        rows = [
            (a[:1], b)
            for a, b in zip(many, one, strict=True)
            if b.ndim and b.shape[0] == 1 and a.shape[1:] == b.shape[1:]
        ]
        off = relative_error([b for _, b in rows], [a for a, _ in rows]) if rows else 0.0
        if self._mixes is None:
            self._mixes = off > _ALIKE  # the uncut network: its samples may depend on each other
        if self._mixes or off <= _ALIKE:
            return ""
        return f"one sample alone gives another answer than in a batch (relative error {off:.0e})"

    @torch.no_grad()
    def _reload(self, network: nn.Module, plan: Plan) -> str:
        """The tensors as a file, read into a network of other weights that was cut alike, give the same bits."""
        # Copies: the format refuses tensors that share storage, and tied weights do.
        written = save({name: tensor.detach().contiguous().clone() for name, tensor in network.state_dict().items()})
        again = prune(self._other, self._comb, plan).eval()
        again.load_state_dict(load(written), strict=True)
        network.eval()
        pairs = zip(outputs(again, self._inputs), outputs(network, self._inputs), strict=True)
        return "" if all(torch.equal(a, b) for a, b in pairs) else "loaded again it gives other outputs"

    def _backward(self, network: nn.Module, plan: Plan) -> str:
        """In training mode a gradient, and a finite one, reaches every weight that the dense model trains."""
        network.to(self._device).train()
        network.zero_grad(set_to_none=True)
        values = [o for o in floats(network(*self._here(self._wide))) if o.requires_grad]
        if not values:
            return "no output depends on the weights"
        torch.stack([o.float().square().mean() for o in values]).sum().backward()
        grads = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        network.to("cpu").eval()
        wrong = [name for name, grad in grads.items() if not bool(torch.isfinite(grad).all())]
        if wrong:
            return f"the gradient of {wrong[0]} is not finite"
        self._trained = self._trained or set(grads)
        lost = sorted(self._trained - set(grads))
        return f"no gradient reaches {lost[0]}" if lost else ""

    def _here(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        result: tuple[Any, ...] = pytree.tree_map(lambda x: x.to(self._device) if isinstance(x, Tensor) else x, inputs)
        return result


def _single(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    leaf = leaf.detach().to("cpu")
    return leaf.float() if leaf.is_floating_point() else leaf


def _batch(leaf: Any, size: int | None) -> Any:
    """The first `size` samples of `leaf`, or all of them and one more."""
    if not isinstance(leaf, Tensor) or not leaf.ndim:
        return leaf
    return torch.cat([leaf, leaf[:1]]) if size is None else leaf[:size]


def _words(shapes: Sequence[torch.Size]) -> str:
    return ", ".join("x".join(map(str, shape)) or "()" for shape in shapes)


def _first_line(error: Exception) -> str:
    return next((row.strip() for row in str(error).splitlines() if row.strip()), "")[:160]
