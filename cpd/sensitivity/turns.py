"""Whose turn a group is, where a scan may be shared: what the scan asks, and the answer of one that is alone. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cpd.sensitivity.table import GroupSensitivity


@dataclass(frozen=True)
class Found:
    """What another worker measured of a group, and the dense network's latency beside it."""

    group: GroupSensitivity
    dense_latency_ms: float | None


class Alone:
    """Nobody to share with: every group in its turn. cpd/runs/shared_scan.py has the other answer."""

    def turns(self, names: Sequence[str], check: Callable[[], None]) -> Iterator[tuple[str, Found | None]]:
        """Each group once: with None to be measured now and given to `keep`, or with what another worker has found.

        Args:
            names: all groups, in the same order in every worker.
            check: called while others are waited for; may raise.
        """
        return ((name, None) for name in names)

    def keep(self, name: str, found: Found) -> None:
        """Told of every group that was measured here."""
