"""Let a package be called like the one function it is named after.

`cpd.comb` has to be a package (its parts are `cpd.comb.group` and so on) and, by the public interface, a function.
Importing a submodule rebinds the package as an attribute of `cpd`, so a function of that name would be overwritten:
the package itself is made callable instead (module `__class__` assignment, Python data model, 3.3.2.1).
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def make_callable(package: str, home: str, function: str) -> None:
    """Make `package(...)` call `function` of module `home`, which is imported at the first call."""

    class Verb(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(importlib.import_module(home), function)(*args, **kwargs)

    sys.modules[package].__class__ = Verb
