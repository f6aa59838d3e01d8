"""Shapes of a model's tensors, so that weights can be held against it as they arrive: from a process of its own, because
building a model takes torch. What the two libraries build is remembered in the cache folder. No torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpd.errors import CpdError, ModelError
from cpd.files import cache_folder, make_folder, write_json
from cpd.models.fit import Shapes
from cpd.models.header import fetches
from cpd.runs.workspace import REPOSITORY
from cpd.uploads import limits
from cpd.uploads.child import environment

_LIBRARIES = ("torch", "timm", "segmentation-models-pytorch")


def model_shapes(spec: str, settings: Mapping[str, Any], folder: Path) -> Shapes | None:
    """Name -> shape of every tensor of a model's state dict; None where that cannot be told within the limits.

    Args:
        folder: of the upload, for the process to work in.
    Raises:
        ModelError: there is no such model.
    """
    asked = json.dumps(
        {"spec": spec, "settings": {k: v for k, v in settings.items() if not fetches(k)}}, sort_keys=True
    )
    path = _kept(asked) if spec.startswith(("timm:", "smp:")) else None
    known = None if path is None else _read(path)
    if known is not None:
        return known
    try:
        done = subprocess.run(
            [sys.executable, "-B", "-s", "-m", "cpd.uploads.build", str(folder)],
            cwd=REPOSITORY,
            env=environment(),
            input=asked.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limits.WALL_S["build"],
            start_new_session=True,
            check=False,
        )
        answer = json.loads(done.stdout) if done.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError):
        return None
    if "refused" in answer:
        raise ModelError(str(answer["refused"]))
    found = _shapes(answer.get("shapes"))
    if found is not None and path is not None:
        try:
            make_folder(path.parent)
            write_json(path, found)
        except CpdError:
            pass  # made again next time
    return found


def _kept(asked: str) -> Path:
    versions = []
    for library in _LIBRARIES:
        try:
            versions.append(importlib.metadata.version(library))
        except importlib.metadata.PackageNotFoundError:
            versions.append("")
    return cache_folder() / f"{hashlib.sha256(f'{asked} {versions}'.encode()).hexdigest()}.shapes"


def _read(path: Path) -> Shapes | None:
    try:
        return _shapes(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def _shapes(found: Any) -> Shapes | None:
    if not isinstance(found, dict) or not found:
        return None
    try:
        return {str(name): tuple(int(n) for n in shape) for name, shape in found.items()}
    except (TypeError, ValueError):
        return None
