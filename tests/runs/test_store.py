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
from tests.within import join

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
    assert max(gaps) == 128  # the least power of two that leaves at most 99 buckets, of two points each
    store.advance("a", [(step, "loss", 0.0) for step in range(10_000, 10_040)])
    after = store.metrics("a", most=200)["loss"].steps
    assert set(before[:-1]) <= set(after)


@given(
    steps=hs.lists(hs.tuples(hs.integers(0, 3000), hs.integers(-50, 50)), min_size=1, max_size=200),
    back=hs.integers(-1, 3000),
    again=hs.lists(hs.tuples(hs.integers(0, 9000), hs.integers(-50, 50)), max_size=200),
    most=hs.integers(4, 40),
)
@settings(max_examples=80, deadline=None)
def test_a_thinned_series_keeps_every_peak_also_after_a_rewind(steps, back, again, most):
    """The least and the greatest value of the whole run survive any thinning that has room for one bucket."""
    store = fresh()
    truth = dict(steps)
    store.advance("a", [(step, "loss", float(v)) for step, v in truth.items()])
    store.rewind("a", back)
    truth = {step: v for step, v in truth.items() if step <= back}
    new = {step: v for step, v in again if step > back}
    store.advance("a", [(step, "loss", float(v)) for step, v in new.items()])
    truth |= new
    if not truth:
        assert store.metrics("a") == {}
        return
    series = store.metrics("a", most=most)["loss"]
    assert len(series.steps) <= most
    assert all(truth[step] == value for step, value in zip(series.steps, series.values, strict=True))
    if len(series.steps) > 2:  # as few as four points may not leave room for the one bucket that two ends lie in
        assert (min(series.values), max(series.values)) == (min(truth.values()), max(truth.values()))
    store.close()


def test_one_spike_in_a_hundred_thousand_steps_is_drawn():
    store = fresh()
    store.advance("a", [(step, "loss", 1.0) for step in range(100_000) if step != 70_123] + [(70_123, "loss", 9.0)])
    assert (70_123, 9.0) in set(zip(*vars(store.metrics("a", most=50)["loss"]).values(), strict=True))
    store.rewind("a", 70_122)
    assert max(store.metrics("a", most=50)["loss"].values) == 1.0


def test_a_long_run_is_read_as_fast_as_a_short_one():
    store = fresh()
    store.add("long", SPEC)
    names = ["train/loss", "train/lr", "val/top1"]
    store.advance("a", [(step, name, 1.0) for step in range(100) for name in names])
    store.advance("long", [(step, name, float(step)) for step in range(100_000) for name in names])

    def seconds(run: str) -> float:
        took = []
        for _ in range(5):
            start = time.perf_counter()
            store.metrics(run, most=100)
            took.append(time.perf_counter() - start)
        return min(took)

    # Walking 3 x 100,000 rows takes 50 ms and more; the buckets' rows and a hundred seeks a series take about one.
    assert seconds("long") < 10 * seconds("a") + 0.01


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path):
    """Written here as that version wrote it, by hand."""
    old = sqlite3.connect(tmp_path / "runs.db")
    old.executescript(
        "CREATE TABLE runs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, kind TEXT NOT NULL,"
        " spec TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, launched REAL NOT NULL DEFAULT 0,"
        " started REAL NOT NULL DEFAULT 0, finished REAL NOT NULL DEFAULT 0, updated REAL NOT NULL DEFAULT 0,"
        " stop_asked REAL NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,"
        " step INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '');"
        "CREATE TABLE metrics (run TEXT NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,"
        " PRIMARY KEY (run, name, step)) WITHOUT ROWID;"
        "CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, step INTEGER NOT NULL, kind TEXT NOT NULL,"
        " text TEXT NOT NULL, data TEXT NOT NULL, time REAL NOT NULL, UNIQUE (run, step, kind, text));"
        "PRAGMA user_version = 1;"
    )
    for name in ("one", "two"):
        spec = SPEC.to_json()
        old.execute(
            "INSERT INTO runs (id, project, kind, spec, state, created) VALUES (?, '', 'walk', ?, 'queued', 1.0)",
            (name, spec),
        )
    values = {step: float(step * 7919 % 1000) for step in range(3000)}
    old.executemany("INSERT INTO metrics VALUES ('one', ?, 'loss', ?)", values.items())
    old.execute("INSERT INTO metrics VALUES ('one', 5, 'bad', NULL)")
    old.commit()
    old.close()
    store = Store(tmp_path / "runs.db")
    assert [run.id for run in store.queue()] == ["one", "two"]
    series = store.metrics("one", ["loss"], most=20)["loss"]
    assert all(values[step] == value for step, value in zip(series.steps, series.values, strict=True))
    assert (min(series.values), max(series.values)) == (min(values.values()), max(values.values()))
    fresh_one = fresh()
    fresh_one.advance("a", [(step, "loss", value) for step, value in values.items()])
    assert fresh_one.metrics("a", most=20)["loss"] == series


def test_the_queue_can_be_reordered_and_others_keep_their_order():
    store = fresh()
    for name in "bcde":
        store.add(name, SPEC)
    store.launch("b")
    assert store.request_pause("d") == "paused"
    assert [run.id for run in store.queue()] == ["a", "c", "d", "e"]
    assert store.move("e", 0) == 0
    assert store.move("a", 99) == 3
    assert [run.id for run in store.queue()] == ["e", "c", "d", "a"]
    assert {run.id for run in store.unfinished()} == {"a", "b", "c", "e"}
    store.resume("d")
    assert [run.id for run in store.unfinished() if run.state == "queued"] == ["e", "c", "d", "a"]
    with pytest.raises(RunError, match="run b is running; only a waiting or paused run"):
        store.move("b", 0)


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
        (["pause"], "paused"),
        (["pause", "launch"], "paused"),
        (["pause", "resume"], "queued"),
        (["pause", "stop"], "stopped"),
        (["launch", "begin", "pause"], "pausing"),
        (["launch", "begin", "pause", "requeue"], "pausing"),
        (["launch", "begin", "pause", "stopped"], "paused"),
        (["launch", "begin", "pause", "finished"], "finished"),
        (["launch", "begin", "pause", "stop", "stopped"], "stopped"),
        (["launch", "begin", "stop", "pause", "stopped"], "stopped"),
        (["launch", "begin", "pause", "stopped", "resume", "launch"], "running"),
        (["launch", "begin", "halve"], "queued"),
        (["launch", "begin", "pause", "halve"], "pausing"),
    ],
)
def test_states_move_as_they_should(moves, state):
    store = fresh()
    do = {
        "launch": lambda: store.launch("a"),
        "begin": lambda: store.begin("a"),
        "stop": lambda: store.request_stop("a"),
        "pause": lambda: store.request_pause("a"),
        "halve": lambda: store.requeue_halved("a", "out of memory", 3),
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

    threads = [threading.Thread(target=write, args=(n,), daemon=True) for n in range(6)]
    for thread in threads:
        thread.start()
    join(threads, 60, "a writer")
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
