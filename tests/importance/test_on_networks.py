"""Every criterion on real architectures: residual sums that tie groups, fused attention, and networks already cut."""

from __future__ import annotations

import cpd._torchvision

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import cpd
from cpd.importance import CRITERIA, score
from cpd.importance.registry import unfit

Data = list[tuple[Tensor, Tensor]]


class Residual(nn.Module):
    """Two blocks on one residual stream: both of their last convolutions write the stem's group."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.inner = nn.ModuleList(nn.Conv2d(6, 5, 3, padding=1) for _ in range(2))
        self.outer = nn.ModuleList(nn.Conv2d(5, 6, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.stem(x)))
        for inner, outer in zip(self.inner, self.outer, strict=True):
            y = outer(self.relu(inner(x)))
            y += x  # in place, as timm and torchvision do it
            x = self.relu(y)
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def images(count: int, size: int, channels: int = 3, classes: int = 4, seed: int = 0) -> Data:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(6, channels, size, size, generator=generator),
            torch.randint(0, classes, (6,), generator=generator),
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def residual() -> nn.Module:
    torch.manual_seed(0)
    net = Residual().eval()
    nn.init.uniform_(net.bn.weight, 0.5, 1.5)
    return net


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 4}
    net: nn.Module = timm.create_model("vit_tiny_patch16_224", **sizes)
    for parameter in net.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.15)
    return net.eval()


@pytest.mark.parametrize("name", sorted(CRITERIA))
@pytest.mark.parametrize("which", ["residual", "vit"])
def test_every_criterion_tells_units_apart(which: str, name: str, request: pytest.FixtureRequest) -> None:
    net: nn.Module = request.getfixturevalue(which)
    data = images(2, 16)
    comb = cpd.comb(net, (data[0][0][:2],))
    if unfit(name, comb.record):
        assert (which, name) == ("vit", "bn_scale")
        return
    table = score(net, comb.record, data, [name], 2, comb=comb)[name]
    silent = (
        {g.name for g in comb.groups if not g.prunable}
        if CRITERIA[name].reads not in ("weights", "gradients")
        else set()
    )
    if name == "bn_scale":
        silent = {"inner.0", "inner.1", *silent}
    assert set(table.silent) <= silent
    for group in comb.groups:
        values = table.groups[group.name]
        assert values.shape == (group.width,)
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        if group.prunable and group.name not in table.silent:
            assert len(np.unique(values)) > 1, group.name
    assert bool(table.parts) == CRITERIA[name].needs_data


def test_a_residual_group_is_attributed_at_all_its_writers(residual: nn.Module) -> None:
    from captum.attr import LayerIntegratedGradients

    data = images(1, 16)
    comb = cpd.comb(residual, (data[0][0][:2],))
    found = score(residual, comb.record, data, ["integrated_gradients"], 1, comb=comb)["integrated_gradients"]
    x, y = data[0]
    rows = []
    for layer in (residual.stem, *residual.outer):
        wrapped = _Copying(residual, layer)  # Captum itself stops at the addition in place
        explain = LayerIntegratedGradients(
            lambda a, b: functional.cross_entropy(residual(a), b, reduction="none"), layer
        )
        with wrapped:
            rows.append(
                explain.attribute(x, additional_forward_args=(y,), n_steps=8).sum((2, 3)).abs().mean(0).detach()
            )
    np.testing.assert_allclose(found.groups["stem"], torch.stack(rows).mean(0).numpy(), rtol=1e-4, atol=1e-8)


class _Copying:
    """While entered, what reads `layer` reads a copy: its forward is moved into a child that Captum does not see."""

    def __init__(self, net: nn.Module, layer: nn.Module) -> None:
        self.net, self.layer = net, layer

    def __enter__(self) -> None:
        net, layer = self.net, self.layer
        assert isinstance(net, Residual)
        self.before = Residual.forward

        def forward(self: Residual, x: Tensor) -> Tensor:
            def call(module: nn.Module, value: Tensor) -> Tensor:
                out: Tensor = module(value)
                return out.clone() if module is layer else out

            x = torch.relu(self.bn(call(self.stem, x)))
            for inner, outer in zip(self.inner, self.outer, strict=True):
                x = torch.relu(call(outer, torch.relu(inner(x))) + x)
            result: Tensor = self.head(x.mean((2, 3)))
            return result

        Residual.forward = forward  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        Residual.forward = self.before  # type: ignore[method-assign]


def test_heads_and_their_channels_are_seen_where_attention_reads_them(vit: nn.Module) -> None:
    data = images(2, 16)
    comb = cpd.comb(vit, (data[0][0][:2],))
    found = score(vit, comb.record, data, ["activation"], 2, comb=comb)["activation"]
    attention = vit.blocks[1].attn
    qkv: list[Tensor] = []
    joined: list[Tensor] = []
    handles = [
        attention.qkv.register_forward_hook(lambda m, x, y: qkv.append(y)),
        attention.proj.register_forward_pre_hook(lambda m, x: joined.append(x[0])),
    ]
    with torch.no_grad():
        for x, _ in data:
            vit(x)
    for handle in handles:
        handle.remove()
    q, k, v = torch.cat(qkv).abs().mean((0, 1)).reshape(3, 3, 8)  # query, key, value; heads; channels
    out = torch.cat(joined).abs().mean((0, 1)).reshape(3, 8)
    want = {
        "heads": ((q + k + v + out) / 4).mean(1),
        "query": ((q + k) / 2).flatten(),
        "value": ((v + out) / 2).flatten(),
    }
    mine = {g.name: g for g in comb.groups if g.name.startswith("blocks.1.attn.qkv")}
    assert len(mine) == 3
    for name, group in mine.items():
        first = int(group.slices[0].index[0, 0])
        kind = "heads" if name.endswith(":heads") else "query" if first < 24 else "value"
        np.testing.assert_allclose(found.groups[name], want[kind].numpy(), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("which", ["residual", "vit"])
def test_a_network_that_is_already_cut(which: str, request: pytest.FixtureRequest) -> None:
    """Criteria on a student: dead units score 0, living ones what the same student scores under its own comb."""
    net: nn.Module = request.getfixturevalue(which)
    data = images(2, 16)
    comb = cpd.comb(net, (data[0][0][:2],))
    plan = cpd.uniform_plan(comb, 0.34)
    student = cpd.prune(net, comb, plan)
    own = cpd.comb(student, (data[0][0][:2],))
    names = [
        n
        for n in ("fpgm", "bn_scale", "lamp", "activation", "integrated_gradients", "hessian")
        if not unfit(n, comb.record)
    ]
    cut = score(student, comb.record, data, names, 2, keep=plan.keep, comb=comb)
    alone = score(student, own.record, data, names, 2, comb=own)
    widths = {g.name: g.width for g in own.groups}
    for name in names:
        for group in comb.groups:
            kept, values = list(plan.keep[group.name]), cut[name].groups[group.name]
            assert (np.delete(values, kept) == 0).all()
            if group.prunable and group.name not in cut[name].silent and widths.get(group.name) == len(kept):
                np.testing.assert_allclose(
                    values[kept], alone[name].groups[group.name], rtol=1e-4, atol=1e-9, err_msg=f"{name} {group.name}"
                )
