"""From timed calls of an operator to the terms of its time: numbers in, coefficients out.

An operator's time grows with what it writes, reads and multiplies, and where its kernel works on whole vectors of
channels, with those numbers at sizes rounded up. Which of them hold is found from the timings: a sum of terms, none of
them negative (a kernel does not get faster for doing more), fitted to relative errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from cpd.measure.quantities import Product, Quantities
from cpd.prune.latency import Term

FloatArray = npt.NDArray[np.float64]

MULTIPLES = (8, 16)  # channels in a vector of single precision: AVX2's 8 and AVX-512's 16; also halves of a GPU's tiles
_SHORT_MS = 2e-3  # below this the clock's own error weighs more than the relative one


@dataclass(frozen=True)
class Column:
    """One regressor: products of sizes, of which some are rounded up to a multiple."""

    products: tuple[Product, ...]
    multiple: int = 1
    rounded: frozenset[int] | None = None  # extents that are; None for all

    def multiples(self, product: Product) -> tuple[int, ...]:
        return tuple(self.multiple if self.rounded is None or e in self.rounded else 1 for e in product.extents)

    def at(self, sizes: FloatArray) -> float:
        """Its value at given sizes (extents,)."""
        total = 0.0
        for product in self.products:
            value = product.constant
            for extent, multiple in zip(product.extents, self.multiples(product), strict=True):
                value *= float(np.ceil(sizes[extent] / multiple) * multiple)
            total += value
        return total


def columns(operator: Quantities) -> list[Column]:
    """The regressors of one operator, the constant first; equally many for every operator."""
    written = frozenset(e for product in operator.writes for e in product.extents)
    result = [Column((Product(1.0, ()),))]
    result += [Column(products) for products in (operator.writes, operator.reads, operator.weighs, operator.macs)]
    for multiple in MULTIPLES:
        result += [
            Column(operator.writes, multiple),
            Column(operator.macs, multiple),
            Column(operator.macs, multiple, written),
        ]
    return result


def fit(values: FloatArray, times_ms: FloatArray) -> FloatArray:
    """Coefficients (columns,), none negative, of `values` (calls, columns) for `times_ms` (calls,).

    Source: non-negative least squares, Lawson and Hanson 1974.
    """
    scale = values.max(0)
    used = scale > 0
    weight = 1 / np.maximum(times_ms, _SHORT_MS)
    found = np.zeros(values.shape[1])
    found[used], _ = nnls(values[:, used] / scale[used] * weight[:, None], times_ms * weight)
    found[used] /= scale[used]
    return found


def as_terms(operator: Quantities, coefficients: FloatArray) -> tuple[Term, ...]:
    """The fitted columns as terms, equal ones added up."""
    terms: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for column, coefficient in zip(columns(operator), coefficients, strict=True):
        for product in column.products if coefficient > 0 else ():
            key = (product.extents, column.multiples(product))
            terms[key] = terms.get(key, 0.0) + float(coefficient) * product.constant
    return tuple(Term(ms, extents, multiples) for (extents, multiples), ms in terms.items())


def whole(estimated_ms: Sequence[float], measured_ms: Sequence[float]) -> tuple[float, float]:
    """(milliseconds beside the operators, factor on their sum) that make estimates of whole passes what was measured.

    Every operator is called from Python, which takes as long whatever its width: mostly there is only the first. The
    factor is fitted where leaving every measured network out in turn says that it helps.
    """
    sums, times = np.asarray(estimated_ms, np.float64), np.asarray(measured_ms, np.float64)

    def beside(chosen: npt.NDArray[np.bool_]) -> tuple[float, float]:
        return max(float(np.median((times - sums)[chosen])), 0.0), 1.0

    def both(chosen: npt.NDArray[np.bool_]) -> tuple[float, float]:
        a = np.stack([np.ones(int(chosen.sum())), sums[chosen]], 1) / times[chosen, None]
        fixed, factor = nnls(a, np.ones(len(a)))[0]
        return float(fixed), float(factor)

    if len(times) < 4:
        return beside(np.ones(len(times), bool))
    errors = {}
    for way in (beside, both):
        left_out = []
        for i in range(len(times)):
            fixed, factor = way(np.arange(len(times)) != i)
            left_out.append(abs((fixed + factor * sums[i]) / times[i] - 1))
        errors[way] = float(np.mean(left_out))
    best = beside if errors[beside] <= errors[both] else both
    return best(np.ones(len(times), bool))
