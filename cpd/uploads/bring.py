"""The uploads of a new project: what they change in what was typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cpd.errors import ModelError
from cpd.uploads.receive import receive_data, receive_weights, shown

File = tuple[str, BinaryIO]  # its name and its bytes


def bringing(model: str, weights: File | None, data: File | None) -> Callable[[Path], dict[str, str]] | None:
    """For `cpd.runs.project.create_project`: takes the files into the project's folder, gives the fields they fill.

    Args:
        model: as it was typed; may be empty where the weights are a bundle, which then is the model.
    """
    if weights is None and data is None:
        return None

    def bring(folder: Path) -> dict[str, str]:
        fields: dict[str, str] = {}
        if weights is not None:
            taken = receive_weights(*weights, folder)
            if model:
                fields["weights"] = str(taken.path)
            elif taken.bundle:
                fields["model"] = str(taken.path)
            else:
                raise ModelError(f"{shown(weights[0])}: holds weights alone; name the model that they belong to.")
        if data is not None:
            fields["data"] = receive_data(*data, folder).name
        return fields

    return bring
