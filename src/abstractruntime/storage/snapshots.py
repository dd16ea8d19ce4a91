"""Named checkpoints that somebody keeps on purpose, and where they are kept.

Taking one copies a run; what restoring one means is the engine's business.
"""

from __future__ import annotations

import builtins
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import Any, Protocol

from abstractruntime.core._defaults import new_id
from abstractruntime.core.canonical import decode
from abstractruntime.core.models import RunState, run_from_dict, run_to_dict, utc_now
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.durable_files import (
    check_identifier,
    file_name,
    lock_of,
    make_folder,
    read_whole,
    remove,
    translated,
    write_whole,
)
from abstractruntime.storage.json_files import readable
from abstractruntime.storage.plain_runs import whole

Clock = Callable[[], str]


@dataclass
class Snapshot:
    """A run as it was, under a name. `run_state` is the run's public JSON form.

    The kernel's part stands apart in `checkpoint`: a host that saves a run made of `run_state`
    rewinds it, and is not refused as stale.
    """

    snapshot_id: str
    run_id: str
    step_id: str | None = None
    name: str = ""
    description: str | None = None
    tags: list[str] = field(default_factory=list)
    created_at: str = field(default_factory=utc_now)
    updated_at: str = field(default_factory=utc_now)
    run_state: dict[str, Any] = field(default_factory=dict)
    checkpoint: dict[str, Any] | None = None

    @classmethod
    def from_run(
        cls,
        *,
        run: RunState,
        name: str,
        description: str | None = None,
        tags: list[str] | None = None,
        step_id: str | None = None,
    ) -> Snapshot:
        """A snapshot of `run` with a fresh id, sharing nothing with it; NotJson. Not stored."""
        state = decode(whole(run_to_dict(run)))
        checkpoint = state.pop("checkpoint", None)
        now = utc_now()
        return cls(
            snapshot_id=new_id(),
            run_id=run.run_id,
            step_id=step_id,
            name=name,
            description=description,
            tags=list(tags or ()),
            created_at=now,
            updated_at=now,
            run_state=state,
            checkpoint=checkpoint,
        )

    def to_run(self) -> RunState:
        """The run as it was, without its checkpoint: saving it rewinds the stored run."""
        return run_from_dict(decode(whole(self.run_state)))

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form, keys in field order; `checkpoint` only when there is one."""
        data = {name: getattr(self, name) for name in _FIELDS}
        if self.checkpoint is None:
            del data["checkpoint"]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Snapshot:
        """The inverse of `to_dict`; keys it does not know are ignored."""
        return cls(**{name: data[name] for name in _FIELDS if name in data})

    def matches(self, *, tag: str | None, query: str | None) -> bool:
        """Whether it bears `tag` and has `query` in its name or description, whatever the case."""
        if tag is not None and tag.casefold() not in (own.casefold() for own in self.tags):
            return False
        texts = (self.name, self.description or "")
        return query is None or any(query.casefold() in text.casefold() for text in texts)


_FIELDS = tuple(Snapshot.__dataclass_fields__)


class SnapshotStore(ABC):
    """Snapshots by id. Saving one again replaces it."""

    @abstractmethod
    def save(self, snapshot: Snapshot) -> None:
        """Store a copy; its `updated_at`, also that of the object given, becomes now. NotJson."""

    @abstractmethod
    def load(self, snapshot_id: str) -> Snapshot | None:
        """A copy of the snapshot; None when unknown."""

    @abstractmethod
    def delete(self, snapshot_id: str) -> bool:
        """Forget it; whether it was there."""

    @abstractmethod
    def list(
        self,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        limit: int = 100,
    ) -> builtins.list[Snapshot]:
        """Those that match all given, newest created_at first, of equal ones the one stored later.

        `tag` equals one of the tags, `query` stands in name or description, whatever the case.
        """


def _matching(
    newest_first: Iterable[Snapshot], *, tag: str | None, query: str | None, limit: int
) -> list[Snapshot]:
    found: list[Snapshot] = []
    for snapshot in newest_first:
        if len(found) >= limit:
            break
        if snapshot.matches(tag=tag, query=query):
            found.append(snapshot)
    return found


class InMemorySnapshotStore(SnapshotStore):
    """Snapshots in memory. Any thread may call; nothing outlives the process."""

    def __init__(self, *, now: Clock = utc_now) -> None:
        self._now = now
        self._texts: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def save(self, snapshot: Snapshot) -> None:
        snapshot.updated_at = self._now()
        text = whole(snapshot.to_dict())
        with self._lock:
            self._texts[snapshot.snapshot_id] = text

    def load(self, snapshot_id: str) -> Snapshot | None:
        with self._lock:
            text = self._texts.get(snapshot_id)
        return None if text is None else Snapshot.from_dict(decode(text))

    def delete(self, snapshot_id: str) -> bool:
        with self._lock:
            return self._texts.pop(snapshot_id, None) is not None

    def list(
        self,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        limit: int = 100,
    ) -> builtins.list[Snapshot]:
        with self._lock:
            texts = builtins.list(self._texts.values())
        last_first = [Snapshot.from_dict(decode(text)) for text in reversed(texts)]
        mine = [each for each in last_first if run_id is None or each.run_id == run_id]
        mine.sort(key=lambda each: each.created_at, reverse=True)
        return _matching(mine, tag=tag, query=query, limit=limit)


class JsonSnapshotStore(SnapshotStore):
    """Snapshots as `snapshot_{id}.json` in a folder; `save` is durable on return."""

    def __init__(self, base_dir: str | os.PathLike[str], *, now: Clock = utc_now) -> None:
        self._base = make_folder(base_dir)
        self._now = now

    def save(self, snapshot: Snapshot) -> None:
        path = self._path(snapshot.snapshot_id)
        snapshot.updated_at = self._now()
        with lock_of(path):
            stored = _read(path) or {}
            unknown = {key: stored[key] for key in stored if key not in _FIELDS}
            # Of snapshots made at the same microsecond the file keeps which was stored first.
            write_whole(path, readable({**snapshot.to_dict(), "stored": time_ns(), **unknown}))

    def load(self, snapshot_id: str) -> Snapshot | None:
        data = _read(self._path(snapshot_id))
        return None if data is None else Snapshot.from_dict(data)

    def delete(self, snapshot_id: str) -> bool:
        return remove(self._path(snapshot_id))

    def list(
        self,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        limit: int = 100,
    ) -> builtins.list[Snapshot]:
        found = [data for data in self._all() if run_id is None or data.get("run_id") == run_id]
        found.sort(key=lambda data: (data["created_at"], data.get("stored", 0)), reverse=True)
        return _matching(map(Snapshot.from_dict, found), tag=tag, query=query, limit=limit)

    def _path(self, snapshot_id: str) -> Path:
        return self._base / file_name(
            "snapshot_", check_identifier(snapshot_id, what="snapshot_id"), ".json"
        )

    def _all(self) -> Iterator[dict[str, Any]]:
        with translated(self._base):
            names = sorted(os.listdir(self._base))
        for name in names:
            if name.startswith("snapshot_") and name.endswith(".json"):
                data = _read(self._base / name)
                if data is not None:  # None: removed since the folder was read
                    yield data


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a snapshot's file; StoreCorrupt when it is no snapshot."""
    text = read_whole(path)
    if text is None:
        return None
    try:
        data = decode(text)
    except ValueError as error:
        raise StoreCorrupt(f"{path} is not JSON: {error}", path=str(path)) from error
    if not isinstance(data, dict) or not {"snapshot_id", "run_id", "created_at"} <= data.keys():
        raise StoreCorrupt(f"{path} holds no snapshot", path=str(path))
    return data


class SnapshotRows(Protocol):
    """The table a SQL store keeps for snapshots; `text` is a snapshot's JSON form."""

    def save_row(self, *, snapshot_id: str, run_id: str, created_at: str, text: str) -> None:
        """Insert or, keeping its place in the order of insertion, replace; durable on return."""

    def load_row(self, snapshot_id: str) -> str | None:
        """The text; None when unknown."""

    def delete_row(self, snapshot_id: str) -> bool:
        """Remove the row; whether it was there."""

    def list_rows(self, run_id: str | None) -> Iterable[str]:
        """Texts of a run (None: of all), newest created_at first, of equals the last inserted."""


class SqliteSnapshotStore(SnapshotStore):
    """Snapshots in a table of their own in a SQLite database, which runs may share.

    `save` is durable on return. Close what was opened by its path; rows given are their owner's.
    """

    def __init__(
        self, database: str | os.PathLike[str] | SnapshotRows, *, now: Clock = utc_now
    ) -> None:
        self._close: Callable[[], None] | None = None
        if isinstance(database, str | os.PathLike):
            from abstractruntime.storage.sqlite import snapshot_rows

            store = snapshot_rows(database)
            self._rows: SnapshotRows = store
            self._close = store.close
        else:
            self._rows = database
        self._now = now

    def close(self) -> None:
        """Let go of a database opened by its path; others in this process may still have it."""
        if self._close is not None:
            self._close()

    def save(self, snapshot: Snapshot) -> None:
        snapshot.updated_at = self._now()
        self._rows.save_row(
            snapshot_id=snapshot.snapshot_id,
            run_id=snapshot.run_id,
            created_at=snapshot.created_at,
            text=whole(snapshot.to_dict()).decode(),
        )

    def load(self, snapshot_id: str) -> Snapshot | None:
        text = self._rows.load_row(snapshot_id)
        return None if text is None else Snapshot.from_dict(decode(text))

    def delete(self, snapshot_id: str) -> bool:
        return self._rows.delete_row(snapshot_id)

    def list(
        self,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        limit: int = 100,
    ) -> builtins.list[Snapshot]:
        newest_first = (Snapshot.from_dict(decode(text)) for text in self._rows.list_rows(run_id))
        return _matching(newest_first, tag=tag, query=query, limit=limit)
