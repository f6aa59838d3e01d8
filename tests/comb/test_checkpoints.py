"""Checkpoints as people really save them: loaded, combed, certified, cut, and exact where nothing is cut."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cpd
from cpd.comb.certify import measure

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not (DATA / "weights").is_dir(), reason=f"the checkpoints are not in {DATA / 'weights'}"
)

# Factory, file, images of the test split to look at, and the accuracy that is known of the whole split.
CHECKPOINTS = [
    ("resnet20", "resnet20-12fca82f.th", 2000, 0.8103),
    ("resnet20", "resnet20-cifar10-jpeg.safetensors", 1000, 0.8665),
    ("resnet56", "resnet56-4bfd9763.th", 500, 0.8320),
]
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def load(factory: str, file: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return cpd.load_model(HERE / f"cifar_resnet.py:{factory}", weights=DATA / "weights" / file)


def photographs(count: int) -> tuple[Tensor, Tensor]:
    """The first `count` images of the test split (count, 3, 32, 32), normalised, and their labels."""
    parquet = pytest.importorskip("pyarrow.parquet")
    from PIL import Image

    rows = parquet.read_table(DATA / "cifar10-jpeg" / "test.parquet").slice(0, count).to_pylist()
    pixels = [
        torch.frombuffer(
            bytearray(Image.open(io.BytesIO(r["image"]["bytes"])).convert("RGB").tobytes()), dtype=torch.uint8
        )
        for r in rows
    ]
    images = torch.stack(pixels).view(-1, 32, 32, 3).float() / 255
    return ((images - MEAN) / STD).permute(0, 3, 1, 2).contiguous(), torch.tensor([r["label"] for r in rows])


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(chunk) for chunk in images.split(250)])


@pytest.mark.parametrize("factory, file, count, known", CHECKPOINTS)
def test_nothing_cut_keeps_the_accuracy_to_the_last_digit(factory: str, file: str, count: int, known: float) -> None:
    model, inputs = load(factory, file)
    comb = cpd.comb(model, inputs)
    whole = cpd.prune(model, comb, cpd.uniform_plan(comb, ratio=0.0))
    images, labels = photographs(count)
    want, got = logits(model, images), logits(whole, images)
    assert torch.equal(got, want)
    top1 = float((want.argmax(1) == labels).float().mean())
    # The images looked at are a sample of the split: four standard errors of a proportion.
    assert abs(top1 - known) < 4 * (known * (1 - known) / count) ** 0.5


@pytest.mark.parametrize("factory, file", [row[:2] for row in CHECKPOINTS])
def test_every_group_is_certified_and_half_of_it_can_go(factory: str, file: str) -> None:
    model, inputs = load(factory, file)
    comb = cpd.comb(model, inputs)
    checks = measure(model, inputs, comb)
    assert [c for c in checks if not c.passed] == []
    assert {g.reason for g in comb.groups if not g.prunable} == {"input of the model", "output of the model"}
    # One group inside every block, and the channels that the shortcuts carry through a stage.
    blocks = sum(name.endswith("conv1") for name, _ in model.named_modules()) - 1
    inside = [g for g in comb.groups if g.name.endswith("conv1") and g.name.startswith("layer")]
    assert len(inside) == blocks
    assert len(checks) > blocks
    pruned = cpd.prune(model, comb, cpd.uniform_plan(comb, ratio=0.5))
    share = sum(p.numel() for p in pruned.parameters()) / sum(p.numel() for p in model.parameters())
    assert 0.2 < share < 0.3
    assert list(pruned.state_dict()) == list(model.state_dict())
    assert pruned(torch.randn(5, 3, 32, 32)).shape == (5, 10)


def test_a_padded_shortcut_ties_the_stages_by_position() -> None:
    """Channel i of a stage enters the next as channel i + padding; the zero channels around it tie nothing."""
    model, inputs = load("resnet20", "resnet20-12fca82f.th")
    comb = cpd.comb(model, inputs)
    at = {
        (s.tensor, int(i)): (g.name, u)
        for g in comb.groups
        for s in g.slices
        if s.axis == 0
        for u, row in enumerate(s.index)
        for i in row
    }
    for channel in range(16):
        assert (
            at["bn1.weight", channel]
            == at["layer2.0.bn2.weight", channel + 8]
            == at["layer3.0.bn2.weight", channel + 24]
        )
    early = {at["bn1.weight", channel] for channel in range(16)}
    assert not early & {at["layer2.0.bn2.weight", channel] for channel in [*range(8), *range(24, 32)]}
