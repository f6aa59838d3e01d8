"""What is imported is pinned: nothing works by the luck of another package having brought it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CALLED = {"sklearn": "scikit-learn", "PIL": "pillow", "torch_pruning": "torch-pruning"}
OPTIONAL = {"tensorboard", "mlflow"}  # asked for by name, and missed in one line where it is not there
FILES = ("requirements.txt", "requirements-cluster.txt", "requirements-oidc.txt")


def imported(folder: Path) -> set[str]:
    """Top-level names of every module imported anywhere below `folder`."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


def pinned(*files: str) -> set[str]:
    lines = "\n".join((ROOT / name).read_text() for name in files).splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line}


@pytest.mark.parametrize("folder", ["cpd", "app", "pages", "scripts"])
def test_the_product_imports_what_requirements_pins(folder: str) -> None:
    own = {p.stem for p in (ROOT / folder).rglob("*.py")} | {"cpd", "app", "pages"}
    needed = {
        CALLED.get(name, name) for name in imported(ROOT / folder) - own - OPTIONAL - set(sys.stdlib_module_names)
    }
    assert not needed - pinned(*FILES)


def test_pins_are_what_is_installed() -> None:
    import importlib.metadata

    for name in (*FILES, "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if "==" in line:
                package, _, version = line.partition("==")
                assert importlib.metadata.version(package).partition("+")[0] == version
