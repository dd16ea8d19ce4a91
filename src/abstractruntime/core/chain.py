"""The hash chain over a run's ledger records: link, verify, redact. It knows records only as dicts.

A record's hash covers the hash of the record before it, so nothing in between can be changed, taken
out or put in unseen. Format 1 hashes a record as it stands. Format 2 (`"chain": 2`) hashes salted
commitments in the place of an effect's payload, the result and the error: each can be taken out
later (`redact`) and the chain still verifies, while what is left stays protected.

A ledger may give fields back as None that the record which was hashed did not have: fields later
than the api's. So a hash is also right that is right without these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson

from abstractruntime.core.canonical import chain_form
from abstractruntime.errors import InvalidInput

__all__ = [
    "commitment",
    "committed_hash",
    "compute_record_hash",
    "redact",
    "verify_ledger_chain",
]

_UNHASHED: Final = ("record_hash", "signature")
_UNHASHED_2: Final = (*_UNHASHED, "salts", "redacted", "last")
API_FIELDS: Final = frozenset(
    (
        *("run_id", "step_id", "node_id", "status", "effect", "result", "error", "started_at"),
        *("ended_at", "actor_id", "session_id", "attempt", "idempotency_key"),
        *("prev_hash", "record_hash", "signature"),
    )
)
"""What every record has and every ledger keeps."""
LATER_FIELDS: Final = frozenset(
    (
        *("visit", "branch", "generation", "revision", "chain", "salts", "last", "next_node"),
        *("next_at", "vars"),
    )
)
"""What a record may have beside; a ledger may keep each as None where there is none."""
_FIELDS: Final = ("payload", "result", "error")
_ATOMS: Final = frozenset({str, int, bool, type(None)})
_ATOMS_OR_BOX: Final = _ATOMS | {dict}
_SALT: Final = re.compile("[0-9a-f]{32}")


# ---- linking


def commitment(salt: str, form: bytes) -> str:
    """The salted hash of a value, given its `chain_form`; `salt` is 16 bytes as hex."""
    return sha256(bytes.fromhex(salt) + form).hexdigest()


def compute_record_hash(*, record: dict[str, Any], prev_hash: str | None) -> str:
    """The hash of a whole record of either format, with `prev_hash` as the one before it."""
    if _is_format_2(record):
        return _hash({**_committed_view(record), "prev_hash": prev_hash})
    body = _without(record, _UNHASHED)
    body["prev_hash"] = prev_hash
    return _hash(body)


def committed_hash(record: Mapping[str, Any], commitments: Mapping[str, str]) -> str:
    """The format 2 hash of a record whose commitments are at hand: digests by field.

    `record` holds prev_hash. Fields that have a commitment are not read.
    """
    body = _without(record, _UNHASHED_2)
    body["chain"] = 2
    effect = body.get("effect")
    for field, digest in commitments.items():
        if field == "payload":
            body["effect"] = effect = {**body["effect"], "payload": digest}
        else:
            body[field] = digest
    kinds = list(map(type, body.values()))
    boxes = 0
    if type(effect) is dict and _ATOMS.issuperset(map(type, effect.values())):
        boxes = 1
    if kinds.count(dict) == boxes and _ATOMS_OR_BOX.issuperset(kinds):
        # No float and no depth: orjson writes it as `chain_form` would, without looking it through.
        try:
            return sha256(orjson.dumps(body, None, orjson.OPT_SORT_KEYS)).hexdigest()
        except TypeError:  # a lone surrogate, a long integer
            pass
    return _hash(body)


def _without(record: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    body = dict(record)
    for key in keys:
        body.pop(key, None)
    return body


def _hash(body: dict[str, Any]) -> str:
    return sha256(chain_form(body)).hexdigest()


# ---- verifying


def verify_ledger_chain(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether each record's hash is right and links to the one before; both formats, also mixed.

    Returns ok, count, errors, first_bad_index, head_hash (the last stored) and computed_head_hash
    (the same record's, recomputed). An error has index and type: prev_hash_mismatch
    (expected_prev_hash, actual_prev_hash), missing_record_hash, or record_hash_mismatch (stored,
    computed; computed is None when the record is beyond hashing).
    """
    errors: list[dict[str, Any]] = []
    expected = head = computed_head = None
    for index, record in enumerate(records):
        actual, stored = record.get("prev_hash"), record.get("record_hash")
        if actual != expected:
            errors.append(
                {
                    "index": index,
                    "type": "prev_hash_mismatch",
                    "expected_prev_hash": expected,
                    "actual_prev_hash": actual,
                }
            )
        expected = stored or None
        if not stored:
            errors.append({"index": index, "type": "missing_record_hash"})
            continue
        computed = _recomputed(record, actual)
        if computed != stored and _recomputed(_without_later_nones(record), actual) == stored:
            computed = stored
        head, computed_head = stored, computed
        if computed != stored:
            errors.append(
                {
                    "index": index,
                    "type": "record_hash_mismatch",
                    "stored": stored,
                    "computed": computed,
                }
            )
    return {
        "ok": not errors,
        "count": len(records),
        "errors": errors,
        "first_bad_index": errors[0]["index"] if errors else None,
        "head_hash": head,
        "computed_head_hash": computed_head,
    }


def _recomputed(record: dict[str, Any], prev_hash: Any) -> str | None:
    try:
        return compute_record_hash(record=record, prev_hash=prev_hash)
    except (TypeError, ValueError):  # a lone surrogate, say: nothing that was ever sealed
        return None


def _without_later_nones(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in record.items()
        if value is not None or name not in LATER_FIELDS
    }


def _is_format_2(record: Mapping[str, Any]) -> bool:
    return type(record.get("chain")) is int and record["chain"] == 2


def _committed_view(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the hash of a whole format 2 record covers.

    Salts and redactions that belong to no value stay in it, so that adding one changes the hash.
    """
    view = _without(record, _UNHASHED_2)
    salts, redacted = _table(record, "salts"), _table(record, "redacted")
    effect = view.get("effect")
    if type(effect) is dict and "payload" in effect:
        digest = _digest("payload", effect["payload"], salts, redacted)
        view["effect"] = {**effect, "payload": digest}
    for field in ("result", "error"):
        if field in view:
            view[field] = _digest(field, view[field], salts, redacted)
    if salts or redacted:
        view["astray"] = [salts, redacted]
    return view


def _table(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = record.get(name)
    if table is None:
        return {}
    return dict(table) if type(table) is dict else {"": table}


def _digest(field: str, value: Any, salts: dict[str, Any], redacted: dict[str, Any]) -> Any:
    """What stands for a field's value in the hash; takes what it used out of the tables."""
    if value is None:
        return redacted.pop(field) if type(redacted.get(field)) is str else None
    salt = salts.pop(field, None)
    if type(salt) is not str or not _SALT.fullmatch(salt):
        # As it stands, the text of a commitment could pass for the value it was made of.
        return {"unsalted": value}
    return commitment(salt, chain_form(value))


# ---- redacting


def redact(record: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """A copy of a format 2 record without these fields ("payload", "result", "error").

    The value becomes None, its salt goes, its commitment is kept in "redacted": the record's hash
    is still right, and who does not know the salt cannot try values against it. Fields that are
    None already stay as they are. Raises InvalidInput for another format or field.
    """
    if not _is_format_2(record):
        raise InvalidInput("only records of chain format 2 can be redacted")
    copy = dict(record)
    salts, redacted = _table(record, "salts"), _table(record, "redacted")
    for field in fields:
        if field not in _FIELDS:
            raise InvalidInput(f"{field!r} cannot be redacted, only {', '.join(_FIELDS)} can")
        holder = copy
        if field == "payload" and copy.get("effect") is not None:
            holder = copy["effect"] = dict(copy["effect"])
        if holder.get(field) is None:
            continue
        digest = _digest(field, holder[field], salts, {})
        if type(digest) is not str:
            raise InvalidInput(
                f"the record has no salt for its {field}: it is not as it was sealed"
            )
        redacted[field], holder[field] = digest, None
    copy.update(salts=salts, redacted=redacted)
    return {key: value for key, value in copy.items() if value != {} or key not in _UNHASHED_2}
