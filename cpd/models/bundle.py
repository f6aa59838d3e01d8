"""A pruned model as ONE safetensors file: its tensors, and in the file's header what rebuilds it.

The header's entry "cpd" is JSON: {schema, spec, settings, plan, version}. Opening it builds the dense architecture
that `spec` names, combs it, cuts it by the plan and fills it strictly. No code and no pickle comes out of the file:
a bundle may be an upload from anywhere, so nothing in it is believed before it is checked.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from cpd import __version__
from cpd.errors import CpdError, ModelError, StorageError
from cpd.models.header import SCHEMA, Header, check_size, fetches, read_header
from cpd.prune.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor, nn

FILE = "model.safetensors"
_PLACES = ("", "bundle")  # where a folder holds its bundle: itself, or below it where it is a run's


def save_bundle(
    path: str | Path, module: nn.Module, spec: str, settings: Mapping[str, Any] | None, plan: Plan | None
) -> Path:
    """Write `module`, which is the model of `spec` and `settings` cut by `plan`, as one file.

    Args:
        path: the file, or a folder that gets it under the name "model.safetensors".
    Returns:
        The file. It is there whole or not at all.
    Raises:
        StorageError: it cannot be written.
        ModelError: settings that are not plain names and numbers.
    """
    file = Path(path) if Path(path).suffix == ".safetensors" else Path(path) / FILE
    try:
        plain = json.loads(json.dumps({key: value for key, value in (settings or {}).items() if not fetches(key)}))
    except TypeError as error:
        raise ModelError(f"{spec}: a bundle keeps settings as plain names and numbers ({error}).") from error
    head = {
        "schema": SCHEMA,
        "spec": spec,
        "settings": plain,
        "plan": None if plan is None else json.loads(plan.to_json()),
        "version": __version__,
    }
    # Copies: safetensors refuses tensors that share storage, and tied weights do.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata={"format": "pt", "cpd": json.dumps(head)})
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(file)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise StorageError(f"{file}: cannot write the model ({error}); free space or choose another folder.") from error
    return file


def bundle_file(path: Path) -> Path:
    """The bundle's file at `path`: itself, or the one that a folder or a run's folder holds.

    Raises:
        ModelError: there is none.
    """
    if path.is_file():
        return path
    for place in _PLACES:
        if (path / place / FILE).is_file():
            return path / place / FILE
    raise ModelError(f"{path}: holds no {FILE}; give the folder of a pruned model.")


def load_bundle(file: Path, settings: Mapping[str, Any] | None = None) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The pruned model of a bundle, in eval mode, and example inputs.

    Args:
        settings: must not contradict the bundle's own.
    Raises:
        ModelError: not a bundle, or one that needs the user's own code or does not fit what it names.
    """
    head = read_header(file)
    if head is None:
        raise ModelError(f"{file}: holds weights alone; name the architecture and give the file as --weights.")
    if not head.spec.startswith(("timm:", "smp:")):
        raise ModelError(
            f"{file}: was cut from {head.spec!r}, and code is never run on a bundle's word; give your own file as the "
            f"model and the bundle as its weights: FILE.py:NAME --weights {file}."
        )
    other = [key for key, value in (settings or {}).items() if head.settings.get(key) != value and not fetches(key)]
    if other:
        raise ModelError(f"{file}: is bound to its own settings; leave out {', '.join(other)}.")

    from cpd.models.load import build

    check_size(head, file)
    module, inputs = build(head.spec, dict(head.settings))
    return _cut(module, inputs, head, file), inputs


def restore(module: nn.Module, inputs: tuple[Tensor, ...], file: Path, spec: str) -> nn.Module:
    """`module` filled from a weights file, or cut and filled where the file is a bundle."""
    head = read_header(file) if file.is_file() else None
    if head is not None:
        return _cut(module, inputs, head, file)

    from cpd.models.weights import load_weights

    load_weights(module, file, spec)
    return module


def _cut(module: nn.Module, inputs: tuple[Tensor, ...], head: Header, file: Path) -> nn.Module:
    from cpd.models.weights import fill, read_tensors

    if head.plan is not None and any(row.granted for row in head.plan.groups):
        from cpd.comb.comb import comb
        from cpd.prune.surgery import prune

        combed = comb(module, inputs)
        try:
            head.plan.check(combed)
        except CpdError as error:
            raise ModelError(f"{file}: {error}") from error
        locked = {group.name for group in combed.groups if not group.prunable}
        wrong = [row.group for row in head.plan.groups if row.granted and row.group in locked]
        if wrong:
            raise ModelError(f"{file}: its plan cuts {wrong[0]}, which must stay whole; the file is damaged.")
        module = prune(module, combed, head.plan)
    fill(module, read_tensors(file), str(file), head.spec)
    return module.eval()
