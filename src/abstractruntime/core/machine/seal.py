"""Sealers: how a commit's records are bound to those before them. One to a store, shared by all."""

from __future__ import annotations

from collections.abc import Callable

from abstractruntime.core import chain
from abstractruntime.core.canonical import chain_form
from abstractruntime.core.commit import Entry
from abstractruntime.core.machine.assemble import Sealer

_REMEMBERED = 1024


class NoSealer:
    """No chain: records stand alone (or a ledger of the user's seals them by itself)."""

    def new_salt(self) -> str | None:
        return None

    def seal(self, entry: Entry, prev_hash: str | None) -> str | None:
        return None


class ChainSealer:
    """Chain format 2: payload, result and error enter the hash as salted commitments."""

    def __init__(self, salt: Callable[[], bytes]) -> None:
        self._salt = salt
        self._payloads: dict[str, str] = {}

    def new_salt(self) -> str | None:
        return self._salt().hex()

    def seal(self, entry: Entry, prev_hash: str | None) -> str | None:
        record = entry.record
        salts: dict[str, str] = {}
        commitments: dict[str, str] = {}
        effect = record["effect"]
        if effect is not None and effect["payload"] is not None:
            salts["payload"] = salt = entry.salt or self._salt().hex()
            commitments["payload"] = self._payload(salt, entry)
        if record["result"] is not None:
            salts["result"] = salt = self._salt().hex()
            commitments["result"] = chain.commitment(salt, chain_form(record["result"]))
        if record["error"] is not None:
            salts["error"] = salt = self._salt().hex()
            commitments["error"] = chain.commitment(salt, chain_form(record["error"]))
        record["chain"] = 2
        record["prev_hash"] = prev_hash
        record["record_hash"] = chain.committed_hash(record, commitments)
        if salts:
            record["salts"] = salts
        return str(record["record_hash"])

    def _payload(self, salt: str, entry: Entry) -> str:
        """The commitment of a step's payload: made once, used by every record of the step."""
        known = self._payloads.get(salt)
        if known is None:
            if len(self._payloads) >= _REMEMBERED:
                self._payloads.clear()
            form = entry.form or chain_form(entry.record["effect"]["payload"])
            known = self._payloads[salt] = chain.commitment(salt, form)
        return known


class PlainSealer:
    """Chain format 1, the api's: the hash is over the record as it stands."""

    def new_salt(self) -> str | None:
        return None

    def seal(self, entry: Entry, prev_hash: str | None) -> str | None:
        record = entry.record
        record["prev_hash"] = prev_hash
        record["record_hash"] = chain.compute_record_hash(record=record, prev_hash=prev_hash)
        return str(record["record_hash"])


def sealer_for(chain_format: int | None, salt: Callable[[], bytes]) -> Sealer:
    """The sealer of a store's chain format: None, 1 or 2."""
    if chain_format is None:
        return NoSealer()
    return PlainSealer() if chain_format == 1 else ChainSealer(salt)
