"""A module as one graph of ATen operators, by torch.export, ready to be read, cut and trained.

The graph is taken in eval mode with a batch of two or more. What a trace pins and a module must not is undone here:
devices of tensors made inside the forward pass, metadata assertions, autocast regions, the train/eval flag of
batch norm and dropout.
"""

from __future__ import annotations

import hashlib
import io
import logging
import operator
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from cpd.comb.depth import has_marks, marked, restore
from cpd.errors import TraceError

TRAINING = "training"  # the attribute that nodes read to follow train() and eval()


@dataclass(eq=False)
class Trace:
    """A traced model.

    Attributes:
        graph: placeholders are the user's tensors; parameters, buffers and constants are get_attr nodes.
        names: for every get_attr target its first name in the model's state_dict, or "" for a constant.
        aliases: every further name of the same tensor -> its first name.
        constants: tensors that are not in the state_dict (tables, non-persistent buffers).
        batch: size of the batch axis while tracing.
    """

    graph: Graph
    tensors: dict[str, Tensor]
    constants: dict[str, Tensor]
    aliases: dict[str, str]
    batch: int
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec
    digest: str


def trace(model: nn.Module, inputs: tuple[Any, ...], timeout_s: float = 120.0) -> Trace:
    """Trace `model` in eval mode on `inputs`; the model is left as it was.

    Args:
        inputs: positional arguments; tensors carry the batch on axis 0.
        timeout_s: a trace that takes longer is ended (main thread only).
    Raises:
        TraceError: the model cannot be traced, or not in time.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with marked(model):
            program = _export(model, inputs, timeout_s)
    finally:
        for module, training in modes.items():
            module.training = training
    return _unlift(model, program)


def _export(model: nn.Module, inputs: tuple[Any, ...], timeout_s: float) -> Any:
    wide = widened(inputs)
    try:
        with _quiet(), _time_limit(timeout_s):
            return torch.export.export(model, wide, strict=False)
    except TraceError:
        raise
    except Exception as error:  # whatever the model's own code raises while it is traced
        raise TraceError(_explain(model, error)) from error


_LOUD = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")


@contextmanager
def _quiet() -> Iterator[None]:
    """What fails in an export is said once, by our error: not by torch's loggers, and not by the graph so far, which
    it prints to stderr."""
    levels = {name: logging.getLogger(name).level for name in _LOUD}
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.filterwarnings("ignore", "The tensor attributes? .* (was|were) assigned during export")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def widened(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A batch of one becomes two: an axis of size one cannot be told from one that broadcasts."""

    def widen(leaf: Any) -> Any:
        return torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and leaf.ndim and leaf.shape[0] == 1 else leaf

    result: tuple[Any, ...] = pytree.tree_map(widen, inputs)
    return result


def _explain(model: nn.Module, error: Exception) -> str:
    text = str(error)
    lines = re.findall(r'File "([^"]+)", line (\d+), in (\w+)\n\s+(.+)', text)
    lines = [line for line in lines if "/torch/" not in line[0]] or lines
    if not lines:
        frame = error.__traceback__
        while frame is not None:
            path = frame.tb_frame.f_code.co_filename
            if "/torch/" not in path and not path.endswith("comb/trace.py"):
                lines.append((path, str(frame.tb_lineno), frame.tb_frame.f_code.co_name, ""))
            frame = frame.tb_next
    place = ""
    if lines:
        path, number, function, source = lines[-1]
        place = f" at {path.rpartition('/')[2]}:{number} in {function}" + (f": `{source.strip()}`" if source else "")
    first = next((row.strip() for row in text.splitlines() if row.strip()), type(error).__name__)
    return (
        f"{type(model).__name__} cannot be traced{place} ({type(error).__name__}: {first[:200]}). "
        "The forward pass must not branch on values of tensors."
    )


_HOLD_LOCKS = frozenset({"logging", "importlib._bootstrap", "importlib._bootstrap_external"})


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises TraceError in the block once it took that long; an alarm that the caller had set goes on afterwards."""
    if threading.current_thread() is not threading.main_thread() or seconds <= 0:
        yield
        return

    def ring(_: int, frame: FrameType | None) -> None:
        # An exception out of nowhere in the middle of these would leave a lock held, which every other thread that logs
        # or imports then waits for, for ever: a moment later, then.
        while frame is not None and frame.f_code is not _export.__code__:
            if frame.f_globals.get("__name__") in _HOLD_LOCKS:
                signal.setitimer(signal.ITIMER_REAL, 0.001)
                return
            frame = frame.f_back
        raise TraceError(f"tracing did not end within {seconds:g} s; give it longer or a smaller input.")

    begun = time.monotonic()
    before = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # whatever rang just now, above
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 0.001), interval)


def _unlift(model: nn.Module, program: Any) -> Trace:
    """Turn the exported program's lifted inputs back into attributes, and clean the graph."""
    graph: Graph = program.graph_module.graph
    first_name = _first_names(model)
    state = dict(model.state_dict(keep_vars=True))
    tensors: dict[str, Tensor] = {}
    constants: dict[str, Tensor] = {}
    placeholders = {n.name: n for n in graph.nodes if n.op == "placeholder"}
    users = []
    for spec in program.graph_signature.input_specs:
        node = placeholders[spec.arg.name]
        if spec.kind == InputKind.USER_INPUT:
            users.append(node)
            continue
        target = first_name.get(spec.target, spec.target)
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and target in state:
            tensors[target] = state[target]
        else:
            value = program.constants.get(spec.target, program.state_dict.get(spec.target))
            if not isinstance(value, Tensor):
                raise TraceError(f"{type(model).__name__} passes {spec.target}, which is not a tensor, into its graph.")
            target = f"_constant_{len(constants)}"
            constants[target] = value
        with graph.inserting_before(node):
            attribute = graph.create_node("get_attr", target)
        attribute.meta = dict(node.meta)
        node.replace_all_uses_with(attribute)
        graph.erase_node(node)
    _output_only(graph, program)
    _inline(graph, program.graph_module)
    _clean(graph, model)
    graph.owning_module = None  # its attributes are ours from here on
    graph.eliminate_dead_code()
    used = {n.target for n in graph.nodes if n.op == "get_attr"}
    constants = {name: value for name, value in constants.items() if name in used}
    batch = next((n.meta["val"].shape[0] for n in users if getattr(n.meta.get("val"), "ndim", 0)), 1)
    aliases = {name: first for name, first in first_name.items() if name != first}
    call = program.call_spec
    return Trace(graph, tensors, constants, aliases, int(batch), call.in_spec, call.out_spec, _digest(graph, tensors))


def _output_only(graph: Graph, program: Any) -> None:
    """Keep the user's outputs; a trace in eval mode returns nothing else that a module would."""
    output = next(n for n in reversed(graph.nodes) if n.op == "output")
    values: Any = output.args[0]
    kept = [
        value
        for value, spec in zip(values, program.graph_signature.output_specs, strict=True)
        if spec.kind == OutputKind.USER_OUTPUT
    ]
    output.args = (tuple(kept),)


def _inline(graph: Graph, owner: GraphModule) -> None:
    """Replace autocast regions by what they contain: precision is chosen by whoever runs the module."""
    for node in list(graph.nodes):
        if node.op != "call_function" or "wrap_with" not in getattr(node.target, "__name__", str(node.target)):
            continue
        position = next(i for i, a in enumerate(node.args) if isinstance(a, Node) and a.op == "get_attr")
        holder = node.args[position]
        inner: Graph = getattr(owner, holder.target).graph
        given = iter(node.args[position + 1 :])
        mapping = {n: next(given) for n in inner.nodes if n.op == "placeholder"}
        with graph.inserting_before(node):
            results: Any = graph.graph_copy(inner, mapping)
        for user in list(node.users):
            if user.target is operator.getitem:
                user.replace_all_uses_with(results[user.args[1]])
                graph.erase_node(user)
        if node.users:
            node.replace_all_uses_with(results[0] if isinstance(results, (tuple, list)) else results)
        graph.erase_node(node)
        if not holder.users:
            graph.erase_node(holder)


def _clean(graph: Graph, model: nn.Module) -> None:
    """Drop assertions, follow the input's device, and let train() and eval() reach batch norm and dropout."""
    for node in list(graph.nodes):
        if node.op == "call_function" and ("aten._assert" in str(node.target) or "sym_constrain" in str(node.target)):
            graph.erase_node(node)
    _follow_device(graph)
    _follow_precision(graph)
    _follow_mode(graph, model)


def _body(graph: Graph) -> Node | None:
    """The first node that computes."""
    return next((n for n in graph.nodes if n.op not in ("placeholder", "get_attr")), None)


def _follow_device(graph: Graph) -> None:
    """Tensors made inside live where the first input does."""
    anchor = next((n for n in graph.nodes if n.op == "placeholder" and isinstance(n.meta.get("val"), Tensor)), None)
    body = _body(graph)
    if anchor is None or body is None:
        return
    device: Node | None = None
    for node in list(graph.nodes):
        if not any(isinstance(a, torch.device) for a in (*node.args, *node.kwargs.values())):
            continue
        if device is None:
            with graph.inserting_before(body):
                device = graph.call_function(getattr, (anchor, "device"))
        node.args = tuple(device if isinstance(a, torch.device) else a for a in node.args)
        node.kwargs = {k: device if isinstance(v, torch.device) else v for k, v in node.kwargs.items()}


_MAKERS = ("zeros", "ones", "full", "empty", "rand", "randn", "arange", "linspace", "eye")


def _follow_precision(graph: Graph) -> None:
    """Casts to the precision of the weights, and floats made inside, follow the weights when the module is cast."""
    anchor = next((n for n in graph.nodes if n.op == "get_attr" and _floating(n)), None)
    body = _body(graph)
    if anchor is None or body is None:
        return
    own = anchor.meta["val"].dtype
    dtype: Node | None = None
    for node in list(graph.nodes):
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        schema = [a.name for a in node.target._schema.arguments]
        makes = operator_base(node) in _MAKERS and _floating(node) and node.meta["val"].dtype == own
        named = "dtype" in schema and (own in node.args or node.kwargs.get("dtype") is own)
        if not (named or (makes and "dtype" in schema)):
            continue
        if dtype is None:
            with graph.inserting_before(body):
                dtype = graph.call_function(getattr, (anchor, "dtype"))
        if own in node.args:
            node.args = tuple(dtype if a is own else a for a in node.args)
        else:
            node.kwargs = {**node.kwargs, "dtype": dtype}


def operator_base(node: Node) -> str:
    """ "aten.zeros.default" -> "zeros"."""
    return str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)


def _floating(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _follow_mode(graph: Graph, model: nn.Module) -> None:
    """Batch norm, dropout and stochastic depth read the module's `training`."""
    places = [(node, _training_argument(node, model)) for node in graph.nodes]
    body = _body(graph)
    if body is None or not (has_marks(graph) or any(position is not None for _, position in places)):
        return
    with graph.inserting_before(body):
        flag = graph.create_node("get_attr", TRAINING)
    restore(graph, flag)
    for node, position in places:
        if position is not None:
            node.update_arg(position, flag)


_TRAIN_FLAGS = {
    "batch_norm": 5,
    "instance_norm": 5,
    "dropout": 2,
    "dropout_": 2,
    "feature_dropout": 2,
    "alpha_dropout": 2,
    "lstm": 6,
    "gru": 6,
    "rnn_tanh": 6,
    "rnn_relu": 6,
}


def _training_argument(node: Node, model: nn.Module) -> int | None:
    """Position of the argument that says whether a node behaves as in training, if it should follow the module."""
    if node.op != "call_function" or not str(node.target).startswith("aten."):
        return None
    name = str(node.target).split(".")[1]
    position = _TRAIN_FLAGS.get(name)
    if position is None:
        return None
    if name.endswith("_norm"):
        owner = _owner(node, model)
        live = isinstance(owner, nn.modules.batchnorm._NormBase) and name == "batch_norm"
        # A frozen norm, or one without running statistics (weight standardisation), behaves the same in both modes.
        return position if live and node.args[position] is False else None
    return position


def _owner(node: Node, model: nn.Module) -> nn.Module | None:
    stack = node.meta.get("nn_module_stack") or {}
    path = next((path for path, _ in reversed(list(stack.values()))), None)
    try:
        return None if path is None else model.get_submodule(path)
    except AttributeError:
        return None


def _first_names(model: nn.Module) -> dict[str, str]:
    """Every name of a parameter or buffer -> the first name of the same tensor."""
    seen: dict[int, str] = {}
    pairs = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: seen.setdefault(id(tensor), name) for name, tensor in pairs}


def _digest(graph: Graph, tensors: dict[str, Tensor]) -> str:
    """Names the architecture: operators in order, with their constants, and tensor names with shapes."""
    text = [f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(tensors.items())]
    for node in graph.nodes:
        text.append(f"{node.op} {node.target} {[a if not isinstance(a, Node) else a.name for a in node.args]}")
    return hashlib.sha256("\n".join(text).encode()).hexdigest()
