"""What comes from the cache is what was made, and never that of another model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cifar_resnet
import numpy as np
import pytest
import torch
from networks import Head, conv
from torch import Tensor, nn

import cpd
from cpd.comb import cache, trace_file
from cpd.comb.cache import cached_trace
from cpd.comb.comb import Comb, comb, read
from cpd.comb.comb_file import read_comb, write_comb
from cpd.comb.trace import trace
from cpd.comb.trace_file import trace_key
from cpd.prune.plan import uniform_plan
from cpd.prune.surgery import prune

# The package's verb hides the module of its name.
combing = __import__("sys").modules["cpd.comb.comb"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CPD_CACHE", str(tmp_path / "traces"))
    return tmp_path / "traces"


def forbid(*_: object) -> None:
    raise AssertionError("made again")


def plain(value: Any) -> Any:
    """Everything in a result as lists and numbers, arrays with their type: what `==` compares in full."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tolist())
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(inner) for inner in value)
    assert value is None or type(value) in (bool, int, float, str), type(value)
    return value


def found(combed: Comb) -> Any:
    return plain((combed.record, combed.axes))


@pytest.mark.parametrize("free_rows", [True, False])
@pytest.mark.parametrize("spec", ["timm:test_resnet", "timm:test_vit", "timm:test_efficientnet"])
def test_the_second_comb_makes_nothing_and_has_the_same(
    spec: str, free_rows: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = cpd.load_model(spec)
    first = comb(model, inputs, free_rows=free_rows)
    assert sorted(file.suffix for file in folder.iterdir()) == [".comb", ".trace"]
    monkeypatch.setattr(cache, "trace", forbid)
    monkeypatch.setattr(combing, "read", forbid)
    second = comb(model, inputs, free_rows=free_rows)
    assert found(second) == found(first)
    plan = uniform_plan(first, 0.5)
    assert torch.equal(prune(model, second, plan)(*inputs), prune(model, first, plan)(*inputs))


@pytest.mark.parametrize("spec", ["option-a", "timm:test_vit", "timm:test_byobnet", "timm:test_mambaout"])
def test_a_comb_from_disk_equals_one_made_without_any(spec: str, tmp_path: Path) -> None:
    model, inputs = (
        cpd.load_model(spec) if ":" in spec else (cifar_resnet.resnet20()[0].eval(), torch.randn(2, 3, 32, 32))
    )
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    traced = trace(model, inputs)
    made = Comb(*_with(traced, read(traced)))
    write_comb(tmp_path / "x.comb", made.record, made.axes)
    known = read_comb(tmp_path / "x.comb")
    assert known is not None
    kept = Comb(*_with(traced, known))
    assert found(kept) == found(made)
    assert sum(len(group.ties) for group in kept.groups) > 10
    plan = uniform_plan(made, 0.4)
    assert torch.equal(prune(model, kept, plan)(*inputs), prune(model, made, plan)(*inputs))


def _with(traced: Any, parts: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    return parts[0], traced, parts[1]


class Tabled(nn.Module):
    """Channels times a table that no state_dict holds: where it varies, they must stay."""

    def __init__(self, values: Tensor, buffer: bool) -> None:
        super().__init__()
        self.one, self.two = conv(3, 6), nn.Conv2d(6, 4, 1)
        if buffer:
            self.register_buffer("table", values, persistent=False)
        else:
            self.table = values

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x) * self.table).mean((2, 3))


@pytest.mark.parametrize("buffer", [True, False])
def test_values_of_tables_and_shapes_of_weights_are_never_stale(
    buffer: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_file, "_code_of", lambda _: "1")  # as if these classes were installed
    inputs = (torch.randn(2, 3, 8, 8),)
    level = torch.ones(1, 6, 1, 1)
    for table in (level, level + torch.arange(6.0)[:, None, None], level):
        combed = comb(Tabled(table, buffer).eval(), inputs)
        group = next(g for g in combed.groups if g.width == 6)
        assert group.prunable == bool((table == 1).all())
    assert len(list(folder.iterdir())) == 4
    wider = Tabled(level, buffer).eval()
    wider.two = nn.Conv2d(6, 7, 1)
    assert next(t.shape for t in comb(wider, inputs).record.tensors if t.name == "two.bias") == (7,)
    assert len(list(folder.iterdir())) == 6


def test_weights_do_not_matter_and_everything_else_does() -> None:
    def key(name: str, **settings: object) -> str:
        model, inputs = cpd.load_model(f"timm:{name}", settings=settings)
        return trace_key(model, inputs)

    same = key("test_resnet")
    model, inputs = cpd.load_model("timm:test_resnet")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert trace_key(model, inputs) == same
    assert trace_key(model, tuple(torch.cat([x, x]) for x in inputs)) != same
    assert trace_key(model.double(), tuple(x.double() for x in inputs)) != same
    assert key("test_resnet", num_classes=7) != same
    model.float().layer1[0].conv1.stride = (2, 2)
    assert trace_key(model, inputs) != same


def test_rows_kept_alike_and_other_code_have_files_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = cpd.load_model("timm:test_vit")
    free, alike = comb(model, inputs), comb(model, inputs, free_rows=False)
    assert any(group.blocks for group in free.groups)
    assert not any(group.blocks for group in alike.groups)
    assert found(comb(model, inputs)) == found(free)
    monkeypatch.setattr(combing, "read", forbid)
    comb(model, inputs)
    monkeypatch.setattr(cache, "_combing_code", lambda: "changed")
    with pytest.raises(AssertionError, match="made again"):
        comb(model, inputs)


def test_a_users_own_code_is_traced_every_time(folder: Path) -> None:
    model, inputs = Head(conv(3, 4), 4).eval(), (torch.randn(2, 3, 12, 12),)
    comb(model, inputs)
    assert not folder.exists() or not list(folder.iterdir())


def _cut_short(data: bytes) -> list[bytes]:
    return [data[:n] for n in (0, 20, 40, len(data) // 2, len(data) - 1)]


def _changed_by_a_bit(data: bytes) -> list[bytes]:
    places = [int(place) for place in np.linspace(0, len(data) - 1, 9)]
    return [data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :] for n in places]


@pytest.mark.parametrize("suffix", [".trace", ".comb"])
def test_a_damaged_file_is_made_again(suffix: str, folder: Path) -> None:
    model, inputs = cpd.load_model("timm:test_resnet")
    want = found(comb(model, inputs))
    file = next(folder.glob(f"*{suffix}"))
    whole = file.read_bytes()
    foreign = [b"\xff" * 200, b"{}" * 50, next(f for f in folder.iterdir() if f != file).read_bytes()]
    for damage in _cut_short(whole) + _changed_by_a_bit(whole) + foreign:
        file.write_bytes(damage)
        refused = cache.read_trace(file, model) if suffix == ".trace" else read_comb(file)
        assert refused is None
    assert found(comb(model, inputs)) == want
    assert file.read_bytes() == whole


def test_a_file_under_another_name_is_refused(folder: Path) -> None:
    model, inputs = cpd.load_model("timm:test_resnet")
    comb(model, inputs)
    for file in list(folder.iterdir()):
        moved = file.rename(file.with_name(f"{'0' * 64}{file.suffix}"))
        assert (cache.read_trace(moved, model) if file.suffix == ".trace" else read_comb(moved)) is None


def test_only_our_own_oldest_files_are_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "notes.trace").write_text("mine")
    monkeypatch.setattr(cache, "MOST_FILES", 2)
    for number in range(4):
        (folder / f"{number:064x}.trace").write_bytes(b"")
    cache._forget_oldest(folder)
    assert len(list(folder.iterdir())) == 3
    assert (folder / "notes.trace").exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPD_CACHE", "/proc/nowhere")
    model, inputs = cpd.load_model("timm:test_resnet")
    made, seal = cached_trace(model, inputs, 60)
    assert made.digest
    assert not seal
    assert comb(model, inputs).groups
