"""Uploads on the form for a new project: what is kept, and what a refusal leaves behind."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save

from cpd.runs.project import list_projects, project_folder

pytestmark = pytest.mark.usefixtures("no_workers")
TENSORS = {"conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "steps": np.array([7])}


def archive(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for number, name in enumerate(names):
            image = io.BytesIO()
            Image.fromarray(np.full((6, 5), number, np.uint8)).save(image, "png")
            opened.writestr(name, image.getvalue())
    return packed.getvalue()


def network(folder: Path) -> Path:
    """A model that `TENSORS` fit, as a user's own file."""
    file = folder / "net.py"
    file.write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n    def __init__(self, width=3):\n        super().__init__()\n        print('a user may print')\n"
        "        self.conv = torch.nn.Linear(4, width, bias=False)\n        self.register_buffer('steps', torch.tensor([0]))\n\n"
        "    def forward(self, x):\n        return self.conv(x.mean((1, 2))[:, :4])\n"
    )
    return file


def errors(at) -> list[str]:
    return [element.value for element in at.error]


def test_weights_and_images_become_the_projects_own(open_page, home, tmp_path):
    at = open_page("start")
    at.text_input(key="form.model").set_value(f"{network(tmp_path)}:Net")
    at.file_uploader(key="form.weights_file").upload("../../mine.safetensors", save(TENSORS))
    at.file_uploader(key="form.data_file").upload(
        "pets.zip", archive("pets/cat/1.png", "pets/dog/1.png", "pets/dog/2.png")
    )
    at.run()
    at.button(key="form.create").click().run()
    assert not at.exception
    assert errors(at) == []
    made = list_projects(home)[0]
    folder = project_folder(home, made.id) / "uploads"
    assert (made.weights, made.data) == (str(folder / "weights.safetensors"), f"imagefolder:{folder / 'data'}")
    assert all(np.array_equal(value, load_file(made.weights)[name]) for name, value in TENSORS.items())
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png")) == [
        "data/cat/000001.png", "data/dog/000001.png", "data/dog/000002.png",
    ]  # fmt: skip
    assert {p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in [folder, *folder.rglob("*")] if p.is_dir()} == {0o700}


def test_a_refusal_is_one_line_and_leaves_no_project(open_page, home):
    at = open_page("start")
    at.text_input(key="form.model").set_value("timm:resnet18")
    at.file_uploader(key="form.weights_file").upload("mine.safetensors", save(TENSORS)[:-3])
    at.run()
    at.button(key="form.create").click().run()
    assert not at.exception
    assert len(errors(at)) == 1
    assert errors(at)[0].startswith("mine.safetensors: was cut short")
    assert list((home / "projects").iterdir()) == []
    assert at.text_input(key="form.model").value == "timm:resnet18"


def test_weights_of_another_shape_are_refused_and_nothing_is_lost(open_page, home, tmp_path):
    at = open_page("start")
    at.text_input(key="form.model").set_value(f"{network(tmp_path)}:Net")
    at.text_input(key="form.settings").set_value("width=5")
    at.file_uploader(key="form.weights_file").upload("mine.safetensors", save(TENSORS))
    at.file_uploader(key="form.data_file").upload(
        "scenes.zip", archive("images/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    )
    at.run()
    at.button(key="form.create").click().run()
    assert len(errors(at)) == 1
    assert errors(at)[0].startswith(
        f"mine.safetensors: does not fit {tmp_path / 'net.py'}:Net: 1 of another shape (conv.weight is 3x4 in the file, 5x4 in the model)."
    )
    assert list((home / "projects").iterdir()) == []
    at.text_input(key="form.settings").set_value("width=3").run()
    at.button(key="form.create").click().run()  # the files are still there
    assert errors(at) == []
    made = list_projects(home)[0]
    assert (made.settings, made.data.partition(":")[0]) == ({"width": 3}, "masks")
    assert [each.value.replace("\\", "") for each in at.info] == [
        "scenes.zip: 2 images in images/ beside masks/ (1 to train on, 1 held out), 4 classes."
    ]


def test_weights_alone_ask_for_their_model_and_twice_is_refused(open_page, home):
    at = open_page("start")
    at.file_uploader(key="form.weights_file").upload("mine.safetensors", save(TENSORS))
    at.run()
    at.button(key="form.create").click().run()
    assert "holds weights alone; name the model" in errors(at)[0]
    at.text_input(key="form.model").set_value("timm:resnet18")
    at.text_input(key="form.weights").set_value("/some/where.safetensors").run()
    at.button(key="form.create").click().run()
    assert "given twice" in errors(at)[0]
    assert list((home / "projects").iterdir()) == []
