"""A pruned model survives its file bit for bit, and a file from elsewhere is not believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import cpd
from cpd.errors import ModelError, StorageError
from cpd.models.bundle import FILE, bundle_file, save_bundle
from cpd.models.header import read_header

SETTINGS = {"num_classes": 10, "in_chans": 1, "img_size": 32}
CASES = {
    "cnn": ("timm:test_resnet", SETTINGS),
    "transformer": ("timm:vit_tiny_patch16_224", {**SETTINGS, "patch_size": 8, "depth": 2}),
}


@pytest.fixture(scope="module", params=CASES)
def pruned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    spec, settings = CASES[request.param]
    model, inputs = cpd.load_model(spec, settings=settings, seed=7)
    comb = cpd.comb(model, inputs)
    plan = cpd.uniform_plan(comb, ratio=0.5)
    small = cpd.prune(model, comb, plan).train()
    with torch.no_grad():
        for _ in range(3):  # batch norm's running statistics are part of what has to survive
            small(torch.randn(8, 1, 32, 32))
    small.eval()
    folder = tmp_path_factory.mktemp(request.param)
    return {"spec": spec, "settings": settings, "small": small, "plan": plan, "file": save_bundle(folder, small, spec, settings, plan), "model": model}


def rewritten(file: Path, to: Path, change: Any) -> Path:
    """The bundle with its header (or tensors) changed by hand."""
    with safe_open(file, framework="pt") as opened:
        head = json.loads(opened.metadata()["cpd"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    change(head, tensors)
    save_file(tensors, to, metadata={"format": "pt", "cpd": json.dumps(head)})
    return to


def test_opened_again_it_gives_the_same_bits(pruned: dict[str, Any]) -> None:
    again, inputs = cpd.load_model(pruned["file"].parent)
    x = torch.randn(5, *inputs[0].shape[1:])
    with torch.no_grad():
        assert torch.equal(again(x), pruned["small"](x))
    assert not again.training
    dense = sum(p.numel() for p in pruned["model"].parameters())
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in pruned["small"].parameters()) < dense / 2


def test_file_folder_and_run_folder_are_one(pruned: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / FILE).write_bytes(pruned["file"].read_bytes())
    assert bundle_file(tmp_path) == tmp_path / "bundle" / FILE
    assert bundle_file(pruned["file"].parent) == bundle_file(pruned["file"]) == pruned["file"]
    with pytest.raises(ModelError, match=FILE):
        bundle_file(tmp_path.parent / "nowhere")


def test_a_bundle_serves_as_weights_of_the_architecture_it_was_cut_from(pruned: dict[str, Any]) -> None:
    again, inputs = cpd.load_model(pruned["spec"], weights=pruned["file"], settings=pruned["settings"])
    with torch.no_grad():
        assert torch.equal(again(*inputs), pruned["small"](*inputs))
    with pytest.raises(ModelError, match="another model"):
        cpd.load_model("timm:test_byobnet", weights=pruned["file"])


def test_nothing_in_the_file_is_a_pickle(pruned: dict[str, Any]) -> None:
    content = pruned["file"].read_bytes()
    size = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + size])  # the format: a length, JSON, raw numbers
    assert set(json.loads(head["__metadata__"]["cpd"])) == {"schema", "spec", "settings", "plan", "version"}
    assert set(head) - {"__metadata__"} == set(pruned["small"].state_dict())
    assert max(t["data_offsets"][1] for n, t in head.items() if n != "__metadata__") == len(content) - 8 - size


def test_code_named_in_a_bundle_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    net = tmp_path / "net.py"
    net.write_text(f"open({str(mark)!r}, 'w')\nimport torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3)), torch.randn(2, 1, 9, 9)\n")
    model, inputs = cpd.load_model(f"{net}:make")
    comb = cpd.comb(model, inputs)
    plan = cpd.uniform_plan(comb, ratio=0.5)
    small = cpd.prune(model, comb, plan)
    file = save_bundle(tmp_path / "b", small, f"{net}:make", {}, plan)
    mark.unlink()
    with pytest.raises(ModelError, match="never run on a bundle's word"):
        cpd.load_model(file)
    assert not mark.exists()
    again, inputs = cpd.load_model(f"{net}:make", weights=file)  # named by the user himself
    with torch.no_grad():
        assert torch.equal(again(*inputs), small(*inputs))


def set_head(**values: Any) -> Any:
    return lambda head, tensors: head.update(values)


def set_settings(**values: Any) -> Any:
    return lambda head, tensors: head["settings"].update(values)


def widen(head: Any, tensors: Any) -> None:
    head["plan"]["groups"][0]["keep"] = list(range(head["plan"]["groups"][0]["width"]))


def rename(head: Any, tensors: Any) -> None:
    head["plan"]["groups"][0]["group"] = "elsewhere"


def poison(head: Any, tensors: Any) -> None:
    next(t for t in tensors.values() if t.is_floating_point()).view(-1)[0] = float("nan")


def lose(head: Any, tensors: Any) -> None:
    tensors.pop(sorted(tensors)[0])


def deepen(head: Any, tensors: Any) -> None:
    head["plan"] = None


HOSTILE = {
    "schema": (set_head(schema=99), "schema"), "no settings": (set_head(settings=None), "names no architecture"),
    "spec of a number": (set_head(spec=3), "names no architecture"), "a file's path": (set_head(spec="/etc/passwd"), "code is never run"),
    "unknown model": (set_head(spec="timm:resnet1"), "no such model"), "another model": (set_head(spec="timm:test_byobnet"), "another model|cannot be built"),
    "fetches": (set_settings(pretrained=True), "pretrained"), "opens": (set_settings(checkpoint_path="/tmp/x.pt"), "checkpoint_path"),
    "overlays": (set_settings(pretrained_cfg_overlay={"url": "x"}), "pretrained_cfg"), "huge": (set_settings(num_classes=10**12), "num_classes"),
    "endless": (set_settings(depth=60_000), "depth"), "wide": (set_settings(img_size=60_000), "img_size"),
    "nested": (set_settings(block_args={"a": 1}), "block_args"), "no plan": (deepen, "does not fit"),
    "plan of a list": (set_head(plan=[1]), "plan"), "other widths": (widen, "does not fit"), "other names": (rename, "another model"),
    "negative unit": (lambda h, t: h["plan"]["groups"][0].update(keep=[-1]), "plan"),
    "NaN": (poison, "not finite"), "lost tensor": (lose, "missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_one_line(pruned: dict[str, Any], case: str, tmp_path: Path) -> None:
    change, word = HOSTILE[case]
    file = rewritten(pruned["file"], tmp_path / "up.safetensors", change)
    with pytest.raises(ModelError, match=word) as caught:
        cpd.load_model(file)
    assert "\n" not in str(caught.value)


def test_a_header_of_any_bytes_is_one_line(pruned: dict[str, Any], tmp_path: Path) -> None:
    content = pruned["file"].read_bytes()
    at = content.index(b'"cpd"')
    for number in range(0, 400, 7):  # one byte after another turned over
        damaged = bytearray(content)
        damaged[at + number] ^= 0x15
        file = tmp_path / "up.safetensors"
        file.write_bytes(bytes(damaged))
        try:
            head = read_header(file)
        except ModelError as error:
            assert "\n" not in str(error)  # noqa: PT017  either outcome is right, a crash is not
        else:
            assert head is None or isinstance(head.spec, str)


def test_weights_alone_are_not_a_bundle(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert read_header(tmp_path / "w.safetensors") is None
    with pytest.raises(ModelError, match="--weights"):
        cpd.load_model(tmp_path / "w.safetensors")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="taken"):
        save_bundle(tmp_path / "taken", torch.nn.Linear(1, 1), "timm:x", {}, None)
    with pytest.raises(ModelError, match="settings"):
        save_bundle(tmp_path / "b", torch.nn.Linear(1, 1), "timm:x", {"act": torch.nn.ReLU}, None)
    assert not (tmp_path / "b").exists()


def test_a_model_too_large_for_the_machine_is_refused_before_it_is_built(tmp_path: Path) -> None:
    file = save_bundle(tmp_path, torch.nn.Linear(1, 1), "timm:vit_tiny_patch16_224", {"embed_dim": 60_000, "num_heads": 60, "depth": 900}, None)
    with pytest.raises(ModelError, match="GiB of memory are free"):
        cpd.load_model(file)


def test_settings_that_name_weights_stay_out_and_those_that_sound_alike_stay_in(tmp_path: Path) -> None:
    settings = {"num_classes": 3, "drop_path_rate": 0.1, "pretrained_cfg_overlay": {"url": "x"}}
    model, inputs = cpd.load_model("timm:test_vit", settings={"num_classes": 3, "drop_path_rate": 0.1})
    file = save_bundle(tmp_path, model, "timm:test_vit", settings, None)
    head = read_header(file)
    assert head is not None
    assert head.settings == {"num_classes": 3, "drop_path_rate": 0.1}
    again, _ = cpd.load_model(file)
    with torch.no_grad():
        assert torch.equal(again(*inputs), model(*inputs))
