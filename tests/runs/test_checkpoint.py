"""Checkpoints: bit-exact for any dtype, readable by another library, and never torn."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import signal
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as hs

from cpd.errors import StorageError
from cpd.runs.checkpoint import load_checkpoint, save_checkpoint
from tests.runs.conftest import wait

DTYPES = (
    *(
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.uint16,
        torch.int32,
        torch.uint32,
        torch.int64,
        torch.uint64,
    ),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.float8_e4m3fn),
)


@hs.composite
def tensors(draw) -> torch.Tensor:
    dtype = draw(hs.sampled_from(DTYPES))
    shape = draw(hs.lists(hs.integers(0, 4), max_size=3))
    count = math.prod(shape)
    size = torch.empty(0, dtype=dtype).element_size()
    raw = draw(hs.binary(min_size=count * size, max_size=count * size))
    if dtype == torch.bool:
        raw = bytes(b & 1 for b in raw)
    flat = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return flat.reshape(shape)


keys = hs.one_of(hs.text(max_size=8), hs.sampled_from(["$tensor", "$items", "a/b"]))
leaves = hs.one_of(
    tensors(), hs.none(), hs.booleans(), hs.integers(), hs.floats(), hs.text(max_size=8), hs.integers(2**64, 2**70)
)
states = hs.recursive(
    leaves,
    lambda inner: hs.one_of(
        hs.lists(inner, max_size=3),
        hs.tuples(inner, inner),
        hs.dictionaries(keys, inner, max_size=3),
        hs.dictionaries(hs.one_of(hs.integers(0, 5), hs.tuples(hs.integers(0, 3))), inner, max_size=3),
    ),
    max_leaves=8,
)


def raw_bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""


def same(a: object, b: object) -> bool:
    """Equal to the last bit, types and NaN included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and raw_bytes(a) == raw_bytes(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


@given(state=states)
@settings(max_examples=150, deadline=None)
def test_any_state_comes_back_bit_for_bit(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(folder, state, 7)
    restored = load_checkpoint(folder)
    assert restored is not None
    assert (restored.step, restored.skipped) == (7, ())
    assert same(restored.state, state)


def test_a_training_state_goes_on_as_if_nothing_had_happened(tmp_path):
    def steps(net, optimizer, count):
        for _ in range(count):
            loss = net(torch.randn(16, 6)).square().mean() * random.random() * float(np.random.rand())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def make(seed):
        torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
        net = torch.nn.Sequential(
            torch.nn.Linear(6, 5), torch.nn.Dropout(0.3), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2)
        )
        return net, torch.optim.AdamW(net.parameters(), lr=0.1)

    net, optimizer = make(3)
    steps(net, optimizer, 4)
    state = {
        "net": net.state_dict(), "optimizer": optimizer.state_dict(), "torch": torch.get_rng_state(),
        "python": random.getstate(), "numpy": np.random.get_state(),
    }  # fmt: skip
    save_checkpoint(tmp_path, state, 4)
    steps(net, optimizer, 4)
    expected = net.state_dict()

    net, optimizer = make(99)
    restored = load_checkpoint(tmp_path)
    assert restored is not None
    net.load_state_dict(restored.state["net"])
    optimizer.load_state_dict(restored.state["optimizer"])
    torch.set_rng_state(restored.state["torch"])
    random.setstate(restored.state["python"])
    np.random.set_state(restored.state["numpy"])
    steps(net, optimizer, 4)
    assert same(dict(net.state_dict()), dict(expected))


def test_another_library_reads_the_tensors(tmp_path):
    tied = torch.randn(3, 4)
    state = OrderedDict(a=tied, b=tied, c=tied.t(), half=torch.tensor(1.5, dtype=torch.float16), none=torch.zeros(0, 3))
    save_checkpoint(tmp_path, state, 1)
    read = safetensors.torch.load_file(next(tmp_path.glob("*.safetensors")))
    assert {name.removeprefix("state/") for name in read} == set(state)
    for name, tensor in state.items():
        assert torch.equal(read[f"state/{name}"], tensor)


def test_the_last_two_are_kept_and_leftovers_go(tmp_path):
    for step in (1, 5, 9):
        save_checkpoint(tmp_path, {"step": step, "w": torch.full((3,), float(step))}, step)
    (tmp_path / ".tmp-step-0000000012.safetensors-aa").write_bytes(b"part")
    (tmp_path / "step-0000000012-0123456789ab.safetensors").write_bytes(b"whole, but its manifest was never written")
    restored = load_checkpoint(tmp_path)
    assert restored is not None
    assert restored.step == 9
    assert (
        sorted(path.name.partition(".")[0][:15] for path in tmp_path.iterdir())
        == ["step-0000000005"] * 2 + ["step-0000000009"] * 2
    )


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.Random(0).randrange(len(data))] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_an_unreadable_latest_leaves_the_one_before(tmp_path, damage, suffix):
    for step in (3, 4):
        save_checkpoint(tmp_path, {"w": torch.full((5,), float(step))}, step)
    damage(next(tmp_path.glob(f"step-0000000004*.{suffix}")))
    restored = load_checkpoint(tmp_path)
    assert restored is not None
    assert restored.step == 3
    assert torch.equal(restored.state["w"], torch.full((5,), 3.0))
    gone = damage is Path.unlink and suffix == "json"  # without its manifest a checkpoint never was
    assert [text.startswith("the checkpoint of step 4 is unreadable") for text in restored.skipped] == [True] * (
        not gone
    )


def test_one_flipped_bit_anywhere_is_noticed(tmp_path):
    save_checkpoint(tmp_path, {"w": torch.arange(20.0), "lr": 0.125}, 2)
    for path in list(tmp_path.iterdir()):  # a flip in the manifest's "tensors" must not get the tensors cleaned away
        whole = path.read_bytes()
        for at in range(0, len(whole), 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            restored = load_checkpoint(tmp_path)
            assert restored is not None
            # White space between JSON tokens may change without a change of meaning.
            kept = (
                restored.state is not None
                and restored.state["lr"] == 0.125
                and restored.state["w"].equal(torch.arange(20.0))
            )
            assert restored.state is None or kept
        path.write_bytes(whole)
        restored = load_checkpoint(tmp_path)
        assert restored is not None
        assert restored.skipped == ()


def test_a_manifest_cannot_name_a_file_elsewhere(tmp_path):
    folder = tmp_path / "checkpoints"
    save_checkpoint(folder, {"w": torch.zeros(2)}, 1)
    tensors_file = next(folder.glob("*.safetensors"))
    tensors_file.rename(tmp_path / "outside.safetensors")
    path = next(folder.glob("*.json"))
    from cpd.runs.checkpoint import _check

    manifest = json.loads(path.read_text())
    del manifest["check"]
    manifest["tensors"] = "../outside.safetensors"
    path.write_text(json.dumps(manifest | {"check": _check(manifest)}))
    restored = load_checkpoint(folder)
    assert restored is not None
    assert restored.state is None
    assert "outside its folder" in restored.skipped[0]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A forked child has no pool of OpenMP threads, and would wait for it for ever."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_child(action) -> int:
    """Do `action` in a forked process; its process number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        action()
        os._exit(0)
    except BaseException:
        os._exit(1)


def status_of(child: int, seconds: float = 60.0) -> int:
    """How a forked process ended; one that does not end is killed."""
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            raise AssertionError(f"a forked process has not ended in {seconds:g} s")
        time.sleep(0.001)
    return ended[1]


def test_kills_aimed_at_the_write_never_tear_a_checkpoint(tmp_path, one_thread):
    def state(step: int) -> dict[str, object]:
        return {"step": step, "w": torch.full((120_000,), float(step)), "rng": torch.arange(step % 7)}

    def save_for_ever() -> None:
        restored = load_checkpoint(tmp_path)
        step = restored.step if restored else 0
        while True:
            step += 1
            save_checkpoint(tmp_path, state(step), step)

    dice, reached, torn = random.Random(1), 0, 0
    for _ in range(60):
        before = set(tmp_path.iterdir())
        pid = in_child(save_for_ever)
        try:
            wait(lambda before=before: set(tmp_path.iterdir()) != before, 60, "a child that saves")
            time.sleep(dice.uniform(0, 0.05))
        finally:
            os.kill(pid, signal.SIGKILL)
            status_of(pid)
        torn += any(path.name.startswith(".tmp-") for path in tmp_path.iterdir())
        restored = load_checkpoint(tmp_path)
        if restored is not None:
            assert restored.skipped == ()
            assert same(restored.state, state(restored.step))
            assert restored.step >= reached, "a checkpoint that had been saved is gone"
            reached = restored.step
    assert reached > 5, "hardly anything was saved: the kills hit nothing"
    assert torn > 5, "the kills missed the writes, so nothing was tested"


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(tmp_path, one_thread):
    save_checkpoint(tmp_path, {"w": torch.ones(10)}, 1)

    def overflow() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(StorageError, match=r"step-.*cannot write: the limit on file size is reached"):
            save_checkpoint(tmp_path, {"w": torch.ones(100_000)}, 2)

    assert status_of(in_child(overflow)) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]
    restored = load_checkpoint(tmp_path)
    assert restored is not None
    assert restored.step == 1


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(TypeError, match="state/optimizer/0: object cannot be saved"):
        save_checkpoint(tmp_path, {"optimizer": [object()]}, 1)
    with pytest.raises(TypeError, match="dtype complex128"):
        save_checkpoint(tmp_path, {"z": torch.zeros(1, dtype=torch.complex128)}, 1)
    assert load_checkpoint(tmp_path) is None
