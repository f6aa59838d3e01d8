"""From networks and held-out images to what lies on disk, and the job that does it in a project."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import cpd
from cpd.attribution.choose import Looked, choose, fetch, look
from cpd.attribution.explain import explain, picture
from cpd.attribution.methods import check_methods
from cpd.attribution.record import Attribution, load_arrays
from cpd.errors import PlanError, StorageError
from cpd.prune.plan import uniform_plan
from cpd.runs.project import create_project, project_folder
from cpd.runs.store import Store
from cpd.runs.worker import main
from cpd.runs.workspace import database, new_run_id, open_workspace, run_folder
from cpd.tasks import load_task
from tests import tiny


def floats(case):
    return {"dense": copy.deepcopy(case.dense).float(), "pruned": copy.deepcopy(case.pruned).float()}


def test_everything_is_written_as_it_comes_and_read_back(convolutions, task, tmp_path):
    networks = floats(convolutions)
    seen: list[int] = []

    def progress(done: int, total: int) -> None:
        if (tmp_path / "index.json").exists():
            seen.append(len(Attribution.load(tmp_path).images))

    made = explain(convolutions.comb, networks, task, tmp_path, ("gradcam", "integrated"), 4, (9,), "plan", "mark", progress=progress)
    assert seen == [0, 1, 2, 3]
    assert made.done
    assert (made.images[0].number, len(made.images), made.looked) == (9, 4, 256)
    assert Attribution.load(tmp_path) == made
    for image in made.images:
        arrays = load_arrays(tmp_path, image.number)
        assert sorted(arrays) == ["gradcam.dense", "gradcam.pruned", "image", "integrated.dense", "integrated.pruned"]
        assert arrays["image"].dtype == np.uint8
        pixels, label = fetch(task, [image.number])[image.number]
        with torch.no_grad():
            answers = {name: network(pixels).softmax(1)[0] for name, network in networks.items()}
        assert (image.label, image.target) == (int(label), int(answers["dense"].argmax()))
        for name, chances in answers.items():
            assert image.answers[name].top[0] == (int(chances.argmax()), pytest.approx(float(chances.max())))
            assert image.answers[name].probability == pytest.approx(float(chances[image.target]))
        assert image.changed == (answers["dense"].argmax() != answers["pruned"].argmax())


def test_a_stop_leaves_what_was_explained_so_far(convolutions, task, tmp_path):
    class Stop(Exception):
        pass

    def progress(done: int, total: int) -> None:
        if done == 3:
            raise Stop

    networks = floats(convolutions)
    with pytest.raises(Stop):
        explain(convolutions.comb, networks, task, tmp_path, ("saliency",), 5, progress=progress)
    found = Attribution.load(tmp_path)
    assert (len(found.images), found.done) == (2, False)


def test_images_whose_answer_changed_come_first_then_every_class_in_turn():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    looked = Looked(labels, labels, torch.tensor([0, 0, 0, 1.0, 0, 1.0, 0, 0]))
    assert choose(looked, 4) == [3, 5, 0, 4]
    assert choose(looked, 6) == [3, 5, 0, 4, 6, 1]
    assert choose(looked, 3, wanted=(7, 99, 7)) == [7, 3, 0]
    assert looked.count == 2
    assert len(choose(looked, 100)) == 8


def test_looking_counts_the_answers_that_differ(convolutions, task):
    networks = floats(convolutions)
    found = look(networks["dense"], networks["pruned"], task, 50, lambda done, total: None)
    images, labels = next(iter(task.val_batches(50)))
    with torch.no_grad():
        expected = networks["dense"](images).argmax(1) != networks["pruned"](images).argmax(1)
    assert torch.equal(found.changed, expected.float())
    assert torch.equal(found.labels, labels)
    assert look(networks["dense"], None, task, 10, lambda done, total: None).count == 0


def test_pictures_undo_the_normalisation():
    pixels = torch.rand(1, 3, 4, 4)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    normal = (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    np.testing.assert_allclose(picture(normal, (mean, std)) / 255, pixels[0].permute(1, 2, 0), atol=0.003)
    grey = picture(torch.tensor([[[[-3.0, 1.0]]]]), (mean, std))
    assert grey.tolist() == [[[0], [255]]]


def test_an_unknown_method_is_named():
    with pytest.raises(PlanError, match="'deeplift'; there are gradcam"):
        check_methods(["deeplift"])


@pytest.mark.parametrize("text", ['{"schema": 99}', '{"schema": 1, "images": 3}', "[]", "{"])
def test_a_damaged_index_is_refused_in_words(tmp_path: Path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(StorageError):
        Attribution.load(tmp_path)
    (tmp_path / "3.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(StorageError, match=r"3\.npz"):
        load_arrays(tmp_path, 3)


def test_the_job_explains_the_plan_and_a_finished_run(tmp_path, monkeypatch):
    monkeypatch.setenv("CPD_HOME", str(tmp_path / "home"))
    root = open_workspace()
    store = Store(database(root))
    project = create_project(root, "tiny", tiny.SPEC, data="digits", settings={"img_size": 32})

    def job(kind: str, expected: str = "", **options) -> str:
        """The worker's own code, in this process; returns the run's id."""
        spec = project.spec(kind, options=options)
        run = new_run_id(kind)
        run_folder(root, run).mkdir()
        store.add(run, spec)
        store.launch(run)
        main([str(run_folder(root, run))])
        found = store.run(run)
        assert (found.state == "failed" and expected in found.error) if expected else found.state == "finished", found.error
        return run

    job("comb", certify=False)
    folder = project_folder(root, project.id)
    record = cpd.CombRecord.load(folder)
    plan = uniform_plan(record, 0.5)
    job("attribute", compared="plan", plan=json.loads(plan.to_json()), images=3, methods=["gradcam", "saliency"])
    found = Attribution.load(folder / "attributions" / "plan")
    assert (found.compared, found.plan, found.model, len(found.images), found.done) == ("plan", plan.digest, record.model, 3, True)
    assert found.layer.endswith("8 × 8")
    job("attribute", "needs a plan", compared="plan")
    run = job("distill", plan=json.loads(plan.to_json()), epochs=0.1, batch_size=16, batches=[1], evaluate_every=1000, score_batches=1)
    job("attribute", compared=run, images=2, methods=["saliency"])
    other = Attribution.load(folder / "attributions" / run)
    # What is explained is what was handed over.
    model, _ = cpd.load_model(project.model, str(run_folder(root, run)), dict(project.settings))
    task = load_task("digits", (3, 32, 32), project.model)
    pixels, _ = fetch(task, [other.images[0].number])[other.images[0].number]
    with torch.no_grad():
        chances = model(pixels).softmax(1)[0]
    assert other.images[0].answers["pruned"].top[0] == (int(chances.argmax()), pytest.approx(float(chances.max()), rel=1e-4))
