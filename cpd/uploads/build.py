"""Builds a model to tell its shapes: `python -m cpd.uploads.build FOLDER`, {"spec", "settings"} as JSON on standard input.

The uploaded file plays no part here: the model is what the user named, as every job builds it. It is built without
numbers where it can be, under limits on memory and time, and nothing of it is kept.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from cpd.errors import CpdError
from cpd.uploads import limits
from cpd.uploads.fence import Forbidden, OutOfTime, fence, limit


def shapes(spec: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """{"shapes": {name: shape}}, {"refused": why}, or {} where limits were met before that was known."""
    import cpd._torchvision  # noqa: F401  before timm

    import torch

    from cpd.models.load import build

    if spec.startswith(("timm:", "smp:")):
        with contextlib.suppress(ImportError):  # the call below says what is missing
            importlib.import_module("timm" if spec.startswith("timm:") else "segmentation_models_pytorch")
        fence(folder)
    limit(limits.BUILD_BYTES, limits.CPU_S["build"], limits.MIB)
    try:
        try:
            with torch.device("meta"):  # shapes without numbers
                module, _ = build(spec, settings)
        except (CpdError, NotImplementedError, RuntimeError):
            module, _ = build(spec, settings)  # it computes while it is built, or cannot be built at all
        return {"shapes": {name: list(tensor.shape) for name, tensor in module.state_dict().items()}}
    except CpdError as error:
        # A model of the user's own may want more than is given here; the job that combs it has the last word.
        return {"refused": str(error)} if spec.startswith(("timm:", "smp:")) else {}
    except (MemoryError, OutOfTime, Forbidden, OSError, RuntimeError):
        return {}


def main() -> int:
    asked = json.load(sys.stdin)
    with open(os.dup(1), "w") as out, contextlib.redirect_stdout(io.StringIO()):  # a user's file may print
        answer = shapes(asked["spec"], asked["settings"], Path(sys.argv[1]))
        print(json.dumps(answer), file=out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
