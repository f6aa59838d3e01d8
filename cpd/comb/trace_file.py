"""A trace on disk: the graph as JSON, its tables beside it (`sealed.py`).

Reading one takes a few milliseconds, exporting a model takes a second.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from cpd.comb.depth import stochastic_depth
from cpd.comb.flow import origin_frame
from cpd.comb.sealed import read_sealed, write_sealed
from cpd.comb.trace import Trace


def write_trace(path: Path, trace: Trace) -> str:
    """Write `trace`; the seal of the file, which stands for everything in it."""
    head = {
        "nodes": [_node_row(node) for node in trace.graph.nodes],
        "tensors": list(trace.tensors),
        "aliases": trace.aliases,
        "batch": trace.batch,
        "in_spec": pytree.treespec_dumps(trace.in_spec),
        "out_spec": pytree.treespec_dumps(trace.out_spec),
        "digest": trace.digest,
    }
    tables = {name: value.detach().contiguous().clone() for name, value in trace.constants.items()}
    return write_sealed(path, head, tables)


def read_trace(path: Path, model: nn.Module) -> tuple[Trace, str] | None:
    """The trace at `path` with the tensors of `model`, and its seal; None where there is none that fits and is whole."""
    try:
        head, tables, seal = read_sealed(path)
        state = dict(model.state_dict(keep_vars=True))
        trace = Trace(
            graph=_graph(head["nodes"]),
            tensors={name: state[name] for name in head["tensors"]},
            constants=tables,
            aliases=head["aliases"],
            batch=head["batch"],
            in_spec=pytree.treespec_loads(head["in_spec"]),
            out_spec=pytree.treespec_loads(head["out_spec"]),
            digest=head["digest"],
        )
        return trace, seal
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, SafetensorError, NotImplementedError):
        return None


def trace_key(model: nn.Module, inputs: tuple[Any, ...]) -> str:
    """Digest of everything that a trace depends on: code, settings and shapes, and the values of tables; not weights.

    Raises:
        TypeError: a module of the user's own code, which may change with files that nothing here knows of, or a
            setting that cannot be written down. Such a model is traced every time.
    """
    digest = hashlib.sha256(f"{torch.__version__} {_own_code()}".encode())
    for name, module in model.named_modules(remove_duplicate=False):
        kind: Any = type(module)
        digest.update(f"\n{name} {kind.__module__}.{kind.__qualname__} {_code_of(kind)}".encode())
        settings = {k: v for k, v in vars(module).items() if k not in _BOOKKEEPING}
        digest.update(json.dumps(settings, default=_settled, sort_keys=True).encode())
        for leaf, buffer in module._buffers.items():
            if buffer is not None and (leaf in module._non_persistent_buffers_set or not buffer.is_floating_point()):
                digest.update(f"{leaf}{_settled(buffer)}".encode())
    for name, tensor in model.state_dict(keep_vars=True).items():
        digest.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype} {isinstance(tensor, nn.Parameter)}".encode())
    for leaf in pytree.tree_leaves(inputs):
        shape = f"{tuple(leaf.shape)} {leaf.dtype}" if isinstance(leaf, Tensor) else repr(leaf)
        digest.update(f"\n{shape}".encode())
    digest.update(str(pytree.tree_structure(inputs)).encode())
    return digest.hexdigest()


_BOOKKEEPING = frozenset(
    {"_parameters", "_buffers", "_modules", "training", "_non_persistent_buffers_set", "_flat_weights"}
)


@functools.cache
def _own_code() -> str:
    """Digest of the code that makes traces and of this format."""
    files = [Path(__file__).with_name(name) for name in ("trace_file.py", "sealed.py", "trace.py", "depth.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@functools.cache
def _code_of(kind: Any) -> str:
    """Version of the installed package that a module's class comes from."""
    package = sys.modules[kind.__module__.partition(".")[0]]
    version, file = getattr(package, "__version__", None), getattr(package, "__file__", None) or ""
    if version is None or not {"site-packages", "dist-packages"} & set(Path(file).parts):
        raise TypeError(f"{kind.__name__} is no class of an installed package")
    return f"{package.__name__} {version}"


def _settled(value: Any) -> Any:
    """A setting of a module in a form that is the same in every process."""
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous()
        return f"{tuple(data.shape)} {data.dtype} {hashlib.sha256(data.view(torch.uint8).numpy().tobytes() if data.ndim else str(data.item()).encode()).hexdigest()}"
    if isinstance(value, nn.Module):
        return f"module {type(value).__qualname__}"
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (torch.dtype, torch.device, torch.Size, complex, bytes)):
        return str(value)
    if callable(value):
        inner = getattr(value, "func", None)
        if inner is not None:  # functools.partial
            return [_settled(inner), json.dumps([value.args, value.keywords], default=_settled, sort_keys=True)]
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    if hasattr(value, "__dict__"):
        return {"class": type(value).__qualname__, **vars(value)}
    if hasattr(value, "__slots__") or isinstance(value, slice):
        return str(value)
    raise TypeError(f"cannot write down {type(value).__name__}")


def _node_row(node: Node) -> dict[str, Any]:
    row: dict[str, Any] = {"name": node.name, "op": node.op, "target": _target_name(node.target)}
    row["args"], row["kwargs"] = _plain(node.args), _plain(node.kwargs)
    value = node.meta.get("val")
    row["value"] = _plain_value(value)
    stack = node.meta.get("nn_module_stack")
    if stack:
        row["module"] = [path for path, _ in stack.values()][-1]
    frame = origin_frame(node)
    if frame is not None:
        row["frame"] = frame
    return row


def _target_name(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return f"torch.{target}"
    if target is operator.getitem:
        return "operator.getitem"
    if target is getattr:
        return "builtins.getattr"
    if target is stochastic_depth:
        return "cpd.stochastic_depth"
    if isinstance(target, str):
        return target
    raise TypeError(f"cannot write down the operator {target}")


@functools.cache
def _function(name: str) -> Any:
    if name == "operator.getitem":
        return operator.getitem
    if name == "builtins.getattr":
        return getattr
    if name == "cpd.stochastic_depth":
        return stochastic_depth
    _, space, packet, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, space), packet), overload)


def _plain(value: Any) -> Any:
    """An argument as JSON; what JSON lacks is a one-entry dictionary that names it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, Node):
        return {"node": value.name}
    if isinstance(value, (tuple, list)):
        return {"list" if isinstance(value, list) else "tuple": [_plain(v) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[k, _plain(v)] for k, v in value.items()]}
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, slice):
        return {"slice": [_plain(v) for v in (value.start, value.stop, value.step)]}
    raise TypeError(f"cannot write down the argument {value!r}")


def _value(value: Any, nodes: dict[str, Node]) -> Any:
    if not isinstance(value, dict):
        return value
    kind, inner = next(iter(value.items()))
    if kind == "float":
        return float(inner)
    if kind == "node":
        return nodes[inner]
    if kind in ("list", "tuple"):
        items = [_value(v, nodes) for v in inner]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {k: _value(v, nodes) for k, v in inner}
    if kind == "slice":
        return slice(*[_value(v, nodes) for v in inner])
    found = getattr(torch, inner)
    if not isinstance(found, (torch.dtype, torch.layout, torch.memory_format)):
        raise ValueError(f"torch.{inner} is no type, layout or memory format")
    return found


def _plain_value(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"shape": [int(n) for n in value.shape], "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, (tuple, list)):
        return [_plain_value(v) for v in value]
    return None


def _meta_value(row: Any) -> Any:
    if isinstance(row, dict):
        return torch.empty(row["shape"], dtype=getattr(torch, row["dtype"]), device="meta")
    return [_meta_value(v) for v in row] if isinstance(row, list) else None


def _graph(rows: list[dict[str, Any]]) -> Graph:
    graph = Graph()
    nodes: dict[str, Node] = {}
    for row in rows:
        args, kwargs = _value(row["args"], nodes), _value(row["kwargs"], nodes)
        target = _function(row["target"]) if row["op"] == "call_function" else row["target"]
        node = graph.create_node(row["op"], target, args, kwargs, name=row["name"])
        if node.name != row["name"]:
            raise ValueError(f"{row['name']} was renamed")  # labels go by the names of nodes
        node.meta = {"val": _meta_value(row["value"])}
        if "module" in row:
            node.meta["nn_module_stack"] = {"": (row["module"], "")}
        if "frame" in row:
            path, line = row["frame"]
            node.meta["stack_trace"] = f'File "{path}", line {line}'
        nodes[row["name"]] = node
    return graph
