"""Models: one line of text -> a module and example inputs.

timm:NAME               any architecture of timm, e.g. "timm:resnet18"
smp:ARCH/ENCODER        segmentation_models_pytorch, where it is installed
path/to/file.py:NAME    a function or class of the user's own
path/to/bundle          a pruned model that this project wrote: its file, or the folder that holds it

zoo.py       timm and segmentation_models_pytorch
factory.py   the user's own file
weights.py   safetensors and state dicts into a module, checked
bundle.py    pruned models as one safetensors file
header.py    what such a file says of itself, checked
example.py   example inputs
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

SPEC_FORMS = "timm:NAME, smp:ARCH/ENCODER, FILE.py:NAME or the folder of a pruned model"


def load_model(
    spec: str | Path,
    weights: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    pretrained: bool = False,
    *,
    seed: int = 0,
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Build the model that `spec` names and fill it with `weights`.

    Args:
        spec: one of the forms in the head of this package.
        weights: safetensors or a state dict (.pt, .pth, .th), or a pruned model's bundle, which is then cut out of
            `spec`. A pickled module is never loaded.
        settings: keyword arguments of the architecture, e.g. {"num_classes": 10}; `img_size` and `in_chans` also set
            the example's shape where the architecture itself does not take them.
        pretrained: timm's and smp's own trained weights; needs the network.
        seed: of the initial weights where nothing else sets them, so that every process builds the same model. The
            caller's random state is left as it was.
    Returns:
        The module in eval mode, float32, on the CPU; example inputs with batch 2, or 1 where images are large.
    Raises:
        ModelError: nothing of that name, settings it does not take, weights that do not fit, or a file that cannot
            be trusted.
    """
    from cpd.models.load import load

    return load(str(spec), str(weights) if weights else "", dict(settings or {}), pretrained, seed)
