"""Which runs start where, when there are several machines: the policy holds on each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cpd.runs.policy import Policy, startable
from cpd.runs.rows import Run


def spread(
    waiting: Sequence[Run], working: Mapping[str, Sequence[Run]], places: Sequence[str], policy: Policy, now: float
) -> list[tuple[Run, str]]:
    """(run, place) of those that may start now, in the order of the queue; the place with the least to do comes first.

    Args:
        working: who is at work at which place.
    """
    busy = {place: list(working.get(place, ())) for place in places}
    if len(places) == 1:
        return [(run, places[0]) for run in startable(waiting, busy[places[0]], policy, now)]
    left = list(waiting)
    chosen: list[tuple[Run, str]] = []
    while True:
        free = (
            (place, startable(left, busy[place], policy, now)) for place in sorted(busy, key=lambda p: len(busy[p]))
        )
        place, runs = next(((place, runs) for place, runs in free if runs), ("", []))
        if not runs:
            return chosen
        chosen.append((runs[0], place))
        busy[place].append(runs[0])
        left.remove(runs[0])
