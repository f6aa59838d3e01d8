"""Weights held against the model that they are meant for, as they arrive: the shapes that torch itself finds decide."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from cpd.errors import ModelError
from cpd.files import cache_folder
from cpd.uploads import bring, shapes
from cpd.uploads.bring import bringing

SETTINGS = {"num_classes": 7, "in_chans": 1, "img_size": 32, "pretrained_cfg": None}


@pytest.fixture(autouse=True)
def _own_cache(warm, monkeypatch, tmp_path):
    monkeypatch.setattr("cpd.uploads.receive.ask", warm)
    monkeypatch.setenv("CPD_CACHE", str(tmp_path / "cache"))


def state_of(spec: str, settings: dict[str, object]) -> dict[str, np.ndarray]:
    import cpd

    return {name: tensor.numpy() for name, tensor in cpd.load_model(spec, settings=settings)[0].state_dict().items()}


def given(tensors: dict[str, np.ndarray], spec: str, settings: dict[str, object], project: Path) -> dict[str, str]:
    take = bringing(spec, ("mine.safetensors", io.BytesIO(save(tensors))), None, settings)
    assert take is not None
    return take(project)


def test_a_timm_models_own_weights_fit_and_others_are_named(project, monkeypatch):
    spec, own = "timm:resnet10t", state_of("timm:resnet10t", {"num_classes": 7, "in_chans": 1})
    assert given({f"module.{name}": value for name, value in own.items()}, spec, SETTINGS, project) == {
        "weights": str(project / "uploads" / "weights.safetensors")
    }
    [kept] = cache_folder().glob("*.shapes")  # what torch found, to the name and the number
    assert json.loads(kept.read_text()) == {name: list(value.shape) for name, value in own.items()}
    monkeypatch.setattr("subprocess.run", None)  # from here on what is remembered does
    with pytest.raises(ModelError, match=r"^mine.safetensors: does not fit timm:resnet10t: 1 of \d+ keys missing \(fc.bias\), 1 unexpected \(zzz\), 1 of another shape \(fc.weight is 9x512 in the file, 7x512 in the model\)"):  # fmt: skip
        given({n: v for n, v in own.items() if n != "fc.bias"} | {"zzz": own["fc.bias"], "fc.weight": np.zeros((9, 512), np.float32)}, spec, SETTINGS, project)  # fmt: skip
    with pytest.raises(ModelError, match=r"2 of another shape .* If that is the classifier: set num_classes=9\."):
        given(own | {"fc.bias": np.zeros(9, np.float32), "fc.weight": np.zeros((9, 512), np.float32)}, spec, SETTINGS, project)  # fmt: skip
    uncounted = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    assert given(uncounted, spec, SETTINGS, project)  # a counter that old checkpoints lack


def test_a_model_that_is_none_is_said_before_anything_is_made(project):
    with pytest.raises(ModelError, match="no such model. Nearest:"):
        given({"w": np.zeros(3, np.float32)}, "timm:resnet10zz", {}, project)


def test_a_users_own_file_may_print_and_what_cannot_be_built_is_left_to_the_job(project, tmp_path):
    file = tmp_path / "net.py"
    file.write_text("import torch\nprint('{\"shapes\": {}}')\ndef Net(width=3):\n    return torch.nn.Conv2d(3, width, 1)\ndef Odd():\n    raise OSError\n")  # fmt: skip
    tensors = {"weight": np.zeros((3, 3, 1, 1), np.float32), "bias": np.zeros(3, np.float32)}
    assert given(tensors, f"{file}:Net", {}, project)
    with pytest.raises(ModelError, match=r"1 of another shape \(bias is 4 in the file, 3 in the model\)"):
        given(tensors | {"bias": np.zeros(4, np.float32)}, f"{file}:Net", {}, project)
    assert given({"w": np.zeros(3, np.float32)}, f"{file}:Odd", {}, project)
    assert not list(cache_folder().glob("*"))  # a file may change


def test_a_pruned_model_may_be_smaller_but_not_of_another_network(project, monkeypatch):
    dense = {"a.weight": (8, 4), "b.weight": (2, 8), "b.bias": (2,)}
    monkeypatch.setattr(bring, "model_shapes", lambda *_: dense)
    header = {"cpd": json.dumps({"schema": 1, "spec": "timm:x", "settings": {}, "plan": None})}

    def take(**tensors: tuple[int, ...]) -> None:
        raw = save({name.replace("_", "."): np.zeros(shape, np.float32) for name, shape in tensors.items()}, header)
        made = bringing("timm:x", ("cut.safetensors", io.BytesIO(raw)), None, {})
        assert made is not None
        made(project)

    take(a_weight=(5, 4), b_weight=(2, 5), b_bias=(2,))
    with pytest.raises(ModelError, match=r"a.weight is 9x4 in the file, 8x4"):
        take(a_weight=(9, 4), b_weight=(2, 9), b_bias=(2,))
    with pytest.raises(ModelError, match=r"1 of 3 keys missing \(b.bias\), 1 unexpected \(c.bias\)"):
        take(a_weight=(5, 4), b_weight=(2, 5), c_bias=(2,))


def test_the_process_that_builds_is_limited_in_time(project, tmp_path, monkeypatch):
    file = tmp_path / "slow.py"
    file.write_text("import time\ndef Net():\n    time.sleep(60)\n")
    monkeypatch.setitem(shapes.limits.WALL_S, "build", 1)
    assert shapes.model_shapes(f"{file}:Net", {}, project) is None
