"""What a plan will come to: exact sizes, estimates of latency and accuracy, and measurements where there are any.

Cached reads of what the background work left in the project's folder: latency.json, sensitivity.json and trial.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import streamlit as st

from app import state
from cpd.errors import CpdError
from cpd.prune.cost import Cost
from cpd.prune.estimate import Estimate
from cpd.prune.latency import LatencyModel, LatencyTable
from cpd.prune.plan import Plan
from cpd.prune.predict import AccuracyModel
from cpd.prune.trial import FILE as TRIALS
from cpd.prune.trial import Trial, load_trials
from cpd.runs.project import Project
from cpd.sensitivity.table import FILE as SENSITIVITY
from cpd.sensitivity.table import SensitivityTable

LATENCY = "latency.json"


@dataclass(frozen=True)
class Outlook:
    """One plan's figures.

    Attributes:
        latency, quality: None where nothing is known; the dense model's beside them, for the difference.
        batch: batch size of the latency.
        metric: what `quality` is, "top1" or "miou".
        trial: the measurement of this very plan, None where there is none.
    """

    cost: Cost
    dense: Cost
    latency: Estimate | None
    quality: Estimate | None
    dense_latency: float | None
    dense_quality: float | None
    batch: int
    metric: str
    trial: Trial | None


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What is known of one project's model; shared by all sessions, never changed."""

    comb: state.Combed
    latency: LatencyModel | None
    accuracy: AccuracyModel | None
    sensitivity: SensitivityTable | None
    trials: Mapping[str, Trial]

    def of(self, plan: Plan) -> Outlook:
        """Measured where this very plan was measured, else estimated."""
        trial = self.trials.get(plan.digest)
        batch = self.latency.table.batch if self.latency else trial.pruned.latency[-1].batch if trial and trial.pruned.latency else 1
        latency = self.latency.estimate(plan.keep) if self.latency else None
        dense_latency = self._dense_latency
        quality = self.accuracy.estimate(plan.keep) if self.accuracy else None
        dense_quality = self.sensitivity.dense if self.accuracy and self.sensitivity else None
        metric = self.sensitivity.metric if self.sensitivity else ""
        if trial is not None:
            timed, before = trial.pruned.at(batch), trial.dense.at(batch)
            if timed is not None and before is not None:
                how = f"{timed.runs} passes at batch {batch} on {trial.pruned.machine}, from the 10th to the 90th percentile"
                latency = Estimate(timed.median_ms, timed.p10_ms, timed.p90_ms, True, how)
                dense_latency = before.median_ms
            if trial.pruned.quality is not None:
                low, high = interval(trial.pruned.quality, trial.pruned.images)
                how = f"cut for real, on {trial.pruned.images:,} held-out images" + (", batch-norm statistics taken anew" if trial.recalibrated else "")
                quality = Estimate(trial.pruned.quality, low, high, True, how)
                dense_quality, metric = trial.dense.quality, trial.pruned.metric
        return Outlook(self.comb.cost.price(plan.keep), self.comb.cost.dense, latency, quality, dense_latency, dense_quality, batch, metric, trial)

    @cached_property
    def _dense_latency(self) -> float | None:
        return self.latency.estimate({}).value if self.latency else None

    @cached_property
    def latency_shares(self) -> dict[str, float]:
        """For every group the share of the estimated time that hangs on it; {} before the profile."""
        if self.latency is None:
            return {}
        record = self.comb.record
        whole = self.latency.estimate({}).value
        shares = {}
        for group in record.groups:
            dead = np.zeros(record.atoms + 1, bool)
            first = record.first_unit[group.name]
            atoms = record.unit_atoms
            dead[atoms.values[atoms.start[first] : atoms.start[first + group.width]]] = True
            shares[group.name] = 1 - self.latency.milliseconds(dead) / whole
        return shares

    @cached_property
    def curves(self) -> dict[str, list[float]]:
        """For every group that was cut alone the metric from its full width downwards, 0..1."""
        if self.sensitivity is None:
            return {}
        return {name: [point.value for point in sorted(found.points, key=lambda p: -p.kept)] for name, found in self.sensitivity.groups.items()}

    def drop_alone(self, group: str, kept: int) -> float | None:
        """Points of accuracy that cutting this group alone to so many units is estimated to change; None before the scan."""
        if self.accuracy is None or self.sensitivity is None:
            return None
        return round(100 * (self.accuracy.estimate_counts({group: kept}).value - self.sensitivity.dense), 6) + 0.0  # no -0.0


def interval(share: float, images: int, z: float = 1.645) -> tuple[float, float]:
    """90 % interval of a share seen on so many images (Wilson 1927), which stays within 0..1."""
    if images < 1:
        return 0.0, 1.0
    middle = (share + z * z / (2 * images)) / (1 + z * z / images)
    off = z / (1 + z * z / images) * float(np.sqrt(share * (1 - share) / images + z * z / (4 * images * images)))
    return max(0.0, min(share, middle - off)), min(1.0, max(share, middle + off))


def knowledge(project: Project, comb: state.Combed) -> tuple[Knowledge, tuple[str, ...]]:
    """What is known, and in words which files could not be read."""
    home = state.folder(project)
    marks = tuple(state.stamp(home / name) for name in (LATENCY, SENSITIVITY, TRIALS))
    return _built(comb, state.stamp(home / "comb.json"), marks)


@st.cache_resource(max_entries=16, show_spinner=False)
def _built(_comb: state.Combed, mark: state.Stamp | None, marks: tuple[state.Stamp | None, ...]) -> tuple[Knowledge, tuple[str, ...]]:
    latency = accuracy = sensitivity = None
    trials: Mapping[str, Trial] = {}
    problems = []
    timed, sensed, tried = marks
    try:
        latency = LatencyModel(_comb.record, LatencyTable.load(Path(timed[0])), _comb.cost) if timed else None
    except CpdError as error:
        problems.append(str(error))
    try:
        sensitivity = SensitivityTable.load(Path(sensed[0])) if sensed else None
        if sensitivity is not None and any(len(found.points) for found in sensitivity.groups.values()):
            accuracy = AccuracyModel(_comb.record, sensitivity)
    except CpdError as error:
        sensitivity = None
        problems.append(str(error))
    try:
        trials = load_trials(Path(tried[0])) if tried else {}
    except CpdError as error:
        problems.append(str(error))
    return Knowledge(_comb, latency, accuracy, sensitivity, trials), tuple(problems)
