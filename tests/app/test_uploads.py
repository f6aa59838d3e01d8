"""Uploads on the form for a new project: what is kept, and what a refusal leaves behind."""

from __future__ import annotations

import io
import zipfile

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


def errors(at) -> list[str]:
    return [element.value for element in at.error]


def test_weights_and_images_become_the_projects_own(open_page, home):
    at = open_page("start")
    at.text_input(key="form.model").set_value("timm:resnet18")
    at.file_uploader(key="form.weights_file").upload("../../mine.safetensors", save(TENSORS))
    at.file_uploader(key="form.data_file").upload("pets.zip", archive("pets/cat/1.png", "pets/dog/1.png", "pets/dog/2.png"))
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
