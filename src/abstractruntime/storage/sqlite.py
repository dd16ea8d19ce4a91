"""SQLite files as stores: what can be asked of one, and that a process opens each only once.

Connections and pragmas are sqlite_file's business, rows and commits those of relational/.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from abstractruntime.core.models import utc_now
from abstractruntime.errors import InvalidInput, StoreUnavailable
from abstractruntime.storage.relational.shared import SharedStore, shared
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.relational.views import LedgerView, RunView
from abstractruntime.storage.sqlite_faults import url_of
from abstractruntime.storage.sqlite_file import LEVELS, SqliteFile

_DAY: Final = 86_400.0

DEFAULTS: Final = {
    "durability": "power",
    "hash_chain": True,
    "busy_timeout": 30.0,
    "clock": utc_now,
}


def open_sqlite(
    path: str | os.PathLike[str],
    *,
    durability: str | None = None,
    hash_chain: bool | None = None,
    busy_timeout: float | None = None,
    clock: Callable[[], str] | None = None,
) -> SharedStore:
    """The store of a file, made with its folder when it is not there; the same to all who ask.

    Raises StoreCorrupt for a file that is none of ours, StoreTooNew, StoreReadOnly,
    StoreUnavailable, InvalidInput when it is open in this process with other options.
    """
    if durability is not None and durability not in LEVELS:
        raise InvalidInput(
            f"durability cannot be {durability!r}", fix=f"one of {', '.join(LEVELS)}"
        )
    if busy_timeout is not None and not 0 < busy_timeout <= _DAY:
        raise InvalidInput(
            f"busy_timeout cannot be {busy_timeout!r}", fix="seconds, above 0, at most a day"
        )
    real = os.path.realpath(path)
    given = {
        "durability": durability,
        "hash_chain": hash_chain,
        "busy_timeout": busy_timeout,
        "clock": clock,
    }
    return shared(
        lambda: _identity(real),
        lambda options: SqliteFile(
            real, durability=options["durability"], busy_timeout=options["busy_timeout"]
        ),
        url=url_of(real),
        given=given,
        defaults=DEFAULTS,
    )


class SqliteRunStore(RunView):
    """The runs of a SQLite file, as the api's RunStore."""

    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        store = open_sqlite(path, **options)
        super().__init__(store, clock=store.clock)


class SqliteLedgerStore(LedgerView):
    """The ledgers of a SQLite file, as the api's LedgerStore."""

    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        store = open_sqlite(path, **options)
        super().__init__(store, clock=store.clock)


def snapshot_rows(path: str | os.PathLike[str]) -> RelationalStore:
    """The table of snapshots in a SQLite file."""
    return open_sqlite(path)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}", path=path) from error
    return status.st_dev, status.st_ino
