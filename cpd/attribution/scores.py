"""Any vision model as one score for each class, which is what attribution methods explain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpd.attribution.record import Answer
from cpd.errors import ModelError


class ClassScores(nn.Module):
    """(B, C, H, W) images -> (B, classes): the model's own scores, or their mean over some pixels of a segmentation.

    Attributes:
        pixels: (H, W) bool, where a segmentation is explained; None takes all of them.
    """

    def __init__(self, network: nn.Module, pixels: Tensor | None = None) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels

    def forward(self, images: Tensor) -> Tensor:
        outputs = raw_scores(self.network, images)
        if outputs.ndim == 2:
            return outputs
        where = torch.ones(outputs.shape[2:], device=outputs.device) if self.pixels is None else self.pixels
        where = where.to(outputs)
        return (outputs * where).sum((2, 3)) / where.sum().clamp_min(1)


def raw_scores(network: nn.Module, images: Tensor) -> Tensor:
    """(B, classes) or (B, classes, H, W).

    Raises:
        ModelError: the model gives neither.
    """
    outputs = network(images)
    if not isinstance(outputs, Tensor) or outputs.ndim not in (2, 4):
        kind = f"a tensor of shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelError(
            f"heat maps need one score for each class, of the image or of every pixel; this model gives {kind}."
        )
    return outputs


def target_of(outputs: Tensor) -> tuple[int, Tensor | None]:
    """The class to explain of one image (1, classes[, H, W]), and the pixels that it is explained over.

    A classification: its first answer. A segmentation: its most common class beside the most common one, which is the
    background as a rule, on the pixels where the model sees it; where there is no second class, the first.
    """
    if outputs.ndim == 2:
        return int(outputs[0].argmax()), None
    seen = outputs[0].argmax(0)
    counts = torch.bincount(seen.reshape(-1), minlength=outputs.shape[1])
    first, second = counts.topk(2).indices.tolist() if len(counts) > 1 else (0, 0)
    target = second if int(counts[second]) >= 0.005 * seen.numel() else first
    return target, seen == target


def answer_of(outputs: Tensor, target: int, pixels: Tensor | None, most: int = 3) -> Answer:
    """What a network says of one image (1, classes[, H, W])."""
    outputs = outputs.detach()
    chances = outputs.float().softmax(1)[0]
    if outputs.ndim == 2:
        best = chances.topk(min(most, len(chances)))
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return Answer(top, float(outputs[0, target]), float(chances[target]))
    seen = chances.argmax(0)
    shares = torch.bincount(seen.reshape(-1), minlength=len(chances)) / seen.numel()
    best = shares.topk(min(most, len(shares)))
    top = tuple((c, p) for c, p in zip(best.indices.tolist(), best.values.tolist(), strict=True) if p > 0)
    where = torch.ones_like(seen, dtype=torch.bool) if pixels is None else pixels
    return Answer(top, float(outputs[0, target][where].mean()), float(chances[target][where].mean()))
