"""Improve a plan at the same cost: give a group units back, and take from another what pays for them.

Removing the cheapest chunk first is blind to what later cuts do to the price of earlier ones. What it leaves is improved
as long as some pair of groups can trade units so that less is lost and the network takes no more than before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cpd.prune.living import Living
from cpd.prune.order import Damage
from cpd.prune.quantity import Quantity

Cluster = tuple[str, ...]
FloatArray = npt.NDArray[np.float64]

_STEPS = (4, 8, 16, 32)  # a trade moves about the width over this, and never less than one legal step
_ROUNDS, _TRADES = 12, 16  # bounds on the work: rounds of pricing every step, and trades after each


def improve(
    living: Living,
    meter: Quantity,
    bound: float,
    free: Sequence[Cluster],
    legal: Mapping[Cluster, Sequence[int]],
    damage: Damage,
) -> None:
    """Trade units between the free groups until it does not help any more; `living` is changed in place.

    Args:
        bound: the most that the network may take; what it takes less is spent first.
        legal: ascending counts that each group may keep.
        damage: what cutting a group down to so many units costs.
    """
    for _ in range(_ROUNDS):
        wider = [step for names in free for step in _steps(living, meter, names, legal[names], damage, up=True)]
        narrower = [step for names in free for step in _steps(living, meter, names, legal[names], damage, up=False)]
        if not _trade(living, meter, bound, wider, narrower):
            return


class _Step:
    """One group at another count: what is lost less (or more), and what the network takes more (or less)."""

    def __init__(self, names: Cluster, to: int, gain: float, price: float) -> None:
        self.names, self.to, self.gain, self.price = names, to, gain, price


def _steps(
    living: Living, meter: Quantity, names: Cluster, legal: Sequence[int], damage: Damage, up: bool
) -> list[_Step]:
    here, width = living.counts[names[0]], len(living.order[names[0]])
    widths = np.asarray(legal)
    counts: set[int] = set()
    for part in _STEPS:
        far = max(1, width // part)
        found = widths[widths >= here + far][:1] if up else widths[widths <= here - far][-1:]
        counts.update(int(w) for w in found)
    before, curve = meter.at(living.sizes), damage[names[0]]
    result = []
    for to in counts:
        gain = float(curve[here] - curve[to])
        if up and gain <= 0:
            continue
        result.append(_Step(names, to, gain, meter.at(living.sizes_at(dict.fromkeys(names, to))) - before))
    return result


def _trade(living: Living, meter: Quantity, bound: float, wider: list[_Step], narrower: list[_Step]) -> bool:
    """Carry out the best trades among these steps, each group in one of them; whether there were any."""
    if not wider:
        return False
    amount = meter.at(living.sizes)
    nothing = _Step((), 0, 0.0, 0.0)  # paid for by what is left of the bound
    payers = [nothing, *narrower]
    gains = np.array([s.gain for s in wider])[:, None] + np.array([s.gain for s in payers])
    prices = np.array([s.price for s in wider])[:, None] + np.array([s.price for s in payers])
    gains = np.where(prices <= bound - amount + 1e-12, gains, -np.inf)
    order = np.argsort(-gains, axis=None, kind="stable")
    used: set[Cluster] = set()
    done = 0
    for place in order[: 40 * _TRADES]:
        row, column = divmod(int(place), len(payers))
        if gains[row, column] <= 1e-9 or done == _TRADES:
            break
        grown, paid = wider[row], payers[column]
        if grown.names == paid.names or {grown.names, paid.names} & used:
            continue
        counts = dict.fromkeys(grown.names, grown.to) | dict.fromkeys(paid.names, paid.to)
        if meter.at(living.sizes_at(counts)) <= bound + 1e-12:  # neighbours price each other: the pair is checked whole
            living.move(counts)
            used |= {grown.names, paid.names} - {()}
            done += 1
    return done > 0
