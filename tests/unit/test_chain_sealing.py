"""Sealing a record from its parts gives the hash that verifying it whole computes."""

import json
from hashlib import sha256
from typing import Any

import pytest

from abstractruntime.core.canonical import chain_form
from abstractruntime.core.chain import (
    Commitment,
    commitment,
    committed_hash,
    compute_record_hash,
    seal,
)
from tests.unit.test_chain import (
    FIELDS,
    VALUES,
    canonical,
    head,
    record_1,
    record_2,
    salt_of,
    types,
)


class Salts:
    """Salts in the order in which a record's fields take them."""

    def __init__(self, number: int, fields: list[str]) -> None:
        self.left = [bytes.fromhex(salt_of(number, field)) for field in fields]

    def __call__(self) -> bytes:
        return self.left.pop(0)


@pytest.mark.parametrize("fields", [[], ["payload"], ["result"], ["error"], FIELDS])
def test_sealing_in_parts_gives_what_the_whole_record_verifies_to(fields: list[str]) -> None:
    salts = Salts(2, fields)
    digest, made = seal(
        head(2),
        prev_hash="ab" * 32,
        salt=salts,
        payload=chain_form(VALUES["payload"]) if "payload" in fields else None,
        result=chain_form(VALUES["result"]) if "result" in fields else None,
        error=VALUES["error"] if "error" in fields else None,
    )
    whole = record_2(2, "ab" * 32, *fields)
    assert digest == whole["record_hash"]
    assert {field: one.salt for field, one in made.items()} == whole.get("salts", {})
    assert salts.left == []
    for field, one in made.items():
        assert one.digest == commitment(one.salt, canonical(VALUES[field]))


def test_records_of_one_step_share_the_commitment_of_its_payload() -> None:
    form = chain_form(VALUES["payload"])
    _, made = seal(head(0), prev_hash=None, salt=lambda: bytes(16), payload=form)
    assert made == {"payload": Commitment("00" * 16, commitment("00" * 16, form))}

    def no_salt() -> bytes:
        raise AssertionError("a commitment that is there needs no salt")

    again, same = seal(head(1), prev_hash="x", salt=no_salt, payload=made["payload"])
    assert same == made
    assert again == seal(head(1), prev_hash="x", salt=lambda: bytes(16), payload=form)[0]


def test_a_head_may_hold_what_is_not_hashed_and_needs_no_chain_mark() -> None:
    expected, _ = seal(head(1), prev_hash=None, salt=lambda: bytes(16), error="e")
    more = {**head(1), "record_hash": None, "signature": "s", "salts": {}, "redacted": None}
    assert seal(more, prev_hash=None, salt=lambda: bytes(16), error="e")[0] == expected
    del more["chain"]
    assert seal(more, prev_hash=None, salt=lambda: bytes(16), error="e")[0] == expected
    assert more["effect"] == {"type": "llm_call", "result_key": "answer"}


def test_a_record_without_an_effect_can_be_sealed() -> None:
    form = chain_form({"kind": "resumed"})
    moved = {**head(1), "effect": None}
    digest, made = seal(moved, prev_hash=None, salt=lambda: bytes(16), result=form)
    record = {**moved, "result": {"kind": "resumed"}, "error": None, "prev_hash": None}
    record |= {"salts": {"result": made["result"].salt}, "record_hash": digest}
    assert types([record]) == []


def test_a_whole_record_can_be_hashed_with_its_commitments_at_hand() -> None:
    for fields in ([], ["payload"], ["result", "error"], FIELDS):
        record = record_2(2, "ab" * 32, *fields)
        digests = {f: commitment(salt_of(2, f), canonical(VALUES[f])) for f in fields}
        before = json.dumps(record)
        assert committed_hash(record, digests) == record["record_hash"]
        del record["record_hash"], record["chain"]
        assert committed_hash(record, digests) == json.loads(before)["record_hash"]


@pytest.mark.parametrize(
    "more",
    [
        {"vars": {"x": [1e-7, 1e22]}},
        {"n": 1e-7},
        {"n": 2**70},
        {"flag": True, "text": "é\x7f\x00"},
        {"effect": {"type": "call", "payload": None, "timeout": 1e-5}},
        {"effect": {"type": "call", "payload": None, "options": {"t": 1e-5}}},
        {"effect": {}},
        {"effect": None},
    ],
)
def test_a_record_with_more_in_it_is_hashed_as_it_verifies(more: dict[str, Any]) -> None:
    record = {**head(1), "effect": None, "result": None, "error": None, "prev_hash": None, **more}
    expected = compute_record_hash(record=record, prev_hash=None)
    assert committed_hash(record, {}) == expected == sha256(canonical(record)).hexdigest()
    del record["effect"]
    expected = compute_record_hash(record=record, prev_hash=None)
    assert committed_hash(record, {}) == expected == sha256(canonical(record)).hexdigest()
    with pytest.raises(ValueError, match="surrogate"):
        committed_hash({**record, "node_id": "\ud800"}, {})


@pytest.mark.parametrize("make", [record_1, record_2])
def test_where_a_record_stood_in_a_file_is_no_part_of_what_it_says(make: Any) -> None:
    record = make(1, None, "result")
    assert (types([{**record, "last": True}]) == []) is (make is record_2)
