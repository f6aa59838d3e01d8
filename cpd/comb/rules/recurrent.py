"""Recurrent layers: one hidden unit is one position in every gate, in the state and in the output.

Weights of a layer and direction: (gates * hidden, in), (gates * hidden, hidden), and biases (gates * hidden). All
layers and directions of one call share the state's axis, so they share their units. A silenced unit has all gates at
zero and a state of zero, and stays there: LSTM c = f*0 + i*tanh(0), GRU h = (1 - z)*tanh(0) + z*0.

Source: torch docs of LSTM, GRU and RNN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.fx import Node

from cpd.comb.flow import Call, Flow
from cpd.comb.labels import Label
from cpd.comb.rules.registry import Unruled, rule

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@rule(*_GATES)
def recurrent(flow: Flow, call: Call) -> Any:
    """(B, N, in) or (N, B, in) -> the same with hidden units; and the last state or states."""
    gates, weights, x = _GATES[call.name], list(call["params"]), call["input"]
    states = call["hx"] if call.name == "lstm" else [call["hx"]]
    layers, directions = int(call["num_layers"]), 2 if call["bidirectional"] else 1
    per_direction = 4 if call["has_biases"] else 2
    labels, shape = flow.of(x), flow.shape(x)
    if len(shape) != 3 or len(weights) != layers * directions * per_direction:
        raise Unruled  # projections of the state, packed sequences
    batch_axis = 0 if call["batch_first"] else 1
    unit: Label = None
    for state in states:
        own = flow.of(state)
        flow.tie(labels[batch_axis], own[1], call.node)
        unit = own[2] if unit is None else flow.tie(unit, own[2], call.node)
    inner, width = labels[2], shape[2]
    hidden = flow.shape(weights[1])[1]
    for layer in range(layers):
        for direction in range(directions):
            at = (layer * directions + direction) * per_direction
            unit = _direction(flow, call, weights[at : at + per_direction], gates, hidden, inner, unit)
            count = [(shape[0], labels[0]), (shape[1], labels[1])]
            flow.count(call.node, [*count, (gates, None), (hidden, unit), (width, inner)])
            flow.count(call.node, [*count, (gates, None), (hidden, unit), (hidden, unit)])
        inner = None if unit is None else np.concatenate([unit] * directions)
        width = hidden * directions
    flow.silent[call.node] = all(flow.silent.get(s, False) for s in states)
    last = [None, labels[batch_axis], unit]
    return [[labels[0], labels[1], inner], *[list(last) for _ in states]]


def _direction(
    flow: Flow, call: Call, weights: list[Node], gates: int, hidden: int, inner: Label, unit: Label
) -> Label:
    """Tie one direction of one layer to its input and to the shared units."""
    where = flow.where(call.node)
    flow.tie(inner, flow.of(weights[0])[1], call.node)
    unit = flow.tie(unit, flow.of(weights[1])[1], call.node)
    for weight in weights:
        rows = flow.of(weight)[0]
        gate, within = flow.boxes.split(rows, [gates, hidden], where) if gates > 1 else (None, rows)
        flow.lock(gate, f"gates of {where}")
        unit = flow.tie(unit, within, call.node)
    return unit
