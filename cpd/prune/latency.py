"""Milliseconds of any plan, by arithmetic on what was measured on this machine.

An operator's time is a sum of terms, each so many milliseconds for every element of a product of axis sizes: what it
multiplies, what it reads, what it writes, and a constant for being called at all. Kernels work on vectors of channels,
so a term may count an axis rounded up to a multiple: that is the staircase. The sizes are counts of living atoms, as in `cost.py`; the
milliseconds come from `cpd.measure.operators`, which times every operator at several widths, fits the terms, and
checks their sum against whole models that were not fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cpd.comb.record import CombRecord, Ragged
from cpd.errors import PlanError, StorageError
from cpd.files import read_json, write_json
from cpd.prune.cost import CostModel, Keep
from cpd.prune.estimate import Estimate

SCHEMA = 1
_HOURS = 0.06  # relative; seen between profiles and later measurements on a machine with two cores and neighbours


@dataclass(frozen=True)
class Term:
    """Milliseconds for every element of a product of axis sizes.

    Attributes:
        ms: per element; sizes that no plan changes are multiplied into it.
        extents: axes whose living sizes are multiplied; numbers below the record's count are the record's extents, the
            rest are the table's own. None for a constant.
        multiples: what each of those sizes is rounded up to; 1 for as it is.
    """

    ms: float
    extents: tuple[int, ...] = ()
    multiples: tuple[int, ...] = ()


@dataclass(frozen=True)
class OperatorTime:
    """One operator of the traced graph and what it takes."""

    name: str  # graph node
    module: str
    kind: str  # "conv2d"
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Check:
    """One whole model that was timed and not fitted."""

    estimated_ms: float
    measured_ms: float

    @property
    def error(self) -> float:
        """Relative, signed; 0.1 for an estimate 10 % too high."""
        return self.estimated_ms / self.measured_ms - 1


@dataclass(frozen=True)
class LatencyTable:
    """What one forward pass of one model takes on one machine, as terms.

    Attributes:
        model: digest of the architecture, as in the comb's record.
        batch, device, machine, torch, threads, dtype: what was timed, where and how.
        extents: atoms of the axes that the record has no extent for.
        fixed_ms: what a pass takes beside its operators.
        checks: held-out random plans, from which the error of an estimate follows.
        dense_ms: the dense model as measured.
        seconds: that the profile took.
    """

    model: str
    batch: int
    device: str
    machine: str
    torch: str
    threads: int
    dtype: str
    operators: tuple[OperatorTime, ...]
    extents: tuple[tuple[int, ...], ...] = ()
    fixed_ms: float = 0.0
    checks: tuple[Check, ...] = ()
    dense_ms: float = 0.0
    seconds: float = 0.0

    @property
    def median_error(self) -> float:
        """Median of the absolute relative errors over the held-out plans; 0 where there are none."""
        return float(np.median([abs(c.error) for c in self.checks])) if self.checks else 0.0

    @property
    def spread(self) -> float:
        """Half width of the 90 % interval of an estimate, as a share of it.

        The root mean square of the held-out errors, and of how far a machine's own times differ from one hour to the
        next, times the 95 % point of a normal distribution, widened for how few the checks are (a prediction from n
        observations, after Student's t as approximated by 1 + 2/n); a quarter where nothing was held out.
        """
        if not self.checks:
            return 0.25
        errors = np.array([c.error for c in self.checks])
        return float(1.645 * np.sqrt((errors**2).mean() + _HOURS**2) * (1 + 2 / len(errors)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"schema": SCHEMA} | asdict(self)

    def save(self, path: Path) -> None:
        """Write the table whole or not at all."""
        write_json(path, self.to_dict())

    @staticmethod
    def from_dict(row: Any, source: str = "latency table") -> LatencyTable:
        """Raises StorageError for anything that `to_dict` did not give."""
        try:
            row = dict(row)
            if row.pop("schema") != SCHEMA:
                raise StorageError(f"{source}: another schema than {SCHEMA}; profile the model again.")
            operators = tuple(
                OperatorTime(
                    o["name"],
                    o["module"],
                    o["kind"],
                    tuple(Term(float(t["ms"]), tuple(t["extents"]), tuple(t["multiples"])) for t in o["terms"]),
                )
                for o in row.pop("operators")
            )
            extents = tuple(tuple(int(a) for a in e) for e in row.pop("extents"))
            checks = tuple(Check(**c) for c in row.pop("checks"))
            return LatencyTable(operators=operators, extents=extents, checks=checks, **row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{source}: not a latency table ({error}); profile the model again.") from error

    @staticmethod
    def load(path: Path) -> LatencyTable:
        """Read what `save` wrote.

        Raises:
            StorageError: the file is missing, of another schema, or damaged.
        """
        return LatencyTable.from_dict(read_json(path), str(path))


class LatencyModel:
    """Prices plans of one comb in milliseconds; an estimate takes well under a millisecond at 150 groups."""

    def __init__(self, record: CombRecord, table: LatencyTable, costs: CostModel | None = None) -> None:
        """`costs` of the same record, where there is one already, is used for its arithmetic.

        Raises:
            PlanError: the table was measured for another model.
        """
        if table.model != record.model:
            raise PlanError("this latency was measured for another model; profile this one.")
        self.table = table
        self.costs = costs or CostModel(record)
        self._own = Ragged.of(table.extents)
        self._atom_at = np.where(self._own.values < 0, record.atoms, self._own.values)
        products: dict[tuple[tuple[int, int], ...], int] = {}  # many operators share theirs: each is multiplied once
        product_of, operator_of, ms = [], [], []
        for number, operator in enumerate(table.operators):
            for term in operator.terms:
                key = tuple(sorted(zip(term.extents, term.multiples, strict=True)))
                product_of.append(products.setdefault(key, len(products)))
                operator_of.append(number)
                ms.append(term.ms)
        self._product_of, self._operator_of = np.array(product_of, np.int64), np.array(operator_of, np.int64)
        self._ms = np.array(ms, np.float64)
        self._ms_of_product = np.bincount(self._product_of, self._ms, len(products)).astype(np.float64)
        self._multiples = sorted({m for key in products for _, m in key} | {1})
        count = len(record.extents) + len(table.extents)
        longest = max((len(key) for key in products), default=0)
        last = count * len(self._multiples)  # behind the sizes, the size 1
        self._index = np.full((len(products), max(longest, 1)), last, np.int64)
        for key, row in products.items():
            self._index[row, : len(key)] = [count * self._multiples.index(m) + e for e, m in key]

    def estimate(self, keep: Keep) -> Estimate:
        """Milliseconds of one pass of the network that keeps `keep`, at the table's batch size."""
        return self._with_error(self.milliseconds(self.costs.dead(keep)))

    def estimate_many(self, keeps: Sequence[Keep]) -> list[Estimate]:
        """One estimate for each of several plans."""
        return [self.estimate(keep) for keep in keeps]

    def milliseconds(self, dead: npt.NDArray[np.bool_]) -> float:
        """The same for a network without the dead atoms, as a bare number."""
        return self.of_sizes(self.sizes(dead))

    def by_operator(self, keep: Keep) -> npt.NDArray[np.float64]:
        """(operators,) milliseconds of every operator in the table's order."""
        products = self._products(self.sizes(self.costs.dead(keep)))
        times = self._ms * products[self._product_of]
        return np.bincount(self._operator_of, times, len(self.table.operators)).astype(np.float64)

    def sizes(self, dead: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """(extents,) living size of the record's extents and then of the table's own."""
        shared = self.costs.sizes(dead)[:-1] if len(self.costs.record.extents) else np.zeros(0)
        if not len(self._own):
            return shared
        alive = (~dead)[self._atom_at].astype(np.float64)
        return np.concatenate([shared, np.add.reduceat(alive, self._own.start[:-1])])

    def of_sizes(self, sizes: npt.NDArray[np.float64]) -> float:
        """Milliseconds at given sizes of all extents."""
        return self.table.fixed_ms + float(self._ms_of_product @ self._products(sizes))

    def _products(self, sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Every product of rounded sizes that a term multiplies."""
        rounded = [sizes if m == 1 else np.ceil(sizes / m) * m for m in self._multiples]
        found: npt.NDArray[np.float64] = np.concatenate([*rounded, [1.0]])[self._index].prod(1)
        return found

    def _with_error(self, value: float) -> Estimate:
        t = self.table
        off = t.spread
        how = f"sum of {len(t.operators)} operators measured at batch {t.batch} on {t.machine}, {t.threads} thread(s)"
        if t.checks:
            how += f"; off by {t.median_error:.0%} in the median over {len(t.checks)} random plans that were not fitted"
        return Estimate(value, value / (1 + off), value * (1 + off), False, how)
