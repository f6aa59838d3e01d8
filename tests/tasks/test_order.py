"""How an image is changed is a function of seed, epoch and its number: whatever batch, process or resumed run shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as hs
from PIL import Image
from torch import Tensor

from cpd.tasks import load_task
from cpd.tasks.classification import images
from cpd.tasks.order import Shuffled, share
from cpd.tasks.segmentation.digit_scenes import digit_scenes


def folder(place: Path) -> str:
    for label, name in enumerate(("a", "b")):
        (place / name).mkdir()
        for i in range(12):
            pixels = np.random.default_rng(100 * label + i).integers(0, 255, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / name / f"{i:02d}.png")
    return f"imagefolder:{place}"


@pytest.fixture(params=["digits", "memory", "files", "scenes"])
def task(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shuffled:
    """Images from every kind of source, each of which has random changes of its own."""
    if request.param == "digits":
        return load_task("digits", (1, 16, 16))  # type: ignore[return-value]
    if request.param == "scenes":
        return digit_scenes((3, 32, 32), train=20, held_out=2)
    monkeypatch.setattr(images, "MEMORY_BYTES", images.MEMORY_BYTES if request.param == "memory" else 0)
    return load_task(folder(tmp_path), (3, 16, 16))  # type: ignore[return-value]


def seen(
    task: Shuffled, batch_size: int, epoch: int = 3, start: int = 0, rank: int = 0, world: int = 1
) -> dict[int, Tensor]:
    """Pixels by number, of the first batches of an epoch."""
    found: dict[int, Tensor] = {}
    numbers = task.train_numbers(batch_size, 7, epoch, start, rank, world)
    for (pixels, _), each in zip(
        task.train_batches(batch_size, 7, epoch, start, True, rank, world), numbers, strict=True
    ):
        found |= dict(zip(each.tolist(), pixels, strict=True))
        if len(found) >= 16:
            break
    return found


def test_an_image_is_changed_alike_by_whoever_shows_it(task: Shuffled) -> None:
    alone = seen(task, 8)
    assert len(alone) >= 16
    shares = [seen(task, 8, rank=rank, world=2) for rank in range(2)]
    assert not set(shares[0]) & set(shares[1])
    for other in (*shares, seen(task, 4), seen(task, 8, start=1)):
        assert len(set(other) & set(alone)) >= 4
        for number in set(other) & set(alone):
            assert torch.equal(other[number], alone[number]), number
    assert set(alone) <= set(shares[0]) | set(shares[1])
    plain = dict(enumerate(torch.cat(list(task.train_unchanged(8)))))
    later = seen(task, 8, epoch=4)
    assert sum(not torch.equal(alone[number], plain[number]) for number in alone) >= len(alone) - 2
    both = set(later) & set(alone)
    assert not both or any(not torch.equal(later[number], alone[number]) for number in both)


@given(blocks=hs.integers(1, 40), world=hs.integers(1, 8))
def test_shares_keep_partners_together_and_parts_in_their_place(blocks: int, world: int) -> None:
    batch = torch.arange(blocks * world) + 1000
    shares = [share(batch, rank, world) for rank in range(world)]
    assert {len(each) for each in shares} == {blocks}
    for m in range(blocks):  # the m-th images of all shares are the m-th neighbours of the batch
        assert sorted(int(each[m]) for each in shares) == batch[m * world : (m + 1) * world].tolist()
    if blocks % 2 == 0:
        partner = dict(zip(batch.tolist(), batch.flip(0).tolist(), strict=True))
        for each in shares:
            assert [partner[int(number)] for number in each] == each.flip(0).tolist()


@given(size=hs.integers(1, 50), world=hs.integers(1, 8))
def test_a_batch_of_any_size_is_shared_without_loss(size: int, world: int) -> None:
    batch = torch.randperm(size)
    assert sorted(torch.cat([share(batch, rank, world) for rank in range(world)]).tolist()) == list(range(size))
