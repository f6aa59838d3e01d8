"""How far criteria agree, group by group, and how steady each is: rank correlations, and what they come to in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from cpd.importance.stability import ranks

Scores = Mapping[str, Mapping[str, npt.NDArray[np.float64]]]  # criterion -> group -> (width,)
Pairs = dict[tuple[str, str], list[float]]  # correlation per group; NaN where a list is constant or has one unit

CONTROL = "random"  # agrees with nothing by design: no disagreement worth a word
APART = 0.3  # below this two rankings have little in common
SHAKY = 0.7  # below this a ranking would change with other batches


def by_group(scores: Scores, groups: Sequence[str]) -> Pairs:
    """Correlation of every pair of criteria in every group. Each list is ranked once: pairs are many and ranks are dear."""
    ranked = {name: [_direction(found[group]) if group in found else None for group in groups] for name, found in scores.items()}
    return {
        (a, b): [float(x @ y) if x is not None and y is not None and len(x) == len(y) else float("nan") for x, y in zip(ranked[a], ranked[b], strict=True)]
        for a, b in combinations(scores, 2)
    }


def _direction(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Centred ranks of length one, whose products are Spearman's correlations; None where there is no order."""
    x = ranks(values)
    x = x - x.mean()
    size = float(np.sqrt(x @ x))
    return x / size if size else None


def matrix(pairs: Pairs, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Mean over groups, as a symmetric matrix with ones on its diagonal."""
    table = np.eye(len(names))
    for (a, b), values in pairs.items():
        i, j = names.index(a), names.index(b)
        table[i, j] = table[j, i] = mean(values)
    return table


def mean(values: Sequence[float]) -> float:
    """Of those that are known; NaN where none is."""
    known = [v for v in values if v == v]
    return float(np.mean(known)) if known else float("nan")


def pairs(found: Pairs, names: Sequence[str]) -> dict[str, list[float]]:
    """The same under names that a legend can show."""
    return {f"{a} and {b}": values for (a, b), values in found.items()}


@dataclass(frozen=True)
class Dispute:
    """Two criteria that rank the units of one group differently.

    Attributes:
        correlation: of their ranks, -1..1.
        shared: of the half that one would cut, the share that the other would cut too; 0.5 is what chance gives.
    """

    a: str
    b: str
    group: str
    correlation: float
    shared: float


def disputes(scores: Scores, found: Pairs, groups: Sequence[str], limit: float = APART) -> list[Dispute]:
    """Where two criteria have little in common, the worst first; the random control is left out."""
    rows = [
        Dispute(a, b, group, value, shared_half(scores[a][group], scores[b][group]))
        for (a, b), values in found.items()
        if CONTROL not in (a, b)
        for group, value in zip(groups, values, strict=True)
        if value < limit
    ]
    return sorted(rows, key=lambda row: row.correlation)


def shared_half(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Of the lower half by `a`, the share that is in the lower half by `b` too."""
    half = max(1, len(a) // 2)
    low = [set(np.argsort(np.asarray(values), kind="stable")[:half].tolist()) for values in (a, b)]
    return len(low[0] & low[1]) / half


def verdict(found: Pairs, scores: Scores, groups: Sequence[str], steady: Mapping[str, Mapping[str, float]], most: int = 4) -> list[str]:
    """What a person should know before trusting one criterion, in sentences; Markdown.

    Args:
        steady: criterion -> group -> estimated rank correlation with scores from as many other batches.
    """
    real = {pair: values for pair, values in found.items() if CONTROL not in pair}
    if not real:
        return []
    said = []
    overall = {pair: mean(values) for pair, values in real.items()}
    known = {pair: value for pair, value in overall.items() if value == value}
    if known:
        best, worst = max(known, key=lambda pair: known[pair]), min(known, key=lambda pair: known[pair])
        said.append(f"**{best[0]}** and **{best[1]}** agree most ({signed(known[best])} on average over the groups)"
                    + (f"; **{worst[0]}** and **{worst[1]}** least ({signed(known[worst])})." if worst != best else "."))  # fmt: skip
    apart = disputes(scores, real, groups)
    where = list(dict.fromkeys(row.group for row in apart))
    if not apart:
        said.append(f"No two of them disagree in any group (all correlations are {APART} or more): the choice of criterion matters little here.")
        return said
    said.append(f"In {len(where)} of {len(groups)} groups at least two criteria have little in common (below {APART}): measure before trusting either there.")
    seen: set[str] = set()
    for row in apart:
        if row.group in seen or len(seen) == most:
            continue
        seen.add(row.group)
        how = "opposite orders" if row.correlation < -APART else "unrelated orders"
        line = (f"`{row.group}`: **{row.a}** and **{row.b}** give {how} ({signed(row.correlation)}); of the half that one would cut, "
                f"the other would cut {100 * row.shared:.0f} %")  # fmt: skip
        shaky = [name for name in (row.a, row.b) if steady.get(name, {}).get(row.group, 1.0) < SHAKY]
        said.append(line + (f". {' and '.join(shaky)} would change with other batches, so score on more." if shaky else "."))
    return said


def steadiness(name: str, per_group: Mapping[str, float], parts: int) -> str:
    """How well one criterion's order would come out again from as many other batches, in a sentence; Markdown."""
    known = {group: value for group, value in per_group.items() if value == value}
    if not known:
        return f"**{name}**: no group has an order to compare."
    middle, worst = mean(list(known.values())), min(known, key=lambda group: known[group])
    shaky = sum(value < SHAKY for value in known.values())
    text = f"**{name}**: would repeat at {signed(middle)} on average, by {parts} parts of its batches; least in `{worst}` ({signed(known[worst])})"
    return text + (f". {shaky} of {len(known)} groups are below {SHAKY}: score on more batches." if shaky else ". Steady everywhere.")


def signed(value: float) -> str:
    """Two digits, with a real minus."""
    return f"{value:.2f}".replace("-", "−")
