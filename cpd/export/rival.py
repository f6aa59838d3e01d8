"""A plan as a script for Torch-Pruning 1.6, for those who work with that library; what it cannot express is named.

Torch-Pruning cuts one group at a time from a root layer's output channels and finds for itself what goes along. So a
group can be carried over when one convolution or linear layer writes exactly its units, in order, and nothing beyond
"the same indices everywhere" binds it: no equal counts in heads or convolution groups, no tie, no head that contains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pprint import pformat
from typing import Any

import numpy as np

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel
from cpd.prune.plan import Plan

_SCRIPT = '''"""{count} of this plan's {cut} cuts, by Torch-Pruning 1.6 (pip install torch-pruning).

Usage: python torch_pruning_script.py [DENSE_WEIGHTS.safetensors]
It cuts the dense model and checks how many parameters are left; training is not part of it.
"""

import sys

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:  # made for another torch, it lacks its operators: declaring them will do, because none is called here
    declared = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        declared.define(f"{{operator}}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torch_pruning as tp
{imports}

# Root layer -> output channels to remove; each takes along whatever depends on it.
CUTS = {cuts}

# Groups of the plan that Torch-Pruning cannot express, with the reason.
LEFT_OUT = {left_out}

PARAMETERS = {parameters}  # of a network with these cuts and no others


def build() -> torch.nn.Module:
{build}


def main() -> None:
    model = build()
    if len(sys.argv) > 1:
        from safetensors.torch import load_file

        state = load_file(sys.argv[1])
        model.load_state_dict({{name: state[name].to(old.dtype) for name, old in model.state_dict().items()}})
    model.eval()
    inputs = torch.randn({shape})
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=inputs)
    for name, channels in CUTS.items():
        layer = model.get_submodule(name)
        conv = isinstance(layer, torch.nn.Conv2d)
        group = graph.get_pruning_group(layer, tp.prune_conv_out_channels if conv else tp.prune_linear_out_channels, channels)
        if not graph.check_pruning_group(group):
            raise SystemExit(f"{{name}}: Torch-Pruning refuses to remove {{len(channels)}} channels.")
        group.prune()
    left = sum(p.numel() for p in model.parameters())
    print(f"{{left:,}} parameters are left; the plan expects {{PARAMETERS:,}}.")
    for name, reason in LEFT_OUT.items():
        print(f"left out: {{name}} ({{reason}})")
    model(inputs)
    if left != PARAMETERS:
        raise SystemExit("Torch-Pruning couples these layers differently; its network is not this plan's.")


if __name__ == "__main__":
    main()
'''


def torch_pruning_script(
    record: CombRecord, plan: Plan, spec: str, settings: Mapping[str, Any], shape: tuple[int, ...]
) -> str:
    """Source of the script, or "" where no cut of the plan can be expressed, or the model is of an unknown kind.

    Args:
        shape: of example inputs, batch included.
    """
    built = _build(spec, settings)
    cuts: dict[str, list[int]] = {}
    left_out: dict[str, str] = {}
    done: dict[str, tuple[int, ...]] = {}
    for row in plan.groups:
        if not row.granted:
            continue
        root, reason = _root(record, record.by_name[row.group])
        if reason:
            left_out[row.group] = reason
        else:
            cuts[root] = [unit for unit in range(row.width) if unit not in set(row.keep)]
            done[row.group] = row.keep
    if not cuts or built is None:
        return ""
    imports, build = built
    return _SCRIPT.format(
        count=len(cuts),
        cut=len(cuts) + len(left_out),
        imports=imports,
        build=build,
        shape=", ".join(map(str, shape)),
        cuts=pformat(cuts, width=118, compact=True, sort_dicts=False),
        left_out=pformat(left_out, width=118, sort_dicts=False),
        parameters=CostModel(record).price(done).parameters,
    )


def _root(record: CombRecord, group: Group) -> tuple[str, str]:
    """Layer whose output channels are the group's units, or why there is none."""
    if group.blocks is not None:
        return "", "blocks must keep equal counts"
    if group.tied:
        return "", f"keeps as many units as {group.tied[0]}"
    if group.parent:
        return "", f"lies inside {group.parent}"
    if any(other.parent == group.name for other in record.groups):
        return "", "its units contain those of other groups"
    shapes = {t.name: t.shape for t in record.tensors}
    for piece in group.slices:
        shape = shapes[piece.tensor]
        writes = piece.axis == 0 and len(shape) in (2, 4) and shape[1] > 1 and piece.tensor.endswith(".weight")
        if writes and piece.index.shape == (shape[0], 1) and (piece.index[:, 0] == np.arange(shape[0])).all():
            return piece.tensor.removesuffix(".weight"), ""
    return "", "no single layer writes exactly its units"


def _build(spec: str, settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """Import line and the lines that make the dense model; None for a model of the user's own."""
    source, _, name = spec.partition(":")
    given = dict(settings)
    if source == "timm":
        size = given.pop("img_size", None)
        plain = f"timm.create_model({name!r}{_arguments(given)})"
        if size is None:
            return "import timm", f"    return {plain}"
        sized = f"timm.create_model({name!r}{_arguments({**given, 'img_size': size})})"
        return (
            "import timm",
            f"    try:\n        return {sized}\n    except TypeError:  # most CNNs take any size\n        return {plain}",
        )
    if source == "smp":
        arch, _, encoder = name.partition("/")
        given.pop("img_size", None)
        for ours, theirs in (("num_classes", "classes"), ("in_chans", "in_channels")):
            if ours in given:
                given[theirs] = given.pop(ours)
        given.setdefault("encoder_weights", None)
        call = f"smp.create_model({arch!r}, encoder_name={encoder!r}{_arguments(given)})"
        return "import segmentation_models_pytorch as smp", f"    return {call}"
    return None


def _arguments(values: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in values.items())
