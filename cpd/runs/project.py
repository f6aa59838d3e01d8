"""A project: a model, its weights, its data and a device under one name."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cpd import access
from cpd.errors import RunError, StorageError
from cpd.files import make_folder, read_json, write_json
from cpd.runs.spec import RunSpec
from cpd.runs.workspace import check_id, slug

SCHEMA = 1


@dataclass(frozen=True)
class Project:
    """What is being pruned, and on which data.

    Attributes:
        id: folder name, made from `name` by us.
        model: SPEC, e.g. "timm:resnet18".
        weights: path of the weights, "" for none.
        settings: arguments of the model's constructor.
        created: seconds since 1970.
    """

    id: str
    name: str
    model: str
    weights: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    device: str = "cpu"
    created: float = 0.0

    def spec(self, kind: str, seed: int = 0, options: Mapping[str, Any] | None = None) -> RunSpec:
        """A run of this project."""
        return RunSpec(
            kind,
            self.id,
            self.model,
            self.weights,
            dict(self.settings),
            self.data,
            self.device,
            seed,
            dict(options or {}),
        )


def create_project(
    root: Path,
    name: str,
    model: str,
    weights: str = "",
    settings: Mapping[str, Any] | None = None,
    data: str = "",
    device: str = "cpu",
    bring: Callable[[Path], Mapping[str, str]] | None = None,
) -> Project:
    """Make a project's folder and file; two projects of one name get ids `name` and `name-2`.

    Args:
        bring: puts files into the new folder and gives the fields that they fill; the project is there afterwards, or
            not at all.
    Raises:
        RunError: no name or model.
        AccessError: who asks may not make one, or not name what is named.
        CpdError: whatever `bring` refuses.
        StorageError: the folder cannot be written.
    """
    access.require_change("make a project")
    if names_the_machine(model, weights, settings or {}, data):
        access.require_owner("name files, folders or downloads of this machine")
    if not name.strip() or not (model.strip() or bring):
        raise RunError("a project needs a name and a model, e.g. timm:resnet18.")
    base = slug(name, "project")
    for number in itertools.count(1):
        id_ = base if number == 1 else f"{base}-{number}"
        try:
            folder = make_folder(project_folder(root, id_), new=True)
            break
        except FileExistsError:
            continue
    project = Project(id_, name.strip(), model.strip(), weights, dict(settings or {}), data, device, time.time())
    try:
        if bring is not None:
            given: Mapping[str, Any] = bring(folder)
            project = replace(project, **given)
        project.spec("comb")  # refuses a device or settings that no run could use
        write_json(folder / "project.json", {"schema": SCHEMA} | asdict(project))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return project


def names_the_machine(model: str, weights: str, settings: Mapping[str, Any], data: str) -> bool:
    """Whether a project reaches for more than this program brings: a FILE.py that would run, a path whose content would
    be shown, a name that is downloaded."""
    from cpd.models.header import fetches
    from cpd.tasks.demos import DEMOS

    brought = re.fullmatch(r"((timm|smp):[\w./+-]+)?", model.strip()) is not None
    known = not weights or weights in {str(demo.weights) for demo in DEMOS}
    return not (brought and known and data in ("", "digits", "digit-scenes")) or any(fetches(key) for key in settings)


def open_project(root: Path, id_: str) -> Project:
    """Raises RunError when there is no such project, StorageError when its file is damaged."""
    path = project_folder(root, id_) / "project.json"
    if not path.exists():
        raise RunError(f"there is no project {id_!r} in {root}; the Start screen lists those there are.")
    row = read_json(path)
    try:
        if row.pop("schema") != SCHEMA:
            raise StorageError(f"{path}: written by another version of the project file; make the project again.")
        return Project(**{f.name: row[f.name] for f in fields(Project)})
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not a project file ({type(error).__name__}: {error}).") from error


def list_projects(root: Path) -> list[Project]:
    """Every readable project, newest first; damaged ones are left out."""
    found = []
    for path in sorted((root / "projects").glob("*/project.json")):
        try:
            found.append(open_project(root, path.parent.name))
        except (RunError, StorageError):
            continue
    return sorted(found, key=lambda project: -project.created)


def project_folder(root: Path, id_: str) -> Path:
    """Where a project's files are."""
    return root / "projects" / check_id(id_, "project")
