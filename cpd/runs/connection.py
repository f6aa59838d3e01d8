"""One SQLite file that many processes share: its tables, its transactions, and its errors in words.

Write-ahead log, synchronous=FULL: what has been written survives a power cut, and readers never wait for writers. Every
transaction is short.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cpd.access import require_change
from cpd.errors import CpdError, RunError, StorageError
from cpd.runs import envelope

SCHEMA = 3

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, kind TEXT NOT NULL,
    spec TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, launched REAL NOT NULL DEFAULT 0,
    started REAL NOT NULL DEFAULT 0, finished REAL NOT NULL DEFAULT 0, updated REAL NOT NULL DEFAULT 0,
    stop_asked REAL NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS metrics (
    run TEXT NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (run, name, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, step INTEGER NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL, data TEXT NOT NULL, time REAL NOT NULL, UNIQUE (run, step, kind, text))
"""
# From each version of the file to the next; a new file goes through all of them.
_UPDATES = {
    0: _TABLES,
    1: f"""
ALTER TABLE runs ADD COLUMN place REAL NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN halvings INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN pace_s REAL NOT NULL DEFAULT 0;
UPDATE runs SET place = number;
{envelope.TABLE};
{envelope.FILL}
""",
    2: "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT ''",
}


class StoreBusy(RunError):
    """Another process holds the database for longer than we wait; trying again later may work."""


class Connection:
    """Safe to share between threads; cheap to make in every process."""

    def __init__(self, path: Path, patience_s: float = 5.0) -> None:
        """`patience_s`: how long a call waits for another process before it raises StoreBusy."""
        self.path = path
        self._patience_s = patience_s
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _change(self, statement: str, values: Sequence[Any]) -> bool:
        with self._transaction() as db:
            return db.execute(statement, values).rowcount > 0

    def _read(self, query: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        with self._guard, self._explained():
            return self._connect().execute(query, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._guard, self._explained():
            yield self._connect()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        require_change()
        with self._guard, self._explained():
            db = self._connect()
            db.execute("BEGIN IMMEDIATE")  # ask for the write lock at once: an upgrade half way cannot be waited for
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> CpdError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreBusy(f"{self.path}: locked by another process for {self._patience_s:g} s; try again.")
        if code == sqlite3.SQLITE_FULL:
            return StorageError(f"{self.path}: the disk is full; free some space and try again.")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM):
            return StorageError(
                f"{self.path}: cannot read or write the run store ({error}); check the disk and CPD_HOME."
            )
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return StorageError(
                f"{self.path}: the run store is damaged ({error}); move it away and start the app again."
            )
        return RunError(f"{self.path}: {error}.")

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            _make_private(self.path)
            db = sqlite3.connect(self.path, timeout=self._patience_s, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            self._connection = db
        return self._connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            deadline = time.monotonic() + self._patience_s
            while True:  # the change of mode does not use SQLite's own waiting
                try:
                    db.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
        db.execute("PRAGMA synchronous = FULL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA:
            return
        db.execute("BEGIN IMMEDIATE")  # who comes second waits here, and finds it done
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in range(SCHEMA + 1):
                raise StorageError(
                    f"{self.path}: run store of version {version}, this program reads {SCHEMA}; update the program."
                )
            for old in range(version, SCHEMA):
                for statement in _UPDATES[old].split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _make_private(path: Path) -> None:
    """The file for its owner alone, made where it is missing; SQLite's other two files take its mode.

    A file that is there is not opened: closing it would end the locks of this process's other connections to it.
    """
    with suppress(OSError):  # SQLite says what is wrong, in words of ours
        if path.exists():
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
        else:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
