"""How each operator family moves and merges labels, and what a cut changes in its arguments.

A *rule* gets the call and returns the labels of its result; where it has nothing to say it raises `Unruled`, and the
labels that enter are locked. A *rewrite* gets the call and the copied node of a network being cut and puts the new
sizes into its arguments. Both stand in the same file, one file a family:

    elementwise   activations, arithmetic, where
    contraction   linear, matmul, einsum, attention
    convolution   convolutions, plain, grouped, depthwise, transposed
    normalise     batch, layer, group and RMS norm, dropout
    reshape       view, flatten, unflatten, pixel shuffle
    movement      permute, slice, split, cat, pad, roll, index
    recurrent     LSTM, GRU, RNN
    expansion     expand, repeat, factories
    reduction     mean, sum, norms, softmax, max
    spatial       pooling, resizing, unfolding
"""

from cpd.comb.rules.registry import REWRITES, RULES, Cutting, Unruled, covered

__all__ = ["REWRITES", "RULES", "Cutting", "Unruled", "covered"]

from cpd.comb.rules import (  # noqa: F401  registration by import
    contraction,
    convolution,
    elementwise,
    expansion,
    movement,
    normalise,
    recurrent,
    reduction,
    reshape,
    spatial,
)
