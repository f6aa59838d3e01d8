"""The attribution methods, by Captum: one score of one image spread over its pixels.

Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391. Integrated gradients: Sundararajan et al. 2017, arXiv:1703.01365.
Saliency: Simonyan et al. 2013, arXiv:1312.6034. Occlusion: Zeiler and Fergus 2013, arXiv:1311.2901.
"""

from __future__ import annotations

from dataclasses import dataclass

import cpd._torchvision  # noqa: F401  before captum, which may import torchvision

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion, Saliency
from torch import Tensor, nn
from torch.fx import GraphModule

from cpd.attribution.layer import Place, tapped
from cpd.attribution.scores import ClassScores
from cpd.errors import ModelError

STEPS = 32  # of integrated gradients
_AT_ONCE = 16  # images in one pass
_WINDOWS = 8  # occlusion: a window is this part of the image's side, and moves by half its own


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One score spread over the image.

    Attributes:
        values: (H, W) float32, in units of the score; above zero speaks for the class.
        gap: |sum of the map - what it should add up to| / |what it should add up to|; None where nothing is promised.
    """

    values: npt.NDArray[np.float32]
    gap: float | None = None


def heat_map(
    method: str,
    network: GraphModule,
    image: Tensor,
    target: int,
    pixels: Tensor | None = None,
    place: Place | None = None,
    steps: int = STEPS,
) -> HeatMap:
    """The score of class `target` spread over `image` (1, C, H, W), which is normalised as the model wants it.

    Args:
        network: in eval mode; left as it is.
        pixels: where a segmentation is explained, see `ClassScores`.
        place: what Grad-CAM reads.
    Raises:
        ModelError: Grad-CAM without a place.
    """
    image = image.detach()
    if method == "gradcam":
        if place is None:
            raise ModelError(
                "no activation of this model lies on a grid over the image, so there is no Grad-CAM; use integrated gradients."
            )
        return HeatMap(_gradcam(network, image, target, pixels, place))
    scores = ClassScores(network, pixels)
    if method == "integrated":
        return _integrated(scores, image, target, steps)
    if method == "saliency":
        found = Saliency(scores).attribute(image.clone().requires_grad_(True), target=target, abs=True)
        return HeatMap(_numpy(found.amax(1)))
    if method == "occlusion":
        return HeatMap(_occlusion(scores, image, target))
    raise ValueError(f"unknown method {method!r}")


def _gradcam(
    network: GraphModule, image: Tensor, target: int, pixels: Tensor | None, place: Place
) -> npt.NDArray[np.float32]:
    twin, layer = tapped(network, place)
    scores: nn.Module = ClassScores(twin, pixels)
    # The gradient must reach the layer also where all parameters are frozen, so the image asks for one.
    found = LayerGradCam(scores, layer).attribute(
        image.clone().requires_grad_(True), target=target, relu_attributions=True
    )
    large = LayerAttribution.interpolate(found.detach(), image.shape[2:], interpolate_mode="bilinear")
    return _numpy(large[:, 0])


def _integrated(scores: nn.Module, image: Tensor, target: int, steps: int) -> HeatMap:
    """From the mean image, which is zero after the normalisation: neither dark nor bright counts as nothing there."""
    baseline = torch.zeros_like(image)
    found, delta = IntegratedGradients(scores).attribute(
        image, baseline, target=target, n_steps=steps, internal_batch_size=_AT_ONCE, return_convergence_delta=True
    )
    with torch.no_grad():
        ends = scores(torch.cat([image, baseline]))[:, target]
    change = float((ends[0] - ends[1]).abs())
    return HeatMap(_numpy(found.sum(1)), float(delta.abs()) / change if change else 0.0)


def _occlusion(scores: nn.Module, image: Tensor, target: int) -> npt.NDArray[np.float32]:
    _, channels, height, width = image.shape
    window = (channels, max(2, height // _WINDOWS), max(2, width // _WINDOWS))
    strides = (channels, max(1, window[1] // 2), max(1, window[2] // 2))
    with torch.no_grad():
        found = Occlusion(scores).attribute(
            image, window, strides=strides, baselines=0, target=target, perturbations_per_eval=_AT_ONCE
        )
    return _numpy(found[:, 0])  # the same for every channel: the window covers them all


def _numpy(values: Tensor) -> npt.NDArray[np.float32]:
    """(1, H, W) -> (H, W)."""
    return np.asarray(values[0].detach().float().cpu().numpy(), np.float32)
