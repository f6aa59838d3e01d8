"""Improve a plan at the same cost: give groups units back, and take from others what pays for them.

Removing the cheapest chunk first is blind to what later cuts do to the price of earlier ones. What it leaves is improved
as long as groups can trade units so that less is lost and the network takes no more than before: one grows and several
pay, or one pays for several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cpd.prune.living import Living
from cpd.prune.order import Damage
from cpd.prune.quantity import Quantity

Cluster = tuple[str, ...]

_STEPS = (3, 8, 16, 32)  # a trade moves about the width over this, and never less than one legal step
_ROUNDS, _TRADES, _TRIES = 10, 12, 60  # bounds on the work: rounds of pricing every step, trades and tries after each


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
    slack = bound - meter.at(living.sizes)
    dear = sorted(wider, key=lambda s: -s.gain / max(s.price, 1e-15))
    cheap = sorted(narrower, key=lambda s: -s.gain / max(-s.price, 1e-15))
    trades = [_bundle(None, dear, slack), *(_bundle(step, dear, slack) for step in narrower)]
    trades += [_covered(step, cheap, slack) for step in wider]
    found = [trade for trade in trades if trade and sum(s.gain for s in trade) > 1e-9]
    found.sort(key=lambda trade: -sum(s.gain for s in trade))
    used: set[Cluster] = set()
    done = 0
    for trade in found[:_TRIES]:
        names = {s.names for s in trade}
        if names & used or done == _TRADES:
            continue
        counts = {name: s.to for s in trade for name in s.names}
        # Neighbours price each other: the trade is checked whole.
        if meter.at(living.sizes_at(counts)) <= bound + 1e-12:
            living.move(counts)
            used |= names
            done += 1
    return done > 0


def _bundle(payer: _Step | None, dear: Sequence[_Step], slack: float) -> list[_Step]:
    """What one group's step down can buy, the most for its price first."""
    left = slack - (payer.price if payer else 0.0)
    taken, names = ([payer], {payer.names}) if payer else ([], set())
    for step in dear:
        if step.names not in names and step.price <= left:
            taken.append(step)
            names.add(step.names)
            left -= step.price
    return taken if len(taken) > (payer is not None) else []


def _covered(grown: _Step, cheap: Sequence[_Step], slack: float) -> list[_Step]:
    """What pays for one group's step up, the least lost for what it saves first."""
    missing = grown.price - slack
    taken, names = [grown], {grown.names}
    for step in cheap:
        if missing <= 0:
            break
        if step.names not in names and step.price < 0:
            taken.append(step)
            names.add(step.names)
            missing += step.price
    return taken if missing <= 0 else []
