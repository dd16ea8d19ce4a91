"""Sealing a record with its commitments at hand gives the hash that verifying it whole computes."""

import json
from hashlib import sha256
from typing import Any

import pytest

from abstractruntime.core.chain import commitment, committed_hash, compute_record_hash
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
