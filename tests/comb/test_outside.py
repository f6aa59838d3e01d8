"""Models of other libraries: every group certified, and a cut that leaves about a quarter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cpd._torchvision

import pytest
import torch
from torch import Tensor, nn

import cpd
from cpd.comb.certify import measure, outputs, relative_error

HERE = Path(__file__).parent
EXPECTED = {"input of the model", "output of the model"}

# Architecture and encoder, the size of the image, further settings. Every decoder once, with encoders of different kinds.
SEGMENTATION: list[tuple[str, int, dict[str, Any]]] = [
    ("Unet/resnet18", 32, {"decoder_channels": [32, 16, 16, 8, 8]}),
    ("Unet/mit_b0", 64, {"decoder_channels": [32, 16, 16, 8, 8]}),
    ("UnetPlusPlus/tu-mobilenetv3_small_050", 32, {"decoder_channels": [32, 16, 16, 8, 8]}),
    ("FPN/mobilenet_v2", 64, {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}),
    ("PSPNet/tu-regnetx_002", 64, {"psp_out_channels": 32}),
    ("DeepLabV3/tu-test_resnet", 64, {"decoder_channels": 16}),
    ("DeepLabV3Plus/timm-efficientnet-b0", 64, {"decoder_channels": 16}),
    ("MAnet/resnet18", 32, {"decoder_channels": [32, 16, 16, 8, 8], "decoder_pab_channels": 8}),
    ("Linknet/tu-test_efficientnet", 64, {}),
    ("PAN/tu-test_resnet", 128, {}),
    ("UPerNet/mit_b0", 64, {"decoder_channels": 16}),
    ("Segformer/mit_b0", 64, {"decoder_segmentation_channels": 16}),
    (
        "DPT/tu-test_vit",
        160,
        {"decoder_intermediate_channels": [8, 16, 16], "decoder_fusion_channels": 16, "encoder_depth": 3},
    ),
]

TRANSFORMERS = """vit deit beit dinov2 dinov2_swiglu dinov3 clip_vision siglip yolos swin swinv2 hiera pvtv2 levit mobilevit cvt
    focalnet convnext convnextv2 resnet regnet segformer upernet dpt""".split()
# The last hidden state is an output, so the channels of the residual stream must stay.
RETURNS_TOKENS = {"DINOv3ViTModel", "CLIPVisionModel", "SiglipVisionModel", "YolosForObjectDetection"}


@pytest.mark.parametrize("name, size, settings", SEGMENTATION, ids=[row[0] for row in SEGMENTATION])
def test_segmentation_models(name: str, size: int, settings: dict[str, Any]) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    model, inputs = cpd.load_model(f"smp:{name}", settings={"img_size": size, "num_classes": 3, **settings})
    certified(model, inputs)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_through_a_users_own_file(name: str) -> None:
    pytest.importorskip("transformers")
    model, inputs = cpd.load_model(HERE / f"outside_models.py:{name}")
    certified(model, inputs)


def certified(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    comb = cpd.comb(model, inputs)
    assert comb.record.unknown == ()
    locks = {g.name: g.reason for g in comb.groups if not g.prunable and g.reason not in EXPECTED}
    assert all(locks.values()), locks
    checks = measure(model, inputs, comb)
    assert [c for c in checks if not c.passed] == []

    pruned = cpd.prune(model, comb, cpd.uniform_plan(comb, ratio=0.5))
    share = sum(p.numel() for p in pruned.parameters()) / sum(p.numel() for p in model.parameters())
    assert share < (0.65 if type(model).__name__ in RETURNS_TOKENS else 0.45), locks
    with torch.no_grad():
        one, wide = outputs(pruned, inputs), outputs(pruned, tuple(torch.cat([x, x[:1]]) for x in inputs))
    assert all(o.shape[0] == 3 for o in wide)
    assert relative_error([o[:2] for o in wide], one) < 1e-4
    assert [type(o) for o in outputs(model, inputs)] == [type(o) for o in one]
