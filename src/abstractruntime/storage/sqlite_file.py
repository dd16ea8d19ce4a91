"""One SQLite file: its connections, their pragmas read back, its errors as ours, and the hint that
somebody wrote.

What is stored and how commits are grouped is relational/'s business. apsw is imported when the
first file is opened.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from abstractruntime.errors import (
    InvalidInput,
    RuntimeFault,
    StoreClosed,
    StoreCorrupt,
    StoreReadOnly,
    StoreUnavailable,
)
from abstractruntime.storage.durable_files import make_folder
from abstractruntime.storage.migrate import bring_up_to_date, newest, refuse_newer
from abstractruntime.storage.relational.database import Row, copied
from abstractruntime.storage.relational.pool import Pool
from abstractruntime.storage.sql import queries
from abstractruntime.storage.sqlite_faults import fault_of, url_of

if TYPE_CHECKING:
    import apsw

LEAST_LIBRARY: Final = (3, 51, 3)
"""Older ones can lose committed rows in WAL mode when a checkpoint races a commit."""
APPLICATION_ID: Final = 0x41525401
LEVELS: Final = {"power": 2, "process": 1}
"""PRAGMA synchronous by durability: FULL, NORMAL."""
_DIALECT: Final = "sqlite"
_WRITER_CACHE_KIB: Final = 16_384
_READER_CACHE_KIB: Final = 4_096
# While the WAL file grows each sync writes its new size as well: it is to be used anew soon.
_WAL_PAGES: Final = 1000
_WAL_BYTES: Final = 64 * 1024 * 1024


class SqliteSession:
    """The connection that writes. It opens when first used, and again after a fork."""

    def __init__(self, database: SqliteFile, level: int) -> None:
        self._database = database
        self._queries = queries(_DIALECT)
        self._level = level
        self._in_force = level
        self._connection: apsw.Connection | None = None

    def begin(self, *, urgent: bool) -> None:
        self._ready()
        wanted = 2 if urgent else self._level
        if wanted != self._in_force:
            self._synchronous(wanted)
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._execute("COMMIT")
        self._database.commits += 1

    def rollback(self) -> None:
        # After some errors SQLite has undone it by itself.
        if self._connection is not None and self._connection.in_transaction:
            self._execute("ROLLBACK")

    def run(self, query: str, values: Sequence[Any] = ()) -> int:
        self._execute(self._queries[query], values)
        return self._changes()

    def insert(self, query: str, values: Sequence[Any]) -> int | None:
        if not self.run(query, values):
            return None
        assert self._connection is not None
        return self._connection.last_insert_rowid()

    def rows(self, query: str, values: Sequence[Any]) -> list[Row]:
        return self._ready().execute(self._queries[query], values).fetchall()

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Row]:
        return self._ready().execute(sql, values).fetchall()

    def _ready(self) -> apsw.Connection:
        fault = self._database.failed()
        if fault is not None:
            raise fault
        if self._connection is None:
            self._connection = connection = self._open()
            self._execute = connection.cursor().execute
            self._changes = connection.changes
            self._in_force = self._level
        return self._connection

    def _open(self) -> apsw.Connection:
        connection = self._database.connect()
        _set(connection, "cache_size", -_WRITER_CACHE_KIB)
        _set(connection, "synchronous", self._level)
        return connection

    def _synchronous(self, level: int) -> None:
        assert self._connection is not None
        _set(self._connection, "synchronous", level)
        self._in_force = level

    def facts(self) -> dict[str, Any]:
        """Pragmas as they are in force, or will be once something is written."""
        if self._connection is not None:
            return _pragmas(self._connection)
        with closing(self._open()) as connection:
            return _pragmas(connection)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            del self._execute, self._changes
            connection.close()


class SqliteFile:
    """A SQLite file in WAL mode, checked and migrated when it is made."""

    def __init__(
        self,
        path: str,
        *,
        durability: str = "power",
        busy_timeout: float = 30.0,
        vfs: str | None = None,
    ) -> None:
        import apsw

        self.url = url_of(path)
        self.path = path
        self.folder: str | None = os.path.dirname(path)
        self.commits = 0
        self._apsw = apsw
        self._vfs = vfs
        self._durability = durability
        self._busy_timeout = busy_timeout
        self._failed: RuntimeFault | None = None
        self._watch: apsw.Connection | None = None
        self._watched = 0
        self._watch_lock = threading.Lock()
        self._queries = queries(_DIALECT)
        self._refuse_old_library()
        self._make()
        self.session = SqliteSession(self, LEVELS[durability])
        self._readers = Pool(self._connect_reader)

    # -- reading

    def read(self, query: str, values: Sequence[Any]) -> list[Row]:
        if self._failed is not None:
            raise copied(self._failed)
        try:
            statement = self._queries[query]
            return self._readers.use(lambda reader: reader.execute(statement, values).fetchall())
        except (self._apsw.Error, UnicodeEncodeError) as error:
            raise self.fault(error) from error

    def changes(self) -> int:
        """Our commits are counted; others are seen by SQLite's data_version."""
        if self._failed is not None:
            raise copied(self._failed)
        with self._watch_lock:
            try:
                if self._watch is None:
                    self._watch = self.connect()
                    # Of another connection data_version counts from anywhere.
                    self._watched += 1 << 32
                return self._watched + self.commits + int(self._watch.pragma("data_version"))
            except self._apsw.Error as error:
                raise self.fault(error) from error

    def facts(self) -> dict[str, Any]:
        try:
            pragmas = self.session.facts()
        except self._apsw.Error as error:
            raise self.fault(error) from error
        return {
            "path": self.path,
            "durability": self._durability,
            "library": f"SQLite {self._apsw.sqlite_lib_version()} by apsw",
            **pragmas,
        }

    # -- connections

    def connect(self, *, create: bool = False) -> apsw.Connection:
        """A connection whose pragmas are in force."""
        if self._failed is not None:
            raise copied(self._failed)
        library = self._apsw
        flags = library.SQLITE_OPEN_READWRITE | (library.SQLITE_OPEN_CREATE if create else 0)
        connection: apsw.Connection = library.Connection(self.path, flags=flags, vfs=self._vfs)
        milliseconds = round(self._busy_timeout * 1000)
        connection.set_busy_timeout(milliseconds)
        if "ENABLE_SETLK_TIMEOUT" in library.compile_options:
            # Waits in steps of 1 ms where the other way sleeps longer and longer.
            connection.setlk_timeout(milliseconds, 0)
        _set(connection, "wal_autocheckpoint", _WAL_PAGES)
        _set(connection, "journal_size_limit", _WAL_BYTES)
        _set(connection, "trusted_schema", 0)
        return connection

    def _connect_reader(self) -> apsw.Connection:
        connection = self.connect()
        _set(connection, "cache_size", -_READER_CACHE_KIB)
        _set(connection, "query_only", 1)
        return connection

    def release(self, *, timeout: float) -> bool:
        if not self._readers.shut(timeout=timeout):
            return False
        self.session.close()
        with self._watch_lock:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        return True

    def resume(self) -> None:
        self._readers.reopen()

    def close(self) -> None:
        if self._failed is None:
            self._failed = StoreClosed(f"{self.url} is closed", fix="open it again", url=self.url)
        self.release(timeout=self._busy_timeout)
        self._readers.reopen()

    # -- making

    def _refuse_old_library(self) -> None:
        version = self._apsw.sqlite_lib_version()
        if tuple(map(int, version.split("."))) < LEAST_LIBRARY:
            least = ".".join(map(str, LEAST_LIBRARY))
            raise StoreUnavailable(
                f"apsw brings SQLite {version}, which can lose committed rows; "
                f"{least} or newer is needed",
                fix="pip install --upgrade apsw",
            )

    def _make(self) -> None:
        make_folder(Path(self.path).parent)
        try:
            connection = self.connect(create=True)
            try:
                self._check_and_migrate(connection)
            finally:
                connection.close()
        except self._apsw.Error as error:
            raise self.fault(error) from error

    def _check_and_migrate(self, connection: apsw.Connection) -> None:
        if connection.readonly("main"):
            raise StoreReadOnly(f"{self.url} cannot be written", url=self.url)
        self.version(connection)
        self._enter_wal(connection)
        if self.version(connection) < newest(_DIALECT):
            # Whoever comes first migrates; the others find it done.
            connection.execute("BEGIN IMMEDIATE")
            bring_up_to_date(_Tables(self, connection), _DIALECT, self.url)
            connection.execute("COMMIT")

    def version(self, connection: apsw.Connection) -> int:
        """The version of the tables, 0 for an empty file. StoreCorrupt when they are not ours."""
        version, application, tables = _identity_of(connection)
        if application == APPLICATION_ID:
            refuse_newer(version, _DIALECT, self.url)
            return version
        if application or version or tables:
            raise StoreCorrupt(
                f"{self.url} is a database of something else: application_id {application:#x}, "
                f"user_version {version}, tables {', '.join(tables) or 'none'}",
                fix="name another file; this one was left as it is",
                url=self.url,
                recorded=f"{APPLICATION_ID:#x}",
                found=f"{application:#x}",
            )
        return 0

    def _enter_wal(self, connection: apsw.Connection) -> None:
        # The change to WAL does not wait for other processes by itself.
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                mode = connection.pragma("journal_mode", "wal")
                break
            except self._apsw.BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        if mode != "wal":
            raise StoreUnavailable(
                f"{self.url} cannot be put in WAL mode: journal_mode is {mode!r}",
                fix="keep it on a local disk: network file systems lack what WAL needs",
                url=self.url,
            )

    # -- errors

    def failed(self) -> RuntimeFault | None:
        return self._failed

    def fail(self, fault: RuntimeFault) -> None:
        """From now on every call raises this."""
        self._failed = fault

    def fault(self, error: Exception) -> Exception:
        if isinstance(error, UnicodeEncodeError):
            return InvalidInput(f"a text holds a lone surrogate: {str(error.object)[:80]!r}")
        if not isinstance(error, self._apsw.Error):
            return error
        found = fault_of(self._apsw, error, path=self.path, patience=self._busy_timeout)
        found.__cause__ = error
        # After a failed write or sync nobody knows what the medium holds of it. A connection that
        # could not be opened, for want of descriptors say, is no such thing.
        fatal = isinstance(error, self._apsw.IOError) or isinstance(found, StoreCorrupt)
        if fatal and self._failed is None:
            self._failed = found
        return found


class _Tables:
    """The tables of a file, as migrations see them."""

    def __init__(self, file: SqliteFile, connection: apsw.Connection) -> None:
        self._file = file
        self._connection = connection

    def version(self) -> int:
        return self._file.version(self._connection)

    def apply(self, text: str, version: int) -> None:
        run = self._connection.execute
        for _ in run(text):
            pass
        run(f"PRAGMA application_id = {APPLICATION_ID}")
        run(f"PRAGMA user_version = {version}")


def _identity_of(connection: apsw.Connection) -> tuple[int, int, list[str]]:
    """user_version, application_id and some tables, as of one moment: others may be making them."""
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")
    try:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema LIMIT 5")]
        return connection.pragma("user_version"), connection.pragma("application_id"), tables
    finally:
        # After some errors SQLite has undone it by itself, and that error is the one to tell.
        if alone and connection.in_transaction:
            connection.execute("ROLLBACK")


def _set(connection: apsw.Connection, name: str, value: Any) -> None:
    """Set a pragma and read it back: SQLite passes over what it cannot do."""
    connection.pragma(name, value)
    found = connection.pragma(name)
    if found != value:
        raise StoreUnavailable(
            f"PRAGMA {name} is {found!r}, though {value!r} was asked",
            path=connection.filename,
            recorded=value,
            found=found,
        )


def _pragmas(connection: apsw.Connection) -> dict[str, Any]:
    names = (
        "journal_mode",
        "synchronous",
        "busy_timeout",
        "wal_autocheckpoint",
        "page_size",
        "user_version",
        "application_id",
    )
    return {name: connection.pragma(name) for name in names}
