"""A pruned network as Python source that needs torch alone: `forward` spelled out, its tensors beside it.

A pruned module is a graph of ATen calls over named tensors, and torch.fx prints that as Python. What remains to be
added are the names that the text uses: modules are imported, functions of this project are quoted whole.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

from torch import Tensor
from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from cpd.errors import ExportError

_HEAD = '''"""{title}: a pruned network, written out. {note}

Tensors are read by name from model.safetensors; `load.py` puts them in their places.
"""

from __future__ import annotations
'''


def network_source(module: GraphModule, title: str) -> str:
    """The text of a file with `class Network(torch.nn.Module)` and `BUFFERS`, the names of tensors that are no parameters.

    Raises:
        ExportError: the graph calls something that is neither torch's nor this project's.
    """
    if not isinstance(module, GraphModule):
        raise ExportError(
            f"{title}: only a network that was combed and cut can be written out, got {type(module).__name__}."
        )
    code = module.graph.python_code("self")
    body = "\n".join(f"    {line}" if line.strip() else "" for line in code.src.strip().splitlines())
    body = re.sub(r"\s+$", "", body, flags=re.MULTILINE)
    used = {name: value for name, value in code.globals.items() if re.search(rf"\b{re.escape(name)}\b", body)}
    quoted = sorted({f"{value.__name__}" for value in used.values() if _is_ours(value)})
    functions = {value.__name__: value for value in used.values() if _is_ours(value)}
    lines = [
        _HEAD.format(title=title, note="It needs torch and nothing else."),
        "import torch",
        *([] if not functions else ["from torch import Tensor"]),
        *_imports(used, title),
        "",
        f"BUFFERS = {_names(module)}",
    ]
    for name in quoted:
        lines += ["", "", inspect.getsource(functions[name]).rstrip()]
    lines += [
        f"\n\n{alias} = {value.__name__}"
        for alias, value in used.items()
        if _is_ours(value) and alias != value.__name__
    ]
    lines += ["", "", "class Network(torch.nn.Module):", *_specs(module), body, ""]
    return "\n".join(lines)


def _is_ours(value: Any) -> bool:
    return isinstance(value, FunctionType) and value.__module__.startswith("cpd.")


def _imports(used: Mapping[str, Any], title: str) -> list[str]:
    """One line for every name that is not `torch` itself."""
    lines = []
    for name, value in sorted(used.items()):
        if name == "torch" or _is_ours(value):
            continue
        if isinstance(value, ModuleType):
            lines.append(f"import {value.__name__} as {name}")
        elif isinstance(value, float):
            lines.append(f"from math import {name}")
        elif value is type(None):
            lines.append(f"{name} = type(None)")
        elif getattr(value, "__module__", "").split(".")[0] in ("torch", "operator", "_operator", "math", "builtins"):
            lines.append(f"from {value.__module__} import {value.__name__} as {name}")
        else:
            raise ExportError(f"{title}: its graph calls {name}, which a file that needs torch alone cannot import.")
    return lines


def _names(module: GraphModule) -> str:
    held = module.state_dict()
    names = [name for name, _ in module.named_buffers(remove_duplicate=False) if name in held]
    rows = "\n".join(f"    {name!r}," for name in names)
    return f"{{\n{rows}\n}}" if names else "set()"


def _specs(module: GraphModule) -> list[str]:
    """Where inputs or outputs are dicts, lists or several: how they nest, as torch writes it."""
    if not isinstance(module.graph._codegen, _PyTreeCodeGen):
        return []
    info = module.graph._codegen.pytree_info
    rows = []
    for name, spec in (("_in_spec", info.in_spec), ("_out_spec", info.out_spec)):
        if spec is not None:
            try:
                rows.append(f"    {name} = pytree.treespec_loads({pytree.treespec_dumps(spec)!r})")
            except NotImplementedError as error:
                raise ExportError(
                    f"its inputs or outputs are of a class of their own ({error}); return a tuple or a dict."
                ) from error
    return [*rows, ""]


def tables(module: GraphModule) -> dict[str, Tensor]:
    """Tensors that the forward pass reads and the state_dict does not hold: masks, position indices."""
    held = module.state_dict()
    return {name: t.detach().cpu().contiguous().clone() for name, t in module.named_buffers() if name not in held}
