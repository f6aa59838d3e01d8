"""The certificate: two checks that a group is right, run on the model itself in double precision.

*Relabelling.* Renumbering the units of a group in all its slices must not change what the model computes. A missing
slice, a wrong index map or a slice too many all change it. This runs the model's own forward pass, so it does not
trust the trace.

*Silencing.* The cut network must equal the dense one in which the removed units' weights are zero and in which norms
take their statistics over the units that are left.

Both hold to about 1e-15 for a right group, and miss by 1e-3 or more for a wrong one. They run on a copy with random
weights: trained or freshly initialised zeros would hide errors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cpd.comb.comb import Comb
from cpd.comb.group import Group
from cpd.comb.silence import Silenced
from cpd.comb.trace import widened
from cpd.prune.plan import Plan, plan_ratios
from cpd.prune.surgery import prune

TOLERANCE = 1e-6  # relative error; far above rounding, far below what a wrong slice does
CALMER = 0.6


@dataclass(frozen=True)
class Check:
    """What the two checks measured on one group: largest relative change of any output."""

    group: str
    relabel_error: float
    silence_error: float

    @property
    def passed(self) -> bool:
        return self.relabel_error <= TOLERANCE and self.silence_error <= TOLERANCE


def certify(model: nn.Module, inputs: tuple[Any, ...], comb: Comb, ratio: float = 0.5, seed: int = 0) -> Comb:
    """Run both checks; groups that fail are locked with the reason, the others are marked certified.

    Args:
        model: the module that was combed; a copy is used.
        ratio: how much of every group the silencing check removes.
    Returns:
        The same comb with `certified` set on every prunable group.
    """
    checks = {check.group: check for check in measure(model, inputs, comb, ratio, seed)}
    groups = []
    for group in comb.groups:
        check = checks.get(group.name)
        if check is None:
            groups.append(group)
        elif check.passed:
            groups.append(replace(group, certified=True))
        else:
            which = "relabelling" if check.relabel_error > TOLERANCE else "silencing"
            error = max(check.relabel_error, check.silence_error)
            reason = f"not certified: {which} its units changes the output by {error:.1e}"
            groups.append(replace(group, certified=False, prunable=False, reason=reason))
    return comb.with_groups(tuple(groups))


def measure(model: nn.Module, inputs: tuple[Any, ...], comb: Comb, ratio: float = 0.5, seed: int = 0) -> list[Check]:
    """Both errors of every prunable group. All groups are checked at once; one by one only where that fails."""
    groups = [group for group in comb.groups if group.prunable]
    if not groups:
        return []
    # The dense graph is run as it was traced, and some of its shapes name that batch.
    wide = pytree.tree_map(_double, widened(inputs))
    aliases = comb.trace.aliases

    def check(subject: nn.Module, some: Sequence[Group]) -> tuple[float, float]:
        names = [group.name for group in some]
        return (
            _error(lambda: relabel_error(subject, wide, some, aliases, seed)),
            _error(lambda: silence_error(subject, wide, comb, names, ratio)),
        )

    # A network of products can be so steep with random weights that rounding alone passes the tolerance. A wrong
    # group fails with small weights as well, so the calmer network decides.
    for spread in (1.0, CALMER):
        subject = randomised(model, seed, spread)
        together = check(subject, groups)
        if max(together) <= TOLERANCE:
            return [Check(group.name, *together) for group in groups]
    return [Check(group.name, *check(subject, [group])) for group in groups]


def _error(measurement: Callable[[], float]) -> float:
    """What was measured; infinite where the cut network does not even run."""
    try:
        return measurement()
    except (RuntimeError, ValueError, TypeError, IndexError):
        return float("inf")


@torch.no_grad()
def relabel_error(
    model: nn.Module, inputs: tuple[Any, ...], groups: Sequence[Group], aliases: dict[str, str], seed: int = 0
) -> float:
    """Relative change of the output when the units of all `groups` are renumbered within their blocks."""
    before = outputs(model, inputs)
    generator = torch.Generator().manual_seed(seed)
    state = dict(model.state_dict())
    kept = {name: tensor.clone() for name, tensor in state.items()}
    try:
        for group in groups:
            order = _renumbering(group, generator)
            for piece in group.slices:
                tensor, index = state[piece.tensor], torch.from_numpy(piece.index)
                moved = tensor.index_select(piece.axis, index[order].reshape(-1))
                tensor.index_copy_(piece.axis, index.reshape(-1), moved)
        return relative_error(outputs(_forget(model), inputs), before)
    finally:
        for name, tensor in state.items():
            tensor.copy_(kept[name])
        _forget(model)


@torch.no_grad()
def silence_error(
    model: nn.Module, inputs: tuple[Any, ...], comb: Comb, names: Sequence[str], ratio: float = 0.5
) -> float:
    """Relative difference between the cut network and the dense one with the removed units silenced."""
    plan = _least_plan(comb, names, ratio)
    want = Silenced(model, comb, plan.keep).run(inputs)
    got = outputs(prune(model, comb, plan), inputs)
    return relative_error(got, want)


def _least_plan(comb: Comb, names: Sequence[str], ratio: float) -> Plan:
    """The plan that removes `ratio` of the groups named and of those tied to them."""
    tied = {t for g in comb.groups if g.name in names for t in g.tied}
    return plan_ratios(comb, dict.fromkeys({*names, *tied}, ratio))


def outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """All float tensors that the model returns, in a fixed order."""
    return floats(model(*inputs))


def floats(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def relative_error(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """Largest norm of a difference over the norm of what was wanted; infinite where shapes or counts differ."""
    if len(got) != len(want) or not want:
        return float("inf")
    worst = 0.0
    for a, b in zip(got, want, strict=True):
        if a.shape != b.shape or not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
            return float("inf")
        worst = max(worst, float((a - b).detach().norm() / b.detach().norm().clamp_min(1e-30)))
    return worst


@torch.no_grad()
def randomised(model: nn.Module, seed: int = 0, spread: float = 1.0) -> nn.Module:
    """A copy in double precision and eval mode in which no two weights, scales or statistics are alike.

    Args:
        spread: scale of all weights of two axes or more.
    """
    subject = copy.deepcopy(model).to("cpu", torch.double).eval()
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor) -> Tensor:
        return torch.rand(tensor.shape, generator=generator, dtype=torch.double)

    for parameter in subject.parameters():
        fan_in = max(1, parameter.numel() // max(1, parameter.shape[0])) if parameter.ndim > 1 else 1
        width = 1.7 * spread / fan_in**0.5 if parameter.ndim > 1 else 0.3
        centre = 0.0 if parameter.ndim > 1 else 0.7
        parameter.copy_(centre + width * (2 * uniform(parameter) - 1))
    for module in subject.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_var is not None:
            assert module.running_mean is not None
            module.running_mean.copy_(0.2 * uniform(module.running_mean) - 0.1)
            module.running_var.copy_(0.5 + uniform(module.running_var))
    return _forget(subject)


def _forget(model: nn.Module) -> nn.Module:
    """A round trip through training mode drops tables that some models keep while they evaluate."""
    return model.train().eval()


def _double(leaf: Any) -> Any:
    return leaf.detach().to("cpu", torch.double) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _renumbering(group: Group, generator: torch.Generator) -> Tensor:
    order = torch.arange(group.width)
    blocks = torch.tensor(group.blocks or [0] * group.width)
    for block in sorted(set(blocks.tolist())):
        units = (blocks == block).nonzero().flatten()
        order[units] = units[torch.randperm(len(units), generator=generator)]
    return order
