"""One store per real medium in a process, however often it is opened, and none across a fork.

Whoever opens a medium gets the same store; it closes with the last holder. A fork finds all of them
without connections: a child that inherited one would believe it holds the parent's file locks, and
lose commits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from abstractruntime.errors import InvalidInput, StoreClosed, StoreUnavailable
from abstractruntime.storage.relational.database import Database
from abstractruntime.storage.relational.store import RelationalStore

_PATIENCE: Final = 5.0
"""Seconds a fork waits for what is being written or read."""


class SharedStore(RelationalStore):
    """A store that closes when everybody who opened it has closed it."""

    def __init__(self, database: Database, key: Hashable, options: Mapping[str, Any]) -> None:
        super().__init__(
            database,
            hash_chain=2 if options["hash_chain"] else None,
            clock=options["clock"],
            patience=options["busy_timeout"],
        )
        self.key = key
        self.options = options
        self.holders = 0

    def close(self) -> None:
        with _lock:
            self.holders -= 1
            if self.holders > 0:
                return
            if _stores.get(self.key) is self:
                del _stores[self.key]
        super().close()


_lock = threading.RLock()
_stores: WeakValueDictionary[Hashable, SharedStore] = WeakValueDictionary()
# Media whose store could not let go before a fork: this process must not open them.
_tainted: dict[Hashable, SharedStore] = {}
_released: list[tuple[SharedStore, bool]] = []


def shared(
    key_of: Callable[[], Hashable | None],
    make: Callable[[Mapping[str, Any]], Database],
    *,
    url: str,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> SharedStore:
    """The store of a medium: the one that is open, else a new one over `make(options)`.

    `key_of` identifies the medium (None: it is not there yet). Of `given` options, None means
    whatever it is open with. InvalidInput when it is open with others.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    with _lock:
        key = key_of()
        if key in _tainted:
            raise StoreUnavailable(
                f"{url} was in use when this process was forked off: its file locks are not ours",
                fix="start processes by 'spawn' or 'forkserver', or close the store before a fork",
                url=url,
            )
        store = None if key is None else _stores.get(key)
        if store is None or store.failed():
            options = {**defaults, **asked}
            database = make(options)
            store = SharedStore(database, key_of(), options)
            _stores[store.key] = store
        else:
            _refuse_others(store, asked, url)
        store.holders += 1
        return store


def _refuse_others(store: SharedStore, asked: Mapping[str, Any], url: str) -> None:
    for name, value in asked.items():
        if store.options[name] != value:
            raise InvalidInput(
                f"{url} is open in this process with {name}={store.options[name]!r}, "
                f"it cannot be opened with {name}={value!r} as well",
                fix="open it with the same options everywhere, or close it first",
                url=url,
            )


def _before_fork() -> None:
    _lock.acquire()
    _released.clear()
    for store in list(_stores.values()):
        _released.append((store, store.before_fork(timeout=_PATIENCE)))


def _after_in_parent() -> None:
    for store, quiet in _released:
        if quiet:
            store.after_fork()
    _released.clear()
    _lock.release()


def _after_in_child() -> None:
    parent = os.getppid()
    for store, quiet in _released:
        store.disown(
            StoreClosed(
                f"{store.url} was opened by process {parent} before it forked this one",
                fix="open the store in the process that uses it",
                url=store.url,
            )
        )
        if not quiet:
            # Kept alive as well: closing its connections would act on the parent's locks.
            _tainted[store.key] = store
    _stores.clear()
    _released.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_in_parent,
        after_in_child=_after_in_child,
    )
