"""Estimates of latency: by hand, through the disk, and with an interval that follows from the checks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cpd.comb.comb import comb
from cpd.comb.record import CombRecord
from cpd.errors import PlanError, StorageError
from cpd.prune.latency import Check, LatencyModel, LatencyTable, OperatorTime, Term


@pytest.fixture(scope="module")
def record() -> CombRecord:
    model = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, 2))
    return comb(model.eval(), (torch.randn(2, 4),)).record


def table(record: CombRecord, **other: object) -> LatencyTable:
    """The second layer takes 0.01 ms a multiplication, its inputs in vectors of 8, and 0.5 ms for being called."""
    layer = next(o for o in record.operators if len(o.extents) == 2)
    wide = next(e for e in layer.extents if len(record.extents.row(e)) == 24)
    narrow = next(e for e in layer.extents if len(record.extents.row(e)) == 10)
    terms = (Term(0.5), Term(0.01, (wide, narrow), (8, 1)))
    rows = (OperatorTime("linear_1", "2", "linear", terms),)
    base = LatencyTable(record.model, 1, "cpu", "a machine", "2", 1, "float32", rows, fixed_ms=0.25)
    return replace(base, **other)  # type: ignore[arg-type]


def names(record: CombRecord) -> tuple[str, str]:
    first, second = [g.name for g in record.groups if g.prunable]
    return first, second


def test_terms_by_hand(record: CombRecord) -> None:
    model = LatencyModel(record, table(record))
    wide, narrow = names(record)
    assert model.estimate({}).value == pytest.approx(0.25 + 0.5 + 0.01 * 24 * 10)
    # 17 inputs cost what 24 do, 16 cost what they are.
    assert model.estimate({wide: range(17)}).value == pytest.approx(0.75 + 0.01 * 24 * 10)
    assert model.estimate({wide: range(16), narrow: range(3)}).value == pytest.approx(0.75 + 0.01 * 16 * 3)
    assert model.by_operator({wide: range(9)}) == pytest.approx([0.5 + 0.01 * 16 * 10])
    both = model.estimate_many([{}, {wide: range(8)}])
    assert [e.value for e in both] == pytest.approx([3.15, 0.75 + 0.01 * 80])


def test_axes_of_its_own_are_counted(record: CombRecord) -> None:
    wide, _ = names(record)
    number = next(i for i, g in enumerate(record.groups) if g.name == wide)
    first = record.first_unit[record.groups[number].name]
    atoms = [int(record.unit_atoms.row(first + u)[0]) for u in range(24)]
    row = OperatorTime("cat", "", "cat", (Term(1.0, (len(record.extents),), (1,)),))
    model = LatencyModel(record, table(record, operators=(row,), extents=((*atoms, -1, -1),), fixed_ms=0.0))
    assert model.estimate({}).value == 26
    assert model.estimate({wide: range(5)}).value == 7


def test_the_interval_follows_from_the_checks(record: CombRecord) -> None:
    unknown = LatencyModel(record, table(record)).estimate({})
    sharp = LatencyModel(record, table(record, checks=tuple(Check(1.02, 1.0) for _ in range(20)))).estimate({})
    blunt = LatencyModel(record, table(record, checks=tuple(Check(1.2, 1.0) for _ in range(20)))).estimate({})
    assert sharp.high - sharp.low < blunt.high - blunt.low < unknown.high * 1.2
    assert not sharp.measured
    assert "20 random plans" in sharp.how
    rng = np.random.default_rng(0)
    errors = rng.normal(0, 0.1, 4000)
    many = table(record, checks=tuple(Check(1 + e, 1.0) for e in errors))
    drift = rng.normal(0, 0.06, 4000)  # from one hour to the next
    assert np.mean(np.abs(errors + drift) <= many.spread) == pytest.approx(0.9, abs=0.02)


def test_a_table_survives_the_disk(record: CombRecord, tmp_path: Path) -> None:
    whole = table(record, checks=(Check(1.0, 1.1),), extents=((0, -1),), dense_ms=3.0, seconds=2.0)
    whole.save(tmp_path / "latency.json")
    assert LatencyTable.load(tmp_path / "latency.json") == whole


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "operators": 3}'])
def test_files_that_are_no_tables_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "latency.json").write_text(text)
    with pytest.raises(StorageError, match=r"latency\.json"):
        LatencyTable.load(tmp_path / "latency.json")


def test_an_unknown_field_is_refused(record: CombRecord, tmp_path: Path) -> None:
    (tmp_path / "latency.json").write_text(json.dumps(table(record).to_dict() | {"surprise": 1}))
    with pytest.raises(StorageError, match="surprise"):
        LatencyTable.load(tmp_path / "latency.json")


def test_a_table_of_another_model_is_refused(record: CombRecord) -> None:
    with pytest.raises(PlanError, match="another model"):
        LatencyModel(record, table(record, model="other"))
