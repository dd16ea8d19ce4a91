"""What plain Python reaches on this machine: stdlib sqlite3, two statements a transaction."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from bench.harness import folder

ROW = 500
LINE = 400


def raw_rate(level: str, count: int | None = None) -> float:
    """Transactions per second of one UPDATE of a 500 B row and one INSERT of a 400 B row.

    `level` is PRAGMA synchronous. The row is another each time: SQLite writes no equal ones.
    """
    with folder() as at:
        return raw_rate_at(at, level, count or (1500 if level.upper() == "FULL" else 6000))


def raw_rate_at(at: Path, level: str, count: int) -> float:
    """The same in a folder that is there, with the pragmas of our own store."""
    connection = sqlite3.connect(at / f"raw-{level}.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = wal",
        f"PRAGMA synchronous = {level}",
        "PRAGMA wal_autocheckpoint = 1000",
        "CREATE TABLE row (id TEXT PRIMARY KEY, text TEXT)",
        "CREATE TABLE line (id INTEGER PRIMARY KEY, text TEXT)",
        "INSERT INTO row VALUES ('a', '')",
    ):
        connection.execute(statement)
    line = "l" * LINE
    rows = [f"{n:08d}" + "r" * (ROW - 8) for n in range(count)]
    execute = connection.execute
    begun = time.perf_counter()
    for row in rows:
        execute("BEGIN IMMEDIATE")
        execute("UPDATE row SET text = ? WHERE id = ?", (row, "a"))
        execute("INSERT INTO line (text) VALUES (?)", (line,))
        execute("COMMIT")
    took = time.perf_counter() - begun
    connection.close()
    return count / took


if __name__ == "__main__":
    for name in ("FULL", "NORMAL"):
        print(f"{name:7s} {raw_rate(name):,.0f}/s")
