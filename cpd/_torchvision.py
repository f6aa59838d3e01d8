"""Let torchvision be imported beside a torch build that its binary does not fit. Import this before timm or torchvision.

A torchvision wheel made for CUDA cannot load its binary beside a CPU-only torch. Torchvision survives that, but its
Python half then registers kernels for `torchvision::nms`, which nobody has declared, and `import timm` fails with
"operator torchvision::nms does not exist". Declaring the operators' schemas is enough: nothing here calls them, and
calling them all the same says that there is no kernel. Where the binary loads, nothing is declared.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def binary_loads(folder: Path) -> bool:
    """Whether torchvision's operator library in its package `folder` fits this torch."""
    for library in [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
        try:
            torch.ops.load_library(str(library))  # torchvision loads the same file again later; that costs nothing
            return True
        except (OSError, ImportError):
            continue
    return False


def declare() -> torch.library.Library:
    """Declare the schemas of the operators that torchvision's Python half registers kernels for."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    return library


def _guard() -> torch.library.Library | None:
    if "torchvision" in sys.modules:
        return None
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or binary_loads(Path(found.origin).parent):
        return None
    return declare()


# Kept for life: the declarations go when the library object does.
_library = _guard()
