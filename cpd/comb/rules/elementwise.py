"""Operators that act on each element: labels pass, and labels that meet are merged.

Source: torch docs, "Pointwise Ops" and "Broadcasting semantics".
"""

from __future__ import annotations

from typing import Any

from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.rules.registry import Unruled, rule

# f(0) = 0: removed positions stay zero.
_KEEP_ZERO = (
    "relu relu6 gelu silu mish hardswish hardtanh leaky_relu rrelu elu selu celu prelu_kernel tanh erf sin asin atan sinh neg abs sqrt "
    "square sign floor ceil round trunc relu_ tanhshrink softshrink hardshrink softsign nan_to_num "
    "clone contiguous alias detach to _to_copy type_as lift_fresh_copy float double half bfloat16 positive view_of expm1 log1p"
).split()
_LOSE_ZERO = (
    "sigmoid hardsigmoid exp cos log log2 rsqrt reciprocal softplus logit clamp clamp_min clamp_max clip log_sigmoid "
    "bitwise_not logical_not isnan isinf isfinite ones_like rand_like randn_like bernoulli erfinv acos"
).split()
_SUMS = "add sub rsub maximum minimum".split()
_PRODUCTS = "mul".split()
_QUOTIENTS = "div true_divide floor_divide remainder fmod".split()
_OTHERS = (
    "eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor atan2 "
    "greater greater_equal less less_equal"
).split()


@rule(*_KEEP_ZERO)
def keep_zero(flow: Flow, call: Call) -> Labels:
    """f(0) = 0."""
    flow.silent[call.node] = flow.silent.get(call.node.args[0], False)  # type: ignore[arg-type]
    if call.name == "hardtanh" and not (call["min_val"] <= 0 <= call["max_val"]):
        flow.silent[call.node] = False
    return flow.raw(call.node.args[0])


@rule(*_LOSE_ZERO)
def lose_zero(flow: Flow, call: Call) -> Labels:
    """f(0) is not 0, or not known to be."""
    if call.name in ("clamp", "clip"):
        low, high = call.get("min", 0), call.get("max", 0)
        numbers = all(isinstance(v, (int, float)) for v in (low, high))
        flow.silent[call.node] = bool(numbers and low <= 0 <= high and flow.silent.get(call["self"], False))
    return flow.raw(call.node.args[0])


@rule("pow")
def power(flow: Flow, call: Call) -> Labels:
    """A number to a tensor's power is one where the tensor is zero; a tensor to a positive power stays zero."""
    base, exponent = call.node.args[:2]
    if not flow.is_tensor(base):
        return flow.of(exponent)
    if flow.is_tensor(exponent):
        return _meet(flow, call, [base, exponent])
    flow.silent[call.node] = bool(isinstance(exponent, (int, float)) and exponent > 0 and flow.silent.get(base, False))  # type: ignore[arg-type]
    return flow.of(base)


@rule(*_SUMS)
def sums(flow: Flow, call: Call) -> Labels:
    """Zero plus zero is zero; a number added is not, nor is a value that has no such axis (a mean over channels)."""
    operands = list(call.node.args[:2])
    labels = _meet(flow, call, operands)
    flow.silent[call.node] = all(_zero_at(flow, v, call, i) for v in operands for i in _where_removed(flow, labels))
    return labels


@rule(*_PRODUCTS)
def products(flow: Flow, call: Call) -> Labels:
    """One zero factor is enough."""
    operands = list(call.node.args[:2])
    labels = _meet(flow, call, operands)
    flow.silent[call.node] = all(
        any(_zero_at(flow, v, call, i) for v in operands) for i in _where_removed(flow, labels)
    )
    return labels


@rule(*_QUOTIENTS)
def quotients(flow: Flow, call: Call) -> Labels:
    """Zero divided stays zero."""
    operands = list(call.node.args[:2])
    labels = _meet(flow, call, operands)
    flow.silent[call.node] = all(_zero_at(flow, operands[0], call, i) for i in _where_removed(flow, labels))
    return labels


@rule(*_OTHERS)
def others(flow: Flow, call: Call) -> Labels:
    """Comparisons and the like: nothing is known of their value at zero."""
    return _meet(flow, call, list(call.node.args[:2]))


@rule("addcmul", "addcdiv", "lerp", "where", "masked_fill", "threshold", "prelu")
def several(flow: Flow, call: Call) -> Labels:
    """Three operands that meet; zero where all values that may be chosen are zero."""
    if call.name == "prelu":
        return _prelu(flow, call)
    labels = _meet(flow, call, list(call.node.args))
    removed = _where_removed(flow, labels)
    if call.name == "where":
        values = call.node.args[1:]
        flow.silent[call.node] = len(values) == 2 and all(_zero_at(flow, v, call, i) for v in values for i in removed)
    elif call.name == "addcmul":
        base, *factors = call.node.args[:3]
        flow.silent[call.node] = all(
            _zero_at(flow, base, call, i) and any(_zero_at(flow, v, call, i) for v in factors) for i in removed
        )
    return labels


def _prelu(flow: Flow, call: Call) -> Labels:
    """One slope for all channels, or one a channel (axis 1)."""
    labels, shape = flow.of(call["self"]), flow.shape(call["self"])
    if flow.shape(call["weight"]) != [1]:
        if len(shape) < 2:
            raise Unruled
        labels[1] = flow.tie(labels[1], flow.of(call["weight"])[0], call.node)
    flow.silent[call.node] = flow.silent.get(call["self"], False)
    return labels


@rule("copy")
def copy(flow: Flow, call: Call) -> Labels:
    """Writes the second value over the first, which keeps its shape; a view's base shares the atoms."""
    flow.silent[call.node] = _silent(flow, call["src"])
    return _meet(flow, call, [call["self"], call["src"]])


@rule("fill", "zero")
def fill(flow: Flow, call: Call) -> Labels:
    """Writes one number over a value. Zero leaves zeros at removed positions; after another number the rest must stay."""
    labels, zero = flow.of(call["self"]), call.name == "zero" or _silent(flow, call["value"])
    for label in labels:
        if not zero and label is not None and not flow.is_batch(label):
            flow.lock(label, f"a number is written over it in {flow.where(call.node)}")
    flow.silent[call.node] = zero
    return labels


def _meet(flow: Flow, call: Call, operands: list[Any]) -> Labels:
    tensors = [value for value in operands if flow.is_tensor(value)]
    if not tensors:
        raise Unruled
    return flow.broadcast([(flow.raw(t), flow.shape(t)) for t in tensors], call.node)


def _where_removed(flow: Flow, labels: Labels) -> list[int]:
    """The axes, counted from the last one, along which positions may be removed."""
    return [i - len(labels) for i, label in enumerate(labels) if label is not None and not flow.is_batch(label)]


def _zero_at(flow: Flow, value: Any, call: Call, axis: int) -> bool:
    """Whether an operand holds zeros where positions of `axis` were removed: it has to have that axis."""
    if flow.is_tensor(value):
        shape = flow.shape(value)
        if len(shape) < -axis or shape[axis] != flow.shape(call.node)[axis]:
            return False
    return _silent(flow, value)


def _silent(flow: Flow, value: Any) -> bool:
    """Whether a tensor holds zeros at removed positions; the number 0 does."""
    return flow.silent.get(value, False) if flow.is_tensor(value) else value == 0
