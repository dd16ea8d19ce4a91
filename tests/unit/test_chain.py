"""The chain finds every change to a ledger, and a redacted record still verifies."""

import json
from hashlib import sha256
from typing import Any

import pytest

from abstractruntime.core.chain import (
    commitment,
    compute_record_hash,
    verify_ledger_chain,
)

FIELDS = ["payload", "result", "error"]
VALUES: dict[str, Any] = {
    "payload": {"prompt": "é", "n": 1e-7},
    "result": {"text": "\x7f", "big": 2**70},
    "error": "it broke",
}


def canonical(value: Any) -> bytes:
    """The chain form by the stdlib alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def head(number: int) -> dict[str, Any]:
    """A record without its payload, result, error and hashes."""
    return {
        "run_id": "run-1",
        "step_id": f"step-{number}",
        "node_id": "think",
        "status": "completed",
        "effect": {"type": "llm_call", "result_key": "answer"},
        "started_at": "2026-01-01T00:00:00.000000+00:00",
        "attempt": 1,
        "revision": number,
        "chain": 2,
    }


def salt_of(*name: Any) -> str:
    return sha256(repr(name).encode()).hexdigest()[:32]


def record_2(number: int, prev: str | None, *fields: str) -> dict[str, Any]:
    """A sealed record of format 2 that has these fields; made without the module."""
    record = {**head(number), "result": None, "error": None, "prev_hash": prev, "signature": "s"}
    record["effect"] = {**record["effect"], "payload": None}
    hashed = json.loads(json.dumps({key: record[key] for key in record if key != "signature"}))
    salts = {field: salt_of(number, field) for field in fields}
    for field in fields:
        digest = sha256(bytes.fromhex(salts[field]) + canonical(VALUES[field])).hexdigest()
        for one, value in ((record, VALUES[field]), (hashed, digest)):
            (one["effect"] if field == "payload" else one)[field] = value
    if salts:
        record["salts"] = salts
    record["record_hash"] = sha256(canonical(hashed)).hexdigest()
    return record


def record_1(number: int, prev: str | None, *fields: str) -> dict[str, Any]:
    """A record of format 1, the public API's; made without the module."""
    record = {**head(number), "result": None, "error": None, "prev_hash": prev}
    del record["chain"]
    for field in fields:
        (record["effect"] if field == "payload" else record)[field] = VALUES[field]
    return {**record, "record_hash": sha256(canonical(record)).hexdigest(), "signature": None}


def ledger(*makers: Any) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for number, make in enumerate(makers or [record_2] * 4):
        prev = records[-1]["record_hash"] if records else None
        records.append(make(number, prev, *FIELDS[: number % 4]))
    return records


def types(records: list[dict[str, Any]]) -> list[tuple[int, str]]:
    report = verify_ledger_chain(records)
    errors = [(error["index"], error["type"]) for error in report["errors"]]
    assert report["ok"] is (not errors)
    assert report["first_bad_index"] == (errors[0][0] if errors else None)
    return errors


# ---- the rules, by golden values


def test_format_1_has_its_golden_value() -> None:
    record = {"run_id": "r", "status": "started", "n": 1.5, "é": ["ü", None], "prev_hash": "x"}
    golden = "e191fc0fc59825a117a60902c996dd05fb8b3fcfbd0a25dff33a6fc7ce48338a"
    assert compute_record_hash(record=record, prev_hash=None) == golden
    sealed = {**record, "record_hash": "h", "signature": "s", "prev_hash": None}
    assert compute_record_hash(record=sealed, prev_hash=None) == golden
    text = '{"n":1.5,"prev_hash":null,"run_id":"r","status":"started","é":["ü",null]}'
    assert sha256(text.encode()).hexdigest() == golden


def test_format_2_has_its_golden_value() -> None:
    record = record_2(1, "ab" * 32, "payload", "result")
    golden = "6a762fd8d9d1a210d0dad8ae3f3552ffad9953a4ba505b3688b60a6eb62b1023"
    assert record["record_hash"] == golden
    assert compute_record_hash(record=record, prev_hash="ab" * 32) == golden


def test_a_commitment_is_the_hash_of_salt_and_form() -> None:
    assert commitment("00" * 16, b"{}") == sha256(bytes(16) + b"{}").hexdigest()


@pytest.mark.parametrize("make", [record_1, record_2])
@pytest.mark.parametrize("fields", [[], ["payload"], ["result"], ["error"], FIELDS])
def test_a_record_of_any_fields_has_the_hash_that_the_rule_says(
    make: Any, fields: list[str]
) -> None:
    for prev in (None, "ab" * 32):
        record = make(3, prev, *fields)
        assert compute_record_hash(record=record, prev_hash=prev) == record["record_hash"]
        other = compute_record_hash(record=record, prev_hash="cd" * 32)
        assert other == make(3, "cd" * 32, *fields)["record_hash"]
        assert other != record["record_hash"]


def test_computing_changes_nothing_of_the_record() -> None:
    for make in (record_1, record_2):
        record = make(3, None, *FIELDS)
        before = json.dumps(record)
        compute_record_hash(record=record, prev_hash="x")
        verify_ledger_chain([record])
        assert json.dumps(record) == before


# ---- verifying


def test_an_empty_ledger_is_sound() -> None:
    assert verify_ledger_chain([]) == {
        "ok": True,
        "count": 0,
        "errors": [],
        "first_bad_index": None,
        "head_hash": None,
        "computed_head_hash": None,
    }


@pytest.mark.parametrize(
    "makers",
    [[record_1] * 4, [record_2] * 4, [record_1, record_2, record_1, record_2, record_2]],
    ids=["format 1", "format 2", "mixed"],
)
def test_an_untouched_ledger_is_sound(makers: list[Any]) -> None:
    records = ledger(*makers)
    report = verify_ledger_chain(records)
    assert report["ok"] is True
    assert report["errors"] == []
    assert report["count"] == len(records)
    assert report["first_bad_index"] is None
    assert report["head_hash"] == report["computed_head_hash"] == records[-1]["record_hash"]


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all members of a record, at every depth."""
    found = []
    for key, item in value.items():
        found.append((*path, key))
        found += spots(item, (*path, key)) if isinstance(item, dict) else []
    return found


@pytest.mark.parametrize("make", [record_1, record_2])
def test_a_change_of_any_member_of_a_record_is_found(make: Any) -> None:
    records = ledger(make, make, make, make, make)
    for path in spots(records[3]):
        if path[0] == "signature":
            continue
        for change in ("set", "none", "drop", "add"):
            copy = json.loads(json.dumps(records))
            holder = copy[3]
            for key in path[:-1]:
                holder = holder[key]
            old = holder[path[-1]]
            if change == "set":
                holder[path[-1]] = f"{old}x" if isinstance(old, str) else "x"
            elif change == "none":
                holder[path[-1]] = None
            elif change == "drop":
                del holder[path[-1]]
            else:
                holder["added"] = 1
            if copy == records:
                continue
            assert types(copy) != [], (path, change)
            assert types(copy)[0][0] == 3, (path, change)
    signed = [{**record, "signature": "another"} for record in records]
    assert types(signed) == [], "a signature signs the hash, so it cannot be in it"


def test_numbers_and_booleans_that_python_calls_equal_are_told_apart() -> None:
    for make in (record_1, record_2):
        for value in (True, 1.0, "1"):
            assert types([{**make(0, None), "attempt": value}]) == [(0, "record_hash_mismatch")]
    for chain in (True, 2.0, "2", 1, 3, None):
        assert types([{**record_2(0, None), "chain": chain}]) == [(0, "record_hash_mismatch")]


def test_a_changed_record_reports_both_hashes() -> None:
    records = ledger()
    stored = records[2]["record_hash"]
    records[2] = {**records[2], "status": "failed"}
    computed = compute_record_hash(record=records[2], prev_hash=records[2]["prev_hash"])
    report = verify_ledger_chain(records)
    assert report["errors"] == [
        {"index": 2, "type": "record_hash_mismatch", "stored": stored, "computed": computed}
    ]
    assert report["first_bad_index"] == 2
    assert report["ok"] is False
    assert report["computed_head_hash"] == report["head_hash"] == records[3]["record_hash"]


def test_a_changed_last_record_has_another_computed_head() -> None:
    records = ledger()
    records[3] = {**records[3], "status": "failed"}
    report = verify_ledger_chain(records)
    assert report["head_hash"] == records[3]["record_hash"]
    assert report["computed_head_hash"] == report["errors"][0]["computed"] != report["head_hash"]


def test_a_changed_link_is_named_with_what_stands_and_what_should() -> None:
    records = ledger()
    report = verify_ledger_chain([records[0], records[2], records[3]])
    assert report["errors"] == [
        {
            "index": 1,
            "type": "prev_hash_mismatch",
            "expected_prev_hash": records[0]["record_hash"],
            "actual_prev_hash": records[1]["record_hash"],
        }
    ]


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ([1, 2, 3], [0]),
        ([0, 2, 3], [1]),
        ([0, 1, 3], [2]),
        ([0, 1, 2], []),
        ([0, 2, 1, 3], [1, 2, 3]),
        ([1, 0, 2, 3], [0, 1, 2]),
        ([0, 0, 1, 2, 3], [1]),
        ([0, 1, 2, 3, 1], [4]),
    ],
)
def test_records_dropped_moved_or_doubled_are_found(order: list[int], found: list[int]) -> None:
    records = ledger()
    expected = [(index, "prev_hash_mismatch") for index in found]
    assert types([records[index] for index in order]) == expected


def test_a_missing_hash_is_named_and_the_rest_is_still_verified() -> None:
    records = ledger()
    for gone in (None, "", "drop"):
        copy = [dict(record) for record in records]
        copy[1]["record_hash"] = gone
        if gone == "drop":
            del copy[1]["record_hash"]
        copy[3]["attempt"] = 2
        report = verify_ledger_chain(copy)
        assert report["errors"][:2] == [
            {"index": 1, "type": "missing_record_hash"},
            {
                "index": 2,
                "type": "prev_hash_mismatch",
                "expected_prev_hash": None,
                "actual_prev_hash": records[1]["record_hash"],
            },
        ]
        assert [error["index"] for error in report["errors"]] == [1, 2, 3]
        assert report["count"] == 4
    last = [*records[:3], {**records[3], "record_hash": None}]
    report = verify_ledger_chain(last)
    assert report["head_hash"] == report["computed_head_hash"] == records[2]["record_hash"]


def test_a_ledger_that_was_chained_from_some_record_on_is_linked_from_there() -> None:
    bare = {**head(0), "prev_hash": None}
    records = [bare, record_1(1, None), {**bare}, record_2(3, None)]
    assert types(records) == [
        (0, "missing_record_hash"),
        (2, "prev_hash_mismatch"),
        (2, "missing_record_hash"),
    ]


@pytest.mark.parametrize("make", [record_1, record_2])
@pytest.mark.parametrize("value", ["\ud800", {1}, {1: {2}}])
def test_a_record_beyond_hashing_is_a_mismatch_and_no_crash(make: Any, value: Any) -> None:
    record = {**make(0, None, *FIELDS), "result": value}
    assert verify_ledger_chain([record])["errors"] == [
        {
            "index": 0,
            "type": "record_hash_mismatch",
            "stored": record["record_hash"],
            "computed": None,
        }
    ]
