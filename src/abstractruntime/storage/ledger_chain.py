"""A ledger whose records are linked by hashes, over any ledger store (format 1).

The linking and verifying rules are `core.chain`'s; this module only finds the head, keeps writers
apart and takes care that what is hashed is what is kept.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from abstractruntime.core.chain import API_FIELDS, compute_record_hash, verify_ledger_chain
from abstractruntime.core.models import StepRecord, record_to_dict
from abstractruntime.storage.base import LedgerStore

__all__ = ["HashChainedLedgerStore", "compute_record_hash", "verify_ledger_chain"]


@runtime_checkable
class KnowsItsEnd(Protocol):
    """A ledger store that finds its end without reading all, and can keep other writers out."""

    def last(self, run_id: str) -> dict[str, Any] | None:
        """The run's last record; None when it has none."""

    def exclusive(self, run_id: str) -> AbstractContextManager[object]:
        """While entered, nobody else appends to this run's ledger; may be entered again."""


_Locks = tuple[threading.RLock, ...]
_LATER = tuple(each.name for each in fields(StepRecord) if each.name not in API_FIELDS)
# Chains over the same store exclude each other, whichever object of this class they go through.
_guard = threading.Lock()
_shared: WeakKeyDictionary[LedgerStore, _Locks] = WeakKeyDictionary()


def _new_locks() -> _Locks:
    """Locks that runs share by their hash: one per run would grow with every run ever seen."""
    return tuple(threading.RLock() for _ in range(16))


def _locks_over(inner: LedgerStore) -> _Locks:
    try:
        with _guard:
            return _shared.setdefault(inner, _new_locks())
    except TypeError:  # it cannot be a weak key: then only this chain's own writers are kept apart
        return _new_locks()


class HashChainedLedgerStore(LedgerStore):
    """Sets prev_hash and record_hash of each record, then hands it to `inner`.

    The head is read from `inner` at each append, so records that others appended are linked to as
    well. That reads the whole list of an inner store that has no `last`, or does not say that it
    `keeps_every_field`.

    A hash covers all of its record, and what `inner` drops would be missing from it when it is
    verified. So fields later than the api's are handed on only where `inner` says that it
    `keeps_every_field`, or gives some back of this run.
    """

    def __init__(self, inner: LedgerStore) -> None:
        self._inner = inner
        self._locks = _locks_over(inner)
        self.keeps_every_field = bool(getattr(inner, "keeps_every_field", False))

    @property
    def inner(self) -> LedgerStore:
        """The ledger that the linked records go to."""
        return self._inner

    def append(self, record: StepRecord) -> None:
        """Link one record to its run's head and append it; durable as `inner` makes it.

        The record given gets its hashes once `inner` has taken it.
        """
        with self.exclusive(record.run_id):
            end, drops = self._end(record.run_id)
            sealed = _sealed(record, end, drops)
            self._inner.append(sealed)
        record.prev_hash, record.record_hash = sealed.prev_hash, sealed.record_hash

    def append_many(self, records: Sequence[StepRecord]) -> None:
        """Link records of one run, in order, and append them: by one write where `inner` can."""
        if not records:
            return
        run_id = records[0].run_id
        with self.exclusive(run_id):
            head, drops = self._end(run_id)
            sealed: builtins.list[StepRecord] = []
            for record in records:
                sealed.append(_sealed(record, head, drops))
                head = sealed[-1].record_hash
            many = getattr(self._inner, "append_many", None)
            if many is not None:
                many(sealed)
            else:
                for record in sealed:
                    self._inner.append(record)
        for record, copy in zip(records, sealed, strict=True):
            record.prev_hash, record.record_hash = copy.prev_hash, copy.record_hash

    def list(self, run_id: str) -> builtins.list[dict[str, Any]]:
        """All records of a run in order, as `inner` has them; empty when unknown."""
        return self._inner.list(run_id)

    def last(self, run_id: str) -> dict[str, Any] | None:
        """The run's last record; None when it has none."""
        if isinstance(self._inner, KnowsItsEnd):
            return self._inner.last(run_id)
        records = self._inner.list(run_id)
        return records[-1] if records else None

    def _end(self, run_id: str) -> tuple[str | None, tuple[str, ...]]:
        """The hash of the run's last record, and the fields that `inner` may not give back."""
        if self.keeps_every_field:
            return _hash_of(self.last(run_id)), ()
        records = self._inner.list(run_id)
        keeps = any(record.get(name) is not None for record in records for name in _LATER)
        return _hash_of(records[-1] if records else None), () if keeps else _LATER

    def exclusive(self, run_id: str) -> AbstractContextManager[object]:
        """While entered, nobody else appends to this run's ledger through a chain."""
        if isinstance(self._inner, KnowsItsEnd):
            return self._inner.exclusive(run_id)
        return self._locks[hash(run_id) % len(self._locks)]


def _hash_of(record: dict[str, Any] | None) -> str | None:
    return None if record is None else record.get("record_hash")


def _sealed(record: StepRecord, head: str | None, drops: Sequence[str]) -> StepRecord:
    without: dict[str, Any] = dict.fromkeys(drops)
    sealed = replace(record, prev_hash=head, record_hash=None, **without)
    sealed.record_hash = compute_record_hash(record=record_to_dict(sealed), prev_hash=head)
    return sealed
