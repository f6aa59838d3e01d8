"""The run store: replays, thinning, states, and what happens when the file is locked, damaged or from the future."""

from __future__ import annotations

import math
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from cpd.errors import RunError, StorageError
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store, StoreBusy

SPEC = RunSpec("walk", options={"steps": 3})

rows = hs.lists(
    hs.tuples(hs.integers(0, 50), hs.sampled_from(["train/loss", "val/top1", "width/a"]), hs.floats(allow_nan=False)),
    max_size=40,
)


def fresh() -> Store:
    store = Store(Path(tempfile.mkdtemp()) / "runs.db")
    store.add("a", SPEC)
    return store


def plain(store: Store, run: str = "a") -> dict[str, dict[int, float]]:
    return {name: dict(zip(s.steps, s.values, strict=True)) for name, s in store.metrics(run).items()}


@given(first=rows, again=rows)
@settings(max_examples=40, deadline=None)
def test_a_replay_overwrites_and_never_duplicates(first, again):
    store = fresh()
    for part in (first, again, again):
        store.advance("a", part)
    expected: dict[str, dict[int, float]] = {}
    for step, name, value in [*first, *again]:
        expected.setdefault(name, {})[step] = value
    assert plain(store) == expected
    store.close()


@given(
    steps=hs.sets(hs.integers(0, 5000), min_size=1, max_size=300), most=hs.integers(2, 60), since=hs.integers(-1, 5000)
)
@settings(max_examples=80, deadline=None)
def test_a_thinned_series_keeps_its_ends_and_invents_nothing(steps, most, since):
    store = fresh()
    store.advance("a", [(step, "loss", step * 0.5) for step in steps])
    left = sorted(step for step in steps if step > since)
    series = store.metrics("a", ["loss"], since_step=since, most=most)["loss"]
    assert list(series.values) == [step * 0.5 for step in series.steps]
    assert list(series.steps) == sorted(set(series.steps) & set(left))
    assert len(series.steps) == len(left) if len(left) <= most else len(series.steps) <= most
    if left:
        assert (series.steps[0], series.steps[-1]) == (left[0], left[-1])
    store.close()


def test_thinning_spreads_points_evenly_and_holds_still_while_a_run_grows():
    store = fresh()
    store.advance("a", [(step, "loss", 0.0) for step in range(10_000)])
    before = store.metrics("a", most=200)["loss"].steps
    gaps = {b - a for a, b in zip(before, before[1:], strict=False)}
    assert len(before) > 100
    assert max(gaps) == 64  # the least power of two that leaves at most 200 points
    store.advance("a", [(step, "loss", 0.0) for step in range(10_000, 10_040)])
    after = store.metrics("a", most=200)["loss"].steps
    assert set(before[:-1]) <= set(after)


def test_a_long_run_is_read_as_fast_as_a_short_one():
    store = fresh()
    store.add("long", SPEC)
    names = ["train/loss", "train/lr", "val/top1"]
    store.advance("a", [(step, name, 1.0) for step in range(100) for name in names])
    store.advance("long", [(step, name, 1.0) for step in range(100_000) for name in names])

    def seconds(run: str) -> float:
        took = []
        for _ in range(5):
            start = time.perf_counter()
            store.metrics(run, most=100)
            took.append(time.perf_counter() - start)
        return min(took)

    # Walking 3 x 100,000 rows takes 50 ms and more; a hundred seeks a series take about one.
    assert seconds("long") < 10 * seconds("a") + 0.005


def test_patterns_pick_metrics_and_nan_comes_back():
    store = fresh()
    store.advance(
        "a", [(0, "width/layer1", 8.0), (0, "width/layer2", 4.0), (0, "train/loss", math.nan), (1, "x", math.inf)]
    )
    assert set(store.metrics("a", ["width/*"])) == {"width/layer1", "width/layer2"}
    assert math.isnan(store.metrics("a", ["train/loss"])["train/loss"].values[0])
    assert store.metrics("a", ["x"])["x"].values == (math.inf,)
    assert store.names("a") == ["train/loss", "width/layer1", "width/layer2", "x"]
    assert store.names("nobody") == []


def test_rewind_forgets_what_will_be_recorded_again_but_not_what_happened_to_the_process():
    store = fresh()
    store.advance("a", [(step, "loss", 1.0) for step in range(10)])
    for step, kind in [(2, "cut"), (7, "cut"), (8, "error"), (9, "eval")]:
        store.add_event("a", step, kind, f"{kind} at {step}", {"step": step})
    store.rewind("a", 5)
    assert store.metrics("a")["loss"].steps == (0, 1, 2, 3, 4, 5)
    assert [(e.step, e.kind, e.data) for e in store.events("a")] == [(2, "cut", {"step": 2}), (8, "error", {"step": 8})]


def test_the_same_event_again_stays_one():
    store = fresh()
    store.add_event("a", 3, "cut", "8 units of layer1", {"macs": 1.0})
    number = store.events("a")[0].number
    store.add_event("a", 3, "cut", "8 units of layer1", {"macs": 0.9})
    store.add_event("a", 3, "cut", "8 units of layer2", {"macs": 0.8})
    assert [e.data["macs"] for e in store.events("a", kinds=["cut"])] == [0.9, 0.8]
    assert [e.text for e in store.events("a", since=number)] == ["8 units of layer2"]


@pytest.mark.parametrize(
    "moves, state",
    [
        (["launch", "begin"], "running"),
        (["launch", "begin", "stop"], "stopping"),
        (["launch", "begin", "stop", "begin"], "stopping"),
        (["stop"], "stopped"),
        (["stop", "launch"], "stopped"),
        (["launch", "finished", "failed"], "finished"),
        (["launch", "finished", "stop", "resume"], "finished"),
        (["launch", "failed", "resume"], "queued"),
        (["launch", "stop", "stopped", "resume", "launch"], "running"),
        (["launch", "begin", "requeue"], "queued"),
        (["launch", "begin", "stop", "requeue"], "stopping"),
    ],
)
def test_states_move_as_they_should(moves, state):
    store = fresh()
    do = {
        "launch": lambda: store.launch("a"),
        "begin": lambda: store.begin("a"),
        "stop": lambda: store.request_stop("a"),
        "resume": lambda: store.resume("a"),
        "requeue": lambda: store.requeue("a", 0.0),
    }
    for move in moves:
        do.get(move, lambda move=move: store.finish("a", move))()
    assert store.run("a").state == state


def test_lists_are_ordered_and_filtered():
    store = fresh()
    store.add("b", RunSpec("comb", project="digits"))
    store.add("c", RunSpec("score", project="digits"))
    assert [run.id for run in store.list_runs()] == ["c", "b", "a"]
    assert [run.id for run in store.list_runs(project="digits", kinds=["comb"])] == ["b"]
    assert [run.id for run in store.list_runs(project="")] == ["a"]
    assert [run.id for run in store.unfinished()] == ["a", "b", "c"]
    assert store.run("b").spec == RunSpec("comb", project="digits")
    with pytest.raises(RunError, match="no run 'nobody'"):
        store.run("nobody")


def test_a_locked_database_is_reported_in_time_and_reading_goes_on(tmp_path):
    store = Store(tmp_path / "runs.db", patience_s=0.3)
    store.add("a", SPEC)
    other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    with pytest.raises(StoreBusy, match=r"runs\.db: locked by another process for 0\.3 s"):
        store.advance("a", [(0, "loss", 1.0)])
    assert time.monotonic() - start < 3
    assert store.run("a").state == "queued"
    other.execute("ROLLBACK")
    store.advance("a", [(0, "loss", 1.0)])
    assert store.metrics("a")["loss"].values == (1.0,)


def test_many_writers_lose_nothing(tmp_path):
    Store(tmp_path / "runs.db").add("a", SPEC)
    errors = []

    def write(number: int) -> None:
        store = Store(tmp_path / "runs.db")
        try:
            for step in range(25):
                store.advance("a", [(step, f"m{number}", float(number))])
        except RunError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert {n: len(s.steps) for n, s in Store(tmp_path / "runs.db").metrics("a").items()} == {
        f"m{n}": 25 for n in range(6)
    }


def test_damaged_future_and_unreachable_files_are_named(tmp_path):
    (tmp_path / "bad.db").write_bytes(b"not a database at all" * 400)
    with pytest.raises(StorageError, match=r"bad\.db: the run store is damaged"):
        Store(tmp_path / "bad.db").list_runs()
    later = sqlite3.connect(tmp_path / "later.db")
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(StorageError, match="version 99"):
        Store(tmp_path / "later.db").list_runs()
    with pytest.raises(StorageError, match="cannot read or write the run store"):
        Store(tmp_path / "nowhere" / "runs.db").list_runs()


def test_what_is_written_is_synced_and_logged_ahead(tmp_path):
    store = Store(tmp_path / "runs.db")
    store.add("a", SPEC)
    with store._transaction() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
