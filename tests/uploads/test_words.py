"""State dicts read without torch: what torch itself reads, from files of its own and from real checkpoints."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cpd.errors import ModelError
from cpd.uploads.state_dict import convert

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT.parent / "shared" / "data" / "weights"
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)  # fmt: skip


def saved(tensors: dict[str, object], as_zip: bool, protocol: int = 2) -> bytes:
    content = io.BytesIO()
    torch.save(tensors, content, pickle_protocol=protocol, _use_new_zipfile_serialization=as_zip)
    return content.getvalue()


def converted(data: bytes, folder: Path) -> dict[str, torch.Tensor]:
    file, made = folder / "w.pt", folder / "w.safetensors"
    file.write_bytes(data)
    convert(file, made)
    return load_file(made)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return set(found) == set(expected) and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


@pytest.mark.parametrize("as_zip, protocol", [(True, 2), (True, 4), (False, 2)])
def test_every_type_and_every_way_to_lie_in_memory(tmp_path, as_zip, protocol):
    whole = torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0))
    tensors = {str(dtype): (10 * whole).to(dtype) for dtype in DTYPES} | {
        "transposed": whole.transpose(0, 2), "part": whole[1:3, ::2], "column": whole[:, 5, 1], "repeated": whole[:1].expand(3, 6, 2),
        "number": torch.tensor(7), "empty": torch.empty(0, 3), "channels last": whole[None].contiguous(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(whole), "same again": whole,
    }  # fmt: skip
    found = converted(saved(tensors, as_zip, protocol), tmp_path)
    assert same(found, {name: tensor.detach() for name, tensor in tensors.items()})


@pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason="no real checkpoints beside the project")
@pytest.mark.parametrize("name", ["resnet20-12fca82f.th", "resnet56-4bfd9763.th"])
def test_a_checkpoint_that_people_share(tmp_path, name):
    expected = torch.load(CHECKPOINTS / name, map_location="cpu", weights_only=True)["state_dict"]
    assert same(converted((CHECKPOINTS / name).read_bytes(), tmp_path), expected)


@pytest.mark.parametrize("as_zip", [True, False])
def test_whatever_is_damaged_is_refused_or_read_rightly(tmp_path, as_zip):
    """Never another exception, never a tensor of another shape than its file says."""
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    good, chance = saved({"state_dict": net.state_dict(), "epoch": 3}, as_zip), random.Random(0)
    taken = 0
    for _ in range(200):
        data = bytearray(good)
        at = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 9)]
            case _:
                data[at:at] = chance.randbytes(3)
        try:
            taken += bool(converted(bytes(data), tmp_path))
        except ModelError:
            continue
    assert 0 < taken < 200
