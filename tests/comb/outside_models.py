"""Vision classes of Hugging Face transformers, small, as a user's own file: `outside_models.py:swin`.

Each factory returns a module and an example; nothing is fetched, the weights are initial.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

Made = tuple[nn.Module, Tensor]
TOKENS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
PLAIN = TOKENS | {"intermediate_size": 64}
WINDOWS: dict[str, Any] = {
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "image_size": 32,
    "patch_size": 2,
    "window_size": 4,
}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}


def _with_image(model: nn.Module, size: int) -> Made:
    return model, torch.randn(2, 3, size, size)


def vit() -> Made:
    return _with_image(hf.ViTForImageClassification(hf.ViTConfig(**PLAIN)), 32)


def deit() -> Made:
    return _with_image(hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**PLAIN)), 32)


def beit() -> Made:
    return _with_image(hf.BeitForImageClassification(hf.BeitConfig(**PLAIN, use_relative_position_bias=True)), 32)


def dinov2() -> Made:
    return _with_image(hf.Dinov2ForImageClassification(hf.Dinov2Config(**TOKENS, mlp_ratio=2)), 32)


def dinov2_swiglu() -> Made:
    return _with_image(hf.Dinov2ForImageClassification(hf.Dinov2Config(**TOKENS, mlp_ratio=2, use_swiglu_ffn=True)), 32)


def dinov3() -> Made:
    """Rotary position embedding over image coordinates, and register tokens."""
    return _with_image(hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**PLAIN)), 32)


def clip_vision() -> Made:
    return _with_image(hf.CLIPVisionModel(hf.CLIPVisionConfig(**PLAIN)), 32)


def siglip() -> Made:
    """Pooled by attention with a learned query: nn.MultiheadAttention."""
    return _with_image(hf.SiglipVisionModel(hf.SiglipVisionConfig(**PLAIN)), 32)


def yolos() -> Made:
    return _with_image(
        hf.YolosForObjectDetection(hf.YolosConfig(**PLAIN | {"image_size": [32, 32]}, num_detection_tokens=4)), 32
    )


def swin() -> Made:
    return _with_image(hf.SwinForImageClassification(hf.SwinConfig(**WINDOWS)), 32)


def swinv2() -> Made:
    return _with_image(hf.Swinv2ForImageClassification(hf.Swinv2Config(**WINDOWS)), 32)


def hiera() -> Made:
    config = hf.HieraConfig(embed_dim=16, image_size=[64, 64], depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])
    return _with_image(hf.HieraForImageClassification(config), 64)


def pvtv2() -> Made:
    config = hf.PvtV2Config(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], image_size=64
    )
    return _with_image(hf.PvtV2ForImageClassification(config), 64)


def levit() -> Made:
    config = hf.LevitConfig(
        image_size=64, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 3, 4], depths=[1, 1, 1], key_dim=[8, 8, 8]
    )
    return _with_image(hf.LevitForImageClassification(config), 64)


def mobilevit() -> Made:
    config = hf.MobileViTConfig(
        hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64], num_attention_heads=4, image_size=64
    )
    return _with_image(hf.MobileViTForImageClassification(config), 64)


def cvt() -> Made:
    return _with_image(
        hf.CvtForImageClassification(hf.CvtConfig(embed_dim=[16, 32, 32], num_heads=[1, 2, 2], depth=[1, 2, 3])), 64
    )


def focalnet() -> Made:
    config = hf.FocalNetConfig(embed_dim=16, depths=[1, 1, 1, 1], image_size=32, patch_size=2)
    return _with_image(hf.FocalNetForImageClassification(config), 32)


def convnext() -> Made:
    return _with_image(hf.ConvNextForImageClassification(hf.ConvNextConfig(**STAGES)), 64)


def convnextv2() -> Made:
    """Global response normalisation: a norm over space, divided by its mean over channels."""
    return _with_image(hf.ConvNextV2ForImageClassification(hf.ConvNextV2Config(**STAGES)), 64)


def resnet() -> Made:
    return _with_image(hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=8, **STAGES)), 64)


def regnet() -> Made:
    return _with_image(hf.RegNetForImageClassification(hf.RegNetConfig(embedding_size=8, groups_width=4, **STAGES)), 64)


def segformer() -> Made:
    config = hf.SegformerConfig(hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], decoder_hidden_size=32)
    return _with_image(hf.SegformerForSemanticSegmentation(config), 64)


def upernet() -> Made:
    backbone = hf.ConvNextConfig(**STAGES, out_features=["stage1", "stage2", "stage3", "stage4"])
    config = hf.UperNetConfig(
        backbone_config=backbone, hidden_size=16, pool_scales=[1, 2], auxiliary_in_channels=16, auxiliary_channels=8
    )
    return _with_image(hf.UperNetForSemanticSegmentation(config), 64)


def dpt() -> Made:
    config = hf.DPTConfig(
        **TOKENS | {"num_hidden_layers": 4, "image_size": 64, "patch_size": 16}, intermediate_size=64,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 16, 16, 16], fusion_hidden_size=16,
    )  # fmt: skip
    return _with_image(hf.DPTForSemanticSegmentation(config), 64)
