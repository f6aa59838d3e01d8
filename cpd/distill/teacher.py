"""A teacher of another architecture: its answers are compared, its activations cannot be."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from cpd.errors import CpdError, DataError
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.task import Task


class Teacher(nn.Module):
    """Another network, shown images that were normalised for the student.

    Args:
        images: what the student's images are normalised with; `own`: what the teacher was trained with.
    """

    def __init__(self, network: nn.Module, images: Normalisation, own: Normalisation) -> None:
        super().__init__()
        self.network = network
        # (x * std + mean - own mean) / own std, as one factor and one sum
        factor = [s / o for s, o in zip(images.std, own.std, strict=True)]
        shift = [(m - n) / o for m, n, o in zip(images.mean, own.mean, own.std, strict=True)]
        self.same = images == own
        self.factor: Tensor
        self.shift: Tensor
        self.register_buffer("factor", torch.tensor(factor).view(-1, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.network(images if self.same else images * self.factor + self.shift)
        return outputs


def check_teacher(teacher: nn.Module, inputs: tuple[Tensor, ...], task: Task, name: str) -> None:
    """Show it one batch.

    Raises:
        DataError: it does not take the student's images, or gives no score for each class of the data.
    """
    try:
        with torch.no_grad():
            outputs = teacher(*inputs)
        task.check(outputs)
    except CpdError as error:
        raise DataError(f"teacher {name}: {error}") from error
    except Exception as error:  # a network of anybody's fails in any way it likes on images it was not made for
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"teacher {name} does not take the student's images {tuple(inputs[0].shape[1:])}: {first}"
        ) from error


def digest(module: nn.Module) -> str:
    """sha256 of names and values of everything the module holds."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def fitted_to(taught: Tensor, outputs: Tensor) -> Tensor:
    """The teacher's scores at the size of the student's, where both give maps and one gives finer ones."""
    if taught.ndim == 4 and outputs.ndim == 4 and taught.shape[2:] != outputs.shape[2:]:
        return functional.interpolate(taught, outputs.shape[2:], mode="bilinear", align_corners=False)
    return taught
