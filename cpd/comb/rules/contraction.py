"""Operators that sum over an axis of two values: labels that are summed over merge, the others pass.

Source: torch docs of linear, matmul, bmm, einsum and scaled_dot_product_attention.
"""

from __future__ import annotations

from torch.fx import Node

from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.labels import Label
from cpd.comb.rules.registry import Cutting, Unruled, rewrite, rule


@rule("linear")
def linear(flow: Flow, call: Call) -> Labels:
    """y = x W^T + b, weight (out, in)."""
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    labels, shape = flow.of(x), flow.shape(x)
    out, inner = flow.of(weight)
    if shape[-1] > 1:
        _contract(flow, call.node, (x, labels[-1]), (weight, inner))
    width = flow.shape(weight)[0]
    if isinstance(bias, Node) and width > 1:
        out = flow.tie(out, flow.of(bias)[0], call.node)
    flow.silent[call.node] = _plain(flow, weight) and (bias is None or _plain(flow, bias))
    if flow.removable(labels[:-1]):  # a removed token or head still gets the bias
        flow.silent[call.node] = bias is None and flow.silent.get(x, False) and _plain(flow, weight)
    flow.count(call.node, [*zip(shape, labels, strict=True), (width, out)])
    return [*labels[:-1], out if width > 1 else None]


@rule("addmm", "baddbmm")
def addmm(flow: Flow, call: Call) -> Labels:
    """bias + a b."""
    first, second = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    result = _matmul(flow, call.node, call[first], call[second])
    bias = call["self"]
    return flow.broadcast([(result, flow.shape(call.node)), (flow.of(bias), flow.shape(bias))], call.node)


@rule("matmul", "bmm", "mm", "dot", "mv")
def matmul(flow: Flow, call: Call) -> Labels:
    """Batched matrix product; leading axes broadcast."""
    a, b = call.node.args[:2]
    if not (isinstance(a, Node) and isinstance(b, Node)):
        raise Unruled
    return _matmul(flow, call.node, a, b)


def _matmul(flow: Flow, node: Node, a: Node, b: Node) -> Labels:
    la, lb, sa, sb = flow.raw(a), flow.raw(b), flow.shape(a), flow.shape(b)
    if len(sa) < 2 or len(sb) < 2:
        raise Unruled
    # The rows first: channels of two heads can only be told to be alike once the heads are.
    lead = flow.broadcast([(la[:-2], sa[:-2]), (lb[:-2], sb[:-2])], node) if len(sa) > 2 or len(sb) > 2 else []
    if sa[-1] > 1:
        _contract(flow, node, (a, la[-1]), (b, lb[-2]))
    for label in lead:
        flow.head(label)
    # A removed row is zero when `a` is zero there, a removed column when `b` is, a removed head when either is.
    silent_a, silent_b = flow.silent.get(a, False), flow.silent.get(b, False)
    flow.silent[node] = (
        (la[-2] is None or silent_a)
        and (lb[-1] is None or silent_b)
        and (silent_a or silent_b or not flow.removable(lead))
    )
    shape = flow.shape(node)
    flow.count(node, [*zip(shape[:-2], lead, strict=True), (sa[-2], la[-2]), (sa[-1], la[-1]), (sb[-1], lb[-1])])
    return [*lead, la[-2], lb[-1]]


@rule("scaled_dot_product_attention")
def attention(flow: Flow, call: Call) -> Labels:
    """softmax(q k^T * scale + mask) v over (..., heads, tokens, channels); tokens carry nothing that may go."""
    q, k, v, mask = call["query"], call["key"], call["value"], call.get("attn_mask")
    lq, lk, lv = flow.raw(q), flow.raw(k), flow.raw(v)
    sq, sk, sv = flow.shape(q), flow.shape(k), flow.shape(v)
    for label in (lk[-2], lv[-2], lq[-2]):
        flow.lock(label, f"tokens of an attention in {flow.where(call.node)}")
    grouped = call.get("enable_gqa", False) and sq[-3] != sk[-3]
    if grouped:
        lead = _grouped_heads(flow, call.node, (lq, sq), (lk, sk), (lv, sv))
    else:
        lead = flow.broadcast([(lq[:-2], sq[:-2]), (lk[:-2], sk[:-2]), (lv[:-2], sv[:-2])], call.node)
    if isinstance(mask, Node):
        lm, sm = flow.of(mask), flow.shape(mask)
        for label in lm[-2:]:
            flow.lock(label, f"tokens of an attention in {flow.where(call.node)}")
        lead = flow.broadcast([(lead, flow.shape(call.node)[:-2]), (lm[:-2], sm[:-2])], call.node)
    for label in lead:
        flow.head(label)
    if sq[-1] > 1:  # the heads first: their channels can only be told to be alike once they are
        _contract(flow, call.node, (q, lq[-1]), (k, lk[-1]))
    flow.silent[call.node] = flow.silent.get(v, False)
    sizes = list(zip(flow.shape(call.node)[:-2], lead, strict=True))
    tokens = [(sq[-2], None), (sk[-2], None)]
    flow.count(call.node, [*sizes, *tokens, (sq[-1], lq[-1])])
    flow.count(call.node, [*sizes, *tokens, (sv[-1], lv[-1])])
    return [*lead, lq[-2], lv[-1]]


def _grouped_heads(
    flow: Flow, node: Node, q: tuple[Labels, list[int]], k: tuple[Labels, list[int]], v: tuple[Labels, list[int]]
) -> Labels:
    """Grouped-query attention: every key head serves a run of query heads; the run is the unit."""
    (lq, sq), (lk, sk), (lv, sv) = q, k, v
    shared = flow.tie(lk[-3], lv[-3], node)
    runs, within = flow.boxes.split(lq[-3], [sk[-3], sq[-3] // sk[-3]], flow.where(node))
    flow.tie(runs, shared, node)
    flow.lock(within, f"query heads share a key head in {flow.where(node)}")
    lead = flow.broadcast([(lq[:-3], sq[:-3]), (lk[:-3], sk[:-3]), (lv[:-3], sv[:-3])], node) if len(sq) > 3 else []
    return [*lead, lq[-3]]


@rewrite("scaled_dot_product_attention")
def pin_scale(cut: Cutting, call: Call, new: Node) -> None:
    """The scale follows the channels unless it is given; a pruned model keeps the dense one (design: pinned values)."""
    if call.get("scale") is None and cut.is_cut(cut.axes.of(call["query"])[-1]):
        cut.set(new, "scale", float(cut.axes.shape(call["query"])[-1] ** -0.5))


@rule("einsum")
def einsum(flow: Flow, call: Call) -> Labels:
    """Letters name axes; equal letters meet, letters that the result lacks are summed over."""
    equation, operands = call["equation"].replace(" ", ""), call["tensors"]
    if "->" not in equation or "." in equation:
        raise Unruled
    left, right = equation.split("->")
    labels: dict[str, Label] = {}
    sizes: dict[str, int] = {}
    for letters, operand in zip(left.split(","), operands, strict=True):
        if len(set(letters)) != len(letters):
            raise Unruled
        for letter, label, size in zip(letters, flow.of(operand), flow.shape(operand), strict=True):
            if letter in labels:
                labels[letter] = flow.meet(labels[letter], sizes[letter], label, size, call.node)
                sizes[letter] = max(sizes[letter], size)
            else:
                labels[letter], sizes[letter] = label, size
    for letter in labels:
        if letter not in right:
            carriers = [o for o, term in zip(operands, left.split(","), strict=True) if letter in term]
            flow.need_silence(carriers, labels[letter], call.node)
    flow.silent[call.node] = all(flow.silent.get(o, False) for o in operands)
    flow.count(call.node, [(sizes[letter], labels[letter]) for letter in labels])
    return [labels[letter] for letter in right]


def _contract(flow: Flow, node: Node, a: tuple[Node, Label], b: tuple[Node, Label]) -> None:
    label = flow.tie(a[1], b[1], node)
    flow.need_silence([n for n, own in (a, b) if own is not None], label, node)


def _plain(flow: Flow, node: Node) -> bool:
    """Whether a weight is zero where its unit is silenced."""
    return flow.silent.get(node, False)
