"""The built-in demos: real architectures of timm and segmentation_models_pytorch with trained weights (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WEIGHTS = Path(__file__).parent / "demo_weights"


@dataclass(frozen=True)
class Demo:
    """A model that opens at once.

    Attributes:
        task: what it does, "classification" or "segmentation".
        model, settings: as `cpd.load_model` takes them.
        weights: float16 safetensors that come with the project; the README beside them says how they were made.
        target: what the demo's run prunes to.
        run: training settings with which that takes five minutes at most on two cores, ten for segmentation.
    """

    id: str
    title: str
    text: str
    model: str
    settings: Mapping[str, Any]
    data: str
    task: str = "classification"
    target: Mapping[str, float] = field(default_factory=lambda: {"macs": 0.25})
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> Path:
        return _WEIGHTS / f"{self.id}.safetensors"


DEMOS: tuple[Demo, ...] = (
    Demo(
        id="digits-cnn",
        title="Digits, residual CNN",
        text="timm's resnet18, 2.9 million parameters, on 1,797 real handwritten digits from scikit-learn.",
        model="timm:resnet18",
        # Wide where images are large and narrow where they are small: convolutions of 1x1 pixels cost no time, and
        # pruning them would show in the count of MACs but not on the clock.
        settings={"num_classes": 10, "in_chans": 1, "img_size": 32, "channels": [192, 160, 96, 96]},
        data="digits",
        run={"epochs": 10, "lr": 1e-3, "multiple": 16},
    ),
    Demo(
        id="digits-vit",
        title="Digits, vision transformer",
        text="A six-block vision transformer from timm, 2.7 million parameters, on the same digits.",
        model="timm:vit_tiny_patch16_224",
        # The mean over the tokens instead of a class token: with 1,343 images to learn from it learns far sooner.
        settings={
            "num_classes": 10,
            "in_chans": 1,
            "img_size": 32,
            "patch_size": 4,
            "depth": 6,
            "num_heads": 6,
            "class_token": False,
            "global_pool": "avg",
        },  # fmt: skip
        data="digits",
        run={"epochs": 12, "lr": 1e-3, "multiple": 16},
    ),
    Demo(
        id="scenes-unet",
        title="Digits in scenes, Unet",
        text="A Unet with a residual encoder, 1.1 million parameters, finds the pixels of every digit in 1,500 textured scenes.",
        model="smp:Unet/tu-resnet18",
        settings={
            "num_classes": 11,
            "img_size": 64,
            "encoder_depth": 4,
            "decoder_channels": [64, 48, 32, 16],
            "channels": [48, 80, 128, 160],
        },
        data="digit-scenes",
        task="segmentation",
        target={"macs": 0.27},
        # The last maps are 16 channels wide, and half of them do not tell ten digits apart.
        run={"epochs": 10, "batch_size": 8, "lr": 1e-3, "multiple": 8, "minimum": 16, "cut_share": 0.35},
    ),
    Demo(
        id="scenes-segformer",
        title="Digits in scenes, Segformer",
        text="A Segformer with a MiT-B0 transformer encoder, 3.5 million parameters, on the same scenes.",
        model="smp:Segformer/mit_b0",
        settings={"num_classes": 11, "img_size": 96, "decoder_segmentation_channels": 128},
        data="digit-scenes",
        task="segmentation",
        # At batch 1 much of its time goes into calling operators, whatever their width: hence so deep a cut.
        target={"macs": 0.08},
        run={"epochs": 8, "batch_size": 8, "lr": 1e-3, "multiple": 8, "minimum": 16, "cut_share": 0.35},
    ),
)
