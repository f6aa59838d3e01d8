"""Specifications, projects, the workspace: what a user types never becomes a path, and bad disks are said plainly."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as hs

from cpd import files
from cpd.errors import RunError, StorageError
from cpd.files import read_json, write_json
from cpd.runs import jobs
from cpd.runs.control import submit
from cpd.runs.failure import sentence
from cpd.runs.policy import Policy
from cpd.runs.project import create_project, list_projects, open_project, project_folder
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.workspace import check_id, new_run_id, open_workspace, run_folder, slug
from tests.runs.conftest import REPOSITORY, end_processes, wait_over

plain = hs.recursive(
    hs.none() | hs.booleans() | hs.integers() | hs.floats(allow_nan=False, allow_infinity=False) | hs.text(max_size=5),
    lambda inner: hs.lists(inner, max_size=3) | hs.dictionaries(hs.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    settings=hs.dictionaries(hs.text(max_size=6), plain, max_size=3),
    seed=hs.integers(0, 2**63 - 1),
    data=hs.text(max_size=9),
)
def test_a_specification_comes_back_from_json(settings, seed, data):
    spec = RunSpec(
        "distill", "digits-2", "timm:resnet18", "", settings, data, "cuda:1", seed, {"target": {"macs": 0.25}}
    )
    assert RunSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "change, words",
    [
        ({"kind": "../evil"}, "kind '../evil' is not a job"),
        ({"kind": "os.path"}, "kind 'os.path' is not a job"),
        ({"project": "../.."}, "is not the id of a project"),
        ({"device": "gpu"}, "device 'gpu' is unknown"),
        ({"seed": -1}, "seed -1 must be"),
        ({"seed": True}, "seed True must be"),
        ({"model": 3}, "model must be text"),
        ({"options": [1]}, "options must be names and values"),
        ({"options": {"lr": float("nan")}}, "options cannot be saved as JSON"),
        ({"settings": {"act": object()}}, "settings cannot be saved as JSON"),
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"colour": "red"}, "unknown fields colour"),
    ],
)
def test_a_bad_specification_says_what_is_wrong(change, words):
    with pytest.raises(RunError, match=words.replace(".", r"\.")):
        RunSpec.from_dict({"kind": "train"} | change)


def test_paths_in_a_specification_hold_wherever_the_worker_starts(tmp_path):
    for name in ("net.py", "w.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "photos").mkdir()
    spec = RunSpec("train", model="net.py:Net", weights="w.safetensors", data="imagefolder:photos").anchored(tmp_path)
    assert spec.model == f"{tmp_path}/net.py:Net"
    assert spec.weights == f"{tmp_path}/w.safetensors"
    assert spec.data == f"imagefolder:{tmp_path}/photos"
    same = RunSpec("train", model="timm:resnet18", weights="gone.safetensors", data="digits")
    assert same.anchored(tmp_path) == same
    assert spec.anchored(tmp_path / "photos") == spec


@given(text=hs.text())
def test_what_a_user_types_becomes_a_safe_name(text):
    assert check_id(slug(text, "project"), "project")
    assert "/" not in slug(text, "project")


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "A", "a.b", "-a", "a" * 65, "a\n", "ä", None])
def test_other_names_are_refused_as_folders(name, tmp_path):
    for folder in (run_folder, project_folder):
        with pytest.raises(RunError, match="is not the id of a"):
            folder(tmp_path, name)


def test_run_ids_are_new_each_time():
    ids = {new_run_id("distill") for _ in range(200)}
    assert len(ids) == 200
    assert all(check_id(id_, "run") for id_ in ids)


def test_projects_are_made_listed_and_opened(tmp_path):
    root = open_workspace(tmp_path / "home")
    first = create_project(root, "My Digits / CNN", "timm:resnet18", settings={"num_classes": 10}, data="digits")
    second = create_project(root, "my digits cnn", "timm:deit_tiny_patch16_224")
    assert (first.id, second.id) == ("my-digits-cnn", "my-digits-cnn-2")
    assert open_project(root, first.id) == first
    (project_folder(root, first.id).parent / "broken").mkdir()
    (project_folder(root, first.id).parent / "broken" / "project.json").write_text("{")
    assert [project.id for project in list_projects(root)] == [second.id, first.id]
    assert first.spec("score", seed=3, options={"batches": 2}) == RunSpec(
        "score", first.id, "timm:resnet18", "", {"num_classes": 10}, "digits", "cpu", 3, {"batches": 2}
    )
    with pytest.raises(RunError, match="there is no project 'nobody'"):
        open_project(root, "nobody")
    with pytest.raises(StorageError, match="not readable as JSON"):
        open_project(root, "broken")
    with pytest.raises(RunError, match="a project needs a name and a model"):
        create_project(root, " ", "timm:resnet18")
    with pytest.raises(RunError, match="device 'tpu9'"):
        create_project(root, "x", "timm:resnet18", device="tpu9")


def test_only_the_owner_may_look_into_the_workspace(tmp_path):
    root = open_workspace(tmp_path / "home")
    project = create_project(root, "a", "timm:resnet18")
    for path in (root, root / "runs", project_folder(root, project.id)):
        assert path.stat().st_mode & 0o777 == 0o700, path
    assert (project_folder(root, project.id) / "project.json").stat().st_mode & 0o777 == 0o600


def test_what_a_worker_writes_is_the_owners_alone(root, store):
    """Under the usual umask, whichever library writes it; and a store from before is closed to others when it is opened."""
    name = submit(root, RunSpec("walk", options={"steps": 20, "fail": "once"}))  # leaves a file that it opened plainly
    wait_over(store, name)
    written = [path for path in root.rglob("*") if path.name != "policy.json"]  # which the test itself wrote
    assert {"runs.db", "worker.log", "failed", "checkpoints"} <= {path.name for path in written}
    assert {path: oct(path.stat().st_mode & 0o777) for path in written if path.stat().st_mode & 0o077} == {}
    end_processes(root)
    (root / "runs.db").chmod(0o644)
    again = Store(root / "runs.db")
    again.run(name)
    again.close()
    assert (root / "runs.db").stat().st_mode & 0o777 == 0o600


def test_a_run_of_nothing_is_refused_before_anything_is_written(root):
    with pytest.raises(RunError, match="no job does runs of kind 'bake'; known are comb, doctor, score"):
        submit(root, RunSpec("bake"))
    with pytest.raises(RunError, match="there is no project 'gone'"):
        submit(root, RunSpec("walk", project="gone"))
    assert list((root / "runs").iterdir()) == []


def test_every_kind_has_its_job():
    from cpd.runs.spec import KINDS

    assert [jobs.home(kind) for kind in KINDS] == [f"cpd.runs.jobs.{kind}" for kind in KINDS]
    assert all(callable(jobs.find(kind).run) for kind in KINDS)


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EROFS, "the file system is read-only; choose another folder (environment variable CPD_HOME)"),
        (errno.EACCES, "permission denied; choose a folder of your own"),
        (errno.EIO, "Input/output error; check the disk and the path"),
    ],
)
def test_a_bad_disk_is_said_and_leaves_the_old_file(tmp_path, monkeypatch, number, words):
    write_json(tmp_path / "plan.json", {"old": 1})

    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        write_json(tmp_path / "plan.json", {"new": 2})
    assert str(caught.value).startswith(f"{tmp_path}/plan.json: cannot write: {words}")
    with pytest.raises(StorageError, match="cannot write to the workspace"):
        open_workspace(tmp_path / "home")
    monkeypatch.undo()
    assert read_json(tmp_path / "plan.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["plan.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/home"):
        open_workspace(tmp_path / "file" / "home")
    with pytest.raises(StorageError, match="a file of that name is in the way"):
        open_workspace(tmp_path / "file")


def test_out_of_memory_is_known_by_its_many_names():
    class OutOfMemoryError(RuntimeError):
        pass

    for error in (
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ):
        assert (
            sentence(error, "cuda:0")
            == "Device cuda:0 ran out of memory; use a smaller batch size, then resume the run."
        )
    assert "\n" not in sentence(ValueError("first\nsecond\n" * 200))
    assert len(sentence(ValueError("first\nsecond\n" * 200))) < 500


def test_the_policy_is_read_and_a_bad_one_is_named(tmp_path):
    assert Policy.of(tmp_path) == Policy()
    (tmp_path / "policy.json").write_text(json.dumps({"parallel": 2, "backoff_s": 0}))
    assert Policy.of(tmp_path) == Policy(parallel=2, backoff_s=0)
    for bad in ([], {"parallel": "2"}, {"parallel": -1}, {"parallel": 1.5}, {"colour": 1}, {"parallel": True}):
        (tmp_path / "policy.json").write_text(json.dumps(bad))
        with pytest.raises(StorageError, match=r"policy\.json: give numbers"):
            Policy.of(tmp_path)


def test_the_app_side_costs_no_torch():
    modules = "workspace spec project store lock checkpoint context failure worker supervisor launcher subject jobs"
    code = (
        f"import importlib, sys\nfor name in '{modules}'.split(): importlib.import_module('cpd.runs.' + name)\n"
        "assert not {'torch', 'streamlit', 'timm', 'safetensors.torch'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=300, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
