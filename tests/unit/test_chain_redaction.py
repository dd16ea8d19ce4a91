"""Redaction takes values out of a record and leaves the chain, and nothing can hide behind it."""

import json
from hashlib import sha256
from itertools import chain as flatten
from itertools import combinations
from typing import Any

import pytest

from abstractruntime.core.canonical import chain_form
from abstractruntime.core.chain import (
    commitment,
    compute_record_hash,
    redact,
    verify_ledger_chain,
)
from abstractruntime.errors import InvalidInput
from tests.unit.test_chain import (
    FIELDS,
    VALUES,
    canonical,
    ledger,
    record_1,
    record_2,
    salt_of,
    types,
)

SUBSETS = list(flatten.from_iterable(combinations(FIELDS, size) for size in range(4)))


def value_of(record: dict[str, Any], field: str) -> Any:
    return record["effect"]["payload"] if field == "payload" else record[field]


def put(record: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """A copy of the record with another value of the field."""
    copy: dict[str, Any] = json.loads(json.dumps(record))
    (copy["effect"] if field == "payload" else copy)[field] = value
    return copy


@pytest.mark.parametrize("fields", SUBSETS)
def test_a_redacted_record_still_verifies(fields: tuple[str, ...]) -> None:
    records = ledger()
    before = json.dumps(records[3])
    records[3] = redact(records[3], fields)
    assert types(records) == []
    text = json.dumps(records[3], ensure_ascii=False)
    for field in FIELDS:
        gone = field in fields
        assert value_of(records[3], field) == (None if gone else VALUES[field])
        assert (salt_of(3, field) in text) is not gone
        digest = commitment(salt_of(3, field), chain_form(VALUES[field]))
        assert records[3].get("redacted", {}).get(field) == (digest if gone else None)
    assert ("redacted" in records[3]) is bool(fields)
    assert ("salts" in records[3]) is (len(fields) < 3)
    assert json.loads(before)["record_hash"] == records[3]["record_hash"]


def test_redacting_leaves_the_record_given_as_it_was() -> None:
    record = record_2(3, None, *FIELDS)
    before = json.dumps(record)
    redact(record, FIELDS)
    assert json.dumps(record) == before


def test_redacting_again_or_what_is_none_changes_nothing() -> None:
    once = redact(record_2(3, None, "payload", "result"), ["payload"])
    assert redact(once, ["payload", "error"]) == once
    assert redact(redact(once, ["result"]), ["result"]) == redact(once, ["result"])
    assert types([redact(once, ["result"])]) == []
    bare = record_2(0, None)
    assert redact(bare, FIELDS) == bare
    late = record_2(1, None, "result")
    assert redact(late, FIELDS) == redact(late, ["result"]) != late
    moved = {**bare, "effect": None}
    assert redact(moved, FIELDS) == moved
    del moved["effect"], moved["error"]
    assert redact(moved, FIELDS) == moved


def test_only_format_2_and_its_three_fields_can_be_redacted() -> None:
    with pytest.raises(InvalidInput, match="format 2"):
        redact(record_1(1, None, "result"), ["result"])
    for field in ("status", "effect", "salts", ""):
        with pytest.raises(InvalidInput, match="payload, result, error"):
            redact(record_2(1, None, "result"), ["result", field])


@pytest.mark.parametrize("field", FIELDS)
def test_a_value_whose_salt_is_lost_cannot_be_redacted(field: str) -> None:
    record = record_2(3, None, *FIELDS)
    for salt in (None, "zz", 1):
        copy = json.loads(json.dumps(record))
        copy["salts"][field] = salt
        with pytest.raises(InvalidInput, match=f"no salt for its {field}"):
            redact(copy, [field])
    del record["salts"]
    with pytest.raises(InvalidInput, match=f"no salt for its {field}"):
        redact(record, [field])


# ---- what somebody may try


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_left_after_a_redaction_stays_protected(field: str) -> None:
    record = redact(record_2(3, None, *FIELDS), [field])
    for other in FIELDS:
        if other != field:
            assert types([put(record, other, {"forged": 1})]) == [(0, "record_hash_mismatch")]
            assert types([put(record, other, None)]) == [(0, "record_hash_mismatch")]
    assert types([{**record, "attempt": 2}]) == [(0, "record_hash_mismatch")]


@pytest.mark.parametrize("field", FIELDS)
def test_a_redacted_value_cannot_be_put_back_changed(field: str) -> None:
    whole = record_2(3, None, *FIELDS)
    record = redact(whole, [field])
    salts = {**record["salts"], field: salt_of(3, field)}
    for forged in ({"forged": 1}, "", 0, False, [], record["redacted"][field]):
        copy = put(record, field, forged)
        assert types([copy]) != []
        assert types([{**copy, "salts": salts}]) != []
        del copy["redacted"]
        assert types([copy]) != []
        assert types([{**copy, "salts": salts}]) != []
    # With its true value and salt the record is what it was.
    back = {**put(record, field, VALUES[field]), "salts": whole["salts"]}
    del back["redacted"]
    assert types([back]) == []
    assert types([{**back, "redacted": record["redacted"]}]) != []


@pytest.mark.parametrize("field", FIELDS)
def test_the_text_of_a_commitment_does_not_pass_for_its_value(field: str) -> None:
    record = record_2(3, None, *FIELDS)
    digest = commitment(record["salts"].pop(field), chain_form(VALUES[field]))
    assert types([put(record, field, digest)]) == [(0, "record_hash_mismatch")]


def test_salts_and_redactions_of_no_value_are_found() -> None:
    for fields in SUBSETS:
        record = record_2(2, None, *fields)
        for table, names in (("salts", [*FIELDS, "x"]), ("redacted", [*FIELDS, "x"])):
            for name in names:
                for value in ("ab" * 16, "ab" * 32, None, 1, {}):
                    stray = {**record.get(table, {}), name: value}
                    assert types([{**record, table: stray}]) == [(0, "record_hash_mismatch")]
            for value in ("x", [1], 1, True):
                assert types([{**record, table: value}]) == [(0, "record_hash_mismatch")]
    record = redact(record_2(3, None, *FIELDS), ["result"])
    for value in (None, 1, "ab" * 32, record["redacted"]["result"].upper()):
        assert types([{**record, "redacted": {"result": value}}]) != []
    assert types([{**record, "redacted": {"error": record["redacted"]["result"]}}]) != []


def test_a_table_is_an_object_and_nothing_that_could_be_made_one() -> None:
    record = record_2(3, None, *FIELDS)
    pairs = [list(pair) for pair in record["salts"].items()]
    assert types([{**record, "salts": pairs}]) == [(0, "record_hash_mismatch")]


def test_what_has_no_salt_or_no_value_is_hashed_as_the_rule_says() -> None:
    record = {**record_2(0, None), "result": [1]}
    stray = {"salts": "x", "redacted": {"error": 1}}
    hashed = {key: record[key] for key in record if key not in ("record_hash", "signature")}
    hashed |= {"result": {"unsalted": [1]}, "astray": [{"": "x"}, {"error": 1}]}
    found = compute_record_hash(record={**record, **stray}, prev_hash=None)
    assert found == sha256(canonical(hashed)).hexdigest()


def test_a_record_without_effect_takes_no_commitment_of_a_payload() -> None:
    record = {**record_2(0, None), "effect": None}
    assert types([{**record, "redacted": {"payload": "ab" * 32}}]) == [(0, "record_hash_mismatch")]


@pytest.mark.parametrize(
    "spell", [str.upper, lambda s: f" {s}", lambda s: s[:-2], lambda s: s + "\n"]
)
def test_a_salt_has_one_spelling(spell: Any) -> None:
    record = record_2(3, None, *FIELDS)
    for field in FIELDS:
        salts = {**record["salts"], field: spell(record["salts"][field])}
        assert types([{**record, "salts": salts}]) == [(0, "record_hash_mismatch")]


def test_no_tables_and_empty_ones_are_alike() -> None:
    record = record_2(0, None)
    for table in ("salts", "redacted"):
        for empty in (None, {}):
            assert types([{**record, table: empty}]) == []


def test_redacting_hides_no_earlier_change() -> None:
    records = ledger()
    records[3] = redact(put(records[3], "result", {"forged": 1}), ["result"])
    assert types(records) == [(3, "record_hash_mismatch")]
    assert verify_ledger_chain(records)["ok"] is False
