"""A SPEC becomes a module and inputs that fit it, the same in every process; what is wrong is said in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cpd
from cpd.errors import ModelError

FILE = """
import dataclasses
import torch
from neighbour import WIDTH

@dataclasses.dataclass
class Settings:
    width: int = WIDTH

class Net(torch.nn.Module):
    def __init__(self, num_classes=10, width=8):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, width, 3)
        self.head = torch.nn.Linear(width, num_classes)
    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

def with_inputs():
    return Net(width=Settings().width), torch.randn(1, 1, 9, 9)

def broken():
    return 1 / 0

def nothing():
    return "a model"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    path = tmp_path / "net.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name, settings, shape", [
    ("test_resnet", {}, (2, 3, 160, 160)),
    ("resnet18", {"num_classes": 10, "in_chans": 1, "img_size": 32}, (2, 1, 32, 32)),
    ("vit_tiny_patch16_224", {"num_classes": 7, "img_size": 32, "patch_size": 4, "depth": 2}, (2, 3, 32, 32)),
    ("test_byobnet.r160_in1k", {}, (2, 3, 160, 160)),
])
def test_timm_models_run_on_their_example(name: str, settings: dict[str, int], shape: tuple[int, ...]) -> None:
    model, inputs = cpd.load_model(f"timm:{name}", settings=settings)
    assert not model.training
    assert inputs[0].shape == shape
    assert inputs[0].dtype == torch.float32
    with torch.no_grad():
        assert model(*inputs).shape == (2, settings.get("num_classes", 1000))


def test_initial_weights_are_the_same_in_another_process_and_the_callers_randomness_stays() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model, _ = cpd.load_model("timm:test_vit")
    assert torch.equal(torch.rand(1), expected)
    total = sum(p.detach().double().sum() for p in model.parameters())
    code = "import cpd; m, _ = cpd.load_model('timm:test_vit'); print(repr(float(sum(p.detach().double().sum() for p in m.parameters()))))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert float(other.stdout) == float(total)
    assert float(sum(p.detach().double().sum() for p in cpd.load_model("timm:test_vit", seed=1)[0].parameters())) != float(total)


@pytest.mark.parametrize("spec, words", [
    ("timm:resnet19", ["resnet19", "no such model", "resnet18"]),
    ("timm:deit_tiny_patch16_22", ["deit_tiny_patch16_224"]),
    ("resnet18", ["timm:NAME", "timm:resnet18"]),
    ("nowhere/net.py:Net", ["no file nowhere/net.py"]),
    ("nowhere/net.py", ["net.py:Net"]),
    ("nowhere", ["neither a file nor a model's name"]),
])
def test_unknown_models_are_named_with_what_is_near(spec: str, words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        cpd.load_model(spec)
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_three_nearest_names_are_models_of_timm() -> None:
    import timm

    with pytest.raises(ModelError) as caught:
        cpd.load_model("timm:mobilenetv3_smal_050")
    names = str(caught.value).partition("Nearest: ")[2].rstrip(".").split(", ")
    assert len(names) == 3
    assert names[0] == "mobilenetv3_small_050"
    assert set(names) <= set(timm.list_models())


def test_settings_that_the_architecture_does_not_take_are_named() -> None:
    with pytest.raises(ModelError, match="num_clases=3"):
        cpd.load_model("timm:test_resnet", settings={"num_clases": 3})
    with pytest.raises(ModelError, match="img_size"):
        cpd.load_model("timm:test_resnet", settings={"img_size": "large"})


def test_a_class_gets_its_settings_and_an_example_it_runs_on(file: Path) -> None:
    model, inputs = cpd.load_model(f"{file}:Net", settings={"num_classes": 4, "img_size": 12})
    assert inputs[0].shape == (2, 1, 12, 12)
    assert model(*inputs).shape == (2, 4)


def test_a_factory_may_give_its_own_inputs_and_import_its_neighbours(file: Path) -> None:
    before = list(sys.path)
    model, inputs = cpd.load_model(f"{file}:with_inputs")
    assert inputs[0].shape == (2, 1, 9, 9)
    assert torch.equal(inputs[0][0], inputs[0][1])
    assert model.conv.out_channels == 5
    assert sys.path == before


@pytest.mark.parametrize("name, settings, words", [
    ("broken", {}, ["broken", "line 22", "ZeroDivisionError"]),
    ("nothing", {}, ["returned str"]),
    ("missing", {}, ["no function or class called 'missing'"]),
    ("Net", {"depth": 3}, ["takes no setting depth", "num_classes, width"]),
    ("Net", {"in_chans": 2}, ["does not run on inputs of shape (2, 2, 224, 224)", "in_chans"]),
])
def test_a_file_that_fails_says_where(file: Path, name: str, settings: dict[str, int], words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        cpd.load_model(f"{file}:{name}", settings=settings)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_file_that_is_not_python_says_where(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ModelError, match="line 2"):
        cpd.load_model(f"{tmp_path}/bad.py:f")


def test_models_cost_no_torch_until_one_is_loaded() -> None:
    subprocess.run([sys.executable, "-c", "import cpd, cpd.models, sys; assert 'torch' not in sys.modules"], check=True, timeout=300)
