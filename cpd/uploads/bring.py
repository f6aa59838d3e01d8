"""The uploads of a new project: what they change in what was typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from cpd.errors import ModelError
from cpd.models.fit import misfit, without_prefix
from cpd.uploads.receive import Weights, one_line, receive_data, receive_weights, shown
from cpd.uploads.shapes import model_shapes
from cpd.uploads.tensors import shapes_in

File = tuple[str, BinaryIO]  # its name and its bytes


def bringing(
    model: str,
    weights: File | None,
    data: File | None,
    settings: Mapping[str, Any] | None = None,
    told: list[str] | None = None,
) -> Callable[[Path], dict[str, str]] | None:
    """For `cpd.runs.project.create_project`: takes the files into the project's folder, gives the fields they fill.

    Args:
        model: as it was typed; may be empty where the weights are a bundle, which then is the model.
        settings: of the model, which decide whether the weights fit it.
        told: gets a sentence on what was recognised in the data.
    """
    if weights is None and data is None:
        return None

    def bring(folder: Path) -> dict[str, str]:
        fields: dict[str, str] = {}
        if weights is not None:
            taken = receive_weights(*weights, folder)
            if model:
                _check_fit(shown(weights[0]), taken, model, settings or {})
                fields["weights"] = str(taken.path)
            elif taken.bundle:
                fields["model"] = str(taken.path)
            else:
                raise ModelError(f"{shown(weights[0])}: holds weights alone; name the model that they belong to.")
        if data is not None:
            found = receive_data(*data, folder)
            fields["data"] = found.name
            if told is not None:
                told.append(f"{shown(data[0])}: {found.said}")
        return fields

    return bring


def _check_fit(name: str, taken: Weights, model: str, settings: Mapping[str, Any]) -> None:
    """Hold names and shapes of weights against those of the model that they are meant for.

    A bundle's tensors may be smaller, having been cut; whether by its own plan, a job finds out.

    Args:
        name: of the file, for messages.
    Raises:
        ModelError: they do not fit, or there is no such model.
    """
    target = model_shapes(model, settings, taken.path.parent)
    if target is None:
        return
    given = without_prefix(shapes_in(taken.path), target)
    if taken.bundle:
        given = {key: _whole(shape, target.get(key, ())) for key, shape in given.items()}
    wrong = misfit(name, model, given, target)
    if wrong:
        said = wrong.removeprefix(f"{name} ").replace(": --set ", ": set ")  # in a form, not on a command line
        raise ModelError(one_line(name, said, 600))


def _whole(shape: tuple[int, ...], whole: tuple[int, ...]) -> tuple[int, ...]:
    """The dense shape where `shape` may have been cut from it."""
    cut = len(shape) == len(whole) and all(n <= most for n, most in zip(shape, whole, strict=True))
    return whole if cut else shape
