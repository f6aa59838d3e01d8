"""One file a kind of run, each with `run(context: RunContext) -> None`.

A job brings a model, data and the library together, asks `context.should_stop()` at every step, and writes its result.
It may import torch; nothing imports a job before its worker does. Further kinds can live in packages of one's own:
CPD_JOBS="mypackage.jobs,other" adds mypackage/jobs/<kind>.py and other/<kind>.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

from cpd.errors import RunError
from cpd.runs.spec import KINDS

PACKAGES_VARIABLE = "CPD_JOBS"


def home(kind: str) -> str:
    """Module that does runs of this kind; it is not imported, only found.

    Raises:
        RunError: there is none.
    """
    extra = (name.strip() for name in os.environ.get(PACKAGES_VARIABLE, "").split(","))
    for package in (__name__, *filter(None, extra)):
        module = f"{package}.{kind}"
        try:
            if importlib.util.find_spec(module) is not None:
                return module
        except ImportError as error:
            raise RunError(f"package {package} of {PACKAGES_VARIABLE} cannot be imported ({error}).") from error
    raise RunError(f"no job does runs of kind {kind!r}; known are {', '.join(KINDS)}.")


def find(kind: str) -> ModuleType:
    """The job's module, imported."""
    return importlib.import_module(home(kind))
