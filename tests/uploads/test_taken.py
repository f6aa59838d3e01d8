"""What is taken is the user's data still: the right classes, and every mask beside its own image."""

from __future__ import annotations

import io
from pathlib import Path

import hostile_archives as zips
import numpy as np
import pytest
from PIL import Image

from cpd.uploads.receive import receive_data


@pytest.fixture(autouse=True)
def _forked(warm, monkeypatch):
    monkeypatch.setattr("cpd.uploads.receive.ask", warm)


def take(project: Path, members: dict[str, bytes]) -> tuple[str, Path]:
    source, _, place = receive_data("d.zip", io.BytesIO(zips.zipped(members)), project).name.partition(":")
    return source, Path(place)


def level(file: Path) -> int:
    """The grey that all of an image has."""
    return int(np.asarray(Image.open(file)).flat[0])


def test_classes_keep_their_names_as_far_as_a_folder_may_have_them(project):
    from cpd.tasks.classification import load_classification

    names = {"cat": 10, "a,b$(c)": 20, "café au lait": 30, "no. 7 (old)": 40, "a;b$(c)": 50, "...": 60}
    members = {f"mine/set/{name}/{n}.png": zips.image(level=value) for name, value in names.items() if name != "..." for n in range(12)}
    source, place = take(project, members | {f"mine/set/x{name}/1.png": zips.image(level=names[name]) for name in ("...",)})
    levels = {folder.name: {level(file) for file in folder.iterdir()} for folder in place.iterdir()}
    assert source == "imagefolder"
    assert {name: min(found) for name, found in levels.items() if len(found) == 1} == {
        "cat": 10, "a_b_c_": 20, "café au lait": 30, "no_ 7 _old_": 40, "a_b_c_-2": 50, "x_": 60,
    }  # fmt: skip
    assert len(load_classification(f"{source}:{place}", (1, 6, 6)).classes) == 6


@pytest.mark.parametrize("form", ["{kind}/{name}", "{part}/{kind}/{name}", "{kind}/{part}/{name}", "all/{kind}/{part}/deep/{name}"])
def test_every_mask_stays_with_its_image(project, form):
    rows = [(name, part, value) for value, (name, part) in enumerate([("z.b", "train"), ("a", "val"), ("10", "train"), ("9", "train"), ("m", "val")], 1)]
    members = {}
    for name, part, value in rows:
        members[form.format(kind="images", part=part, name=f"{name}.jpg")] = zips.image("jpeg", level=20 * value)
        members[form.format(kind="masks", part=part, name=f"{name}.png")] = zips.image(level=value)
    members[form.format(kind="masks", part="train", name="alone.png")] = zips.PNG
    source, place = take(project, members | {"notes.txt": b"x"})
    assert source == "masks"
    found = sorted((place / "images").rglob("*.jpg"))
    assert len(found) == len(rows)
    for image in found:
        mask = place / "masks" / image.relative_to(place / "images").with_suffix(".png")
        assert abs(level(image) - 20 * level(mask)) <= 2  # JPEG is not exact
    parts = {image.relative_to(place / "images").parts[0] for image in found}
    assert parts == ({"train", "val"} if "{part}" in form else {image.name for image in found})
    assert sum(1 for _ in (place / "masks").rglob("*.png")) == len(rows)
