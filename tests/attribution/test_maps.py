"""Heat maps against the same maths done by hand on the network as it was written, hooks and all."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cpd
from cpd.attribution.layer import find_place, tapped, token_grid
from cpd.attribution.maps import heat_map
from cpd.attribution.scores import ClassScores, answer_of, target_of
from cpd.errors import ModelError
from cpd.prune.plan import uniform_plan


def caught(network: nn.Module, layer: nn.Module, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Output of a layer and the score's gradient there, by a hook on the module."""
    found: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _m, _i, out: found.append(out.clone()) or found[-1])
    try:
        score = network(image.clone().requires_grad_(True))[0, target]
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(score, found)
    return found[0].detach(), gradient


def cam(activation: Tensor, gradient: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Selvaraju et al. 2017, equations 1 and 2: (1, C, h, w) -> (H, W)."""
    weights = gradient.mean((2, 3), keepdim=True)
    found = F.relu((weights * activation).sum(1, keepdim=True))
    return F.interpolate(found, size, mode="bilinear")[0, 0].numpy()


def test_grad_cam_of_a_grid(convolutions, image):
    place = find_place(convolutions.comb, convolutions.dense, image, 3)
    assert (place.layout, place.grid) == ("NCHW", (4, 4))
    expected = cam(*caught(convolutions.eager, convolutions.eager.body[2], image, 3), (8, 8))
    found = heat_map("gradcam", convolutions.dense, image, 3, place=place)
    assert expected.max() > 0
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


def test_grad_cam_of_tokens_goes_back_to_their_grid_without_the_class_token(tokens, image):
    place = find_place(tokens.comb, tokens.dense, image, 3)
    # What the block leaves at the patches is read by nothing; what attention reads before it is.
    assert (place.layout, place.grid, place.prefix, place.module) == ("tokens", (4, 4), 1, "norm1")
    activation, gradient = caught(tokens.eager, tokens.eager.norm1, image, 3)
    grids = [value[:, 1:].transpose(1, 2).reshape(1, 24, 4, 4) for value in (activation, gradient)]
    found = heat_map("gradcam", tokens.dense, image, 3, place=place)
    assert found.values.max() > 0
    np.testing.assert_allclose(found.values, cam(*grids, (8, 8)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["convolutions", "tokens"])
def test_the_same_place_is_found_in_a_pruned_network(kind, request, image):
    case = request.getfixturevalue(kind)
    place = find_place(case.comb, case.dense, image, 3)
    twin, layer = tapped(case.pruned, place)
    shown: list[Tensor] = []
    layer.register_forward_hook(lambda _m, _i, out: shown.append(out))
    torch.testing.assert_close(twin(image), case.pruned(image))  # a tap changes nothing
    assert shown[0].shape[2:] == (4, 4)
    assert shown[0].shape[1] < 24
    assert heat_map("gradcam", case.pruned, image, 3, place=place).values.shape == (8, 8)


@pytest.mark.parametrize("kind", ["convolutions", "tokens"])
def test_integrated_gradients_add_up_to_the_change_of_the_score(kind, request, image):
    case = request.getfixturevalue(kind)
    for network in (case.dense, case.pruned):
        found = heat_map("integrated", network, image, 3, steps=200)
        with torch.no_grad():
            change = float(network(image)[0, 3] - network(torch.zeros_like(image))[0, 3])
        assert float(found.values.sum()) == pytest.approx(change, rel=0.05)
        assert found.gap == pytest.approx(abs(found.values.sum() - change) / abs(change), abs=1e-4)


class Linear(nn.Module):
    """A score that is a weighted sum of pixels, whose attributions are known exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.weight(x.flatten(1))
        return out


def test_a_linear_score_is_spread_exactly(image):
    torch.manual_seed(0)
    model = Linear().double().eval()
    comb = cpd.comb(model, (torch.zeros(2, 1, 8, 8, dtype=torch.double),))
    network = cpd.prune(model, comb, uniform_plan(comb.record, 0.0)).eval()
    weight = model.weight.weight[3].detach().reshape(8, 8)
    parts = (weight * image[0, 0]).numpy()
    integrated = heat_map("integrated", network, image, 3)
    np.testing.assert_allclose(integrated.values, parts, atol=1e-6)
    assert integrated.gap < 1e-6
    np.testing.assert_allclose(heat_map("saliency", network, image, 3).values, weight.abs().numpy(), atol=1e-6)
    # A window of 2 x 2 that moves by one: each pixel gets the mean over the windows that cover it.
    windows = F.avg_pool2d(torch.from_numpy(parts)[None, None], 2, 1, divisor_override=1)
    spread = F.conv_transpose2d(windows, torch.ones(1, 1, 2, 2, dtype=torch.double))
    counts = F.conv_transpose2d(torch.ones_like(windows), torch.ones(1, 1, 2, 2, dtype=torch.double))
    np.testing.assert_allclose(heat_map("occlusion", network, image, 3).values, (spread / counts)[0, 0].numpy(), atol=1e-6)
    assert find_place(comb, network, image, 3) is None
    with pytest.raises(ModelError, match="use integrated gradients"):
        heat_map("gradcam", network, image, 3)


def test_the_networks_are_left_as_they_are(convolutions, image):
    before = copy.deepcopy(convolutions.dense.state_dict())
    place = find_place(convolutions.comb, convolutions.dense, image, 1)
    for method in ("gradcam", "integrated", "saliency", "occlusion"):
        heat_map(method, convolutions.dense, image, 1, place=place)
    assert all(parameter.grad is None for parameter in convolutions.dense.parameters())
    for name, value in convolutions.dense.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_segmentation_is_explained_where_the_model_sees_its_second_class(scenes, image):
    outputs = scenes.dense(image)
    target, pixels = target_of(outputs)
    seen = outputs[0].argmax(0)
    counts = [int((seen == c).sum()) for c in range(3)]
    assert counts[target] == sorted(counts)[-2] or counts[target] == 64
    assert torch.equal(pixels, seen == target)
    expected = outputs[0, target][pixels].mean()
    torch.testing.assert_close(ClassScores(scenes.dense, pixels)(image)[0, target], expected)
    answer = answer_of(outputs, target, pixels)
    assert answer.score == pytest.approx(float(expected.detach()))
    assert sum(share for _, share in answer.top) == pytest.approx(1)
    place = find_place(scenes.comb, scenes.dense, image, target, pixels)
    assert place.grid == (8, 8)  # what the last convolution reads, not the scores themselves
    assert heat_map("integrated", scenes.dense, image, target, pixels, steps=64).gap < 0.05


@pytest.mark.parametrize(
    ("tokens", "size", "expected"),
    [(196, (224, 224), (0, (14, 14))), (197, (224, 224), (1, (14, 14))), (201, (224, 224), (5, (14, 14))), (65, (32, 32), (1, (8, 8))),
     (98, (224, 448), (0, (7, 14))), (1, (224, 224), None), (23, (224, 224), (7, (4, 4)))],
)  # fmt: skip
def test_tokens_are_counted_back_to_a_grid(tokens, size, expected):
    assert token_grid(tokens, *size) == expected
