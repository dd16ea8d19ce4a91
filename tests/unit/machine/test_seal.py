"""How the records of a commit are bound to those before them."""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from abstractruntime.core import chain
from abstractruntime.core.commit import Entry
from abstractruntime.core.machine import seal, step
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.seal import ChainSealer, NoSealer, PlainSealer, sealer_for
from tests.unit.machine.builder import (
    NOW,
    draft_of,
    planned,
    record,
    salts,
    slots_of,
    step_record,
)

SALT = ["00", *(f"{number:02x}" * 16 for number in range(1, 9))]
"""SALT[n] is the n-th salt that is drawn, as hex."""


def drawing() -> Callable[[], bytes]:
    drawn = salts()
    return lambda: next(drawn)


def text_of(value: Any) -> bytes:
    """The chain form, by the standard library."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def commitment(salt: str, value: Any) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + text_of(value)).hexdigest()


def hash_of(body: dict[str, Any]) -> str:
    covered = {name: body[name] for name in body if name not in ("record_hash", "signature")}
    return hashlib.sha256(text_of(covered)).hexdigest()


# ---- none, and format 1


def test_without_a_chain_records_stand_alone() -> None:
    sealer = NoSealer()
    line = Entry(step_record("completed", result={"v": 1}))
    before = deepcopy(slots_of(line))
    assert sealer.new_salt() is None
    assert sealer.seal(line, "hash-0") is None
    assert slots_of(line) == before


@pytest.mark.parametrize("prev_hash", [None, "hash-0"])
def test_format_1_hashes_the_record_as_it_stands_behind_the_one_before(
    prev_hash: str | None,
) -> None:
    sealer = PlainSealer()
    line = Entry(step_record("completed", result={"é": 1}, revision=4))
    expected = {**line.record, "prev_hash": prev_hash}
    expected["record_hash"] = hash_of(expected)
    assert sealer.new_salt() is None
    assert sealer.seal(line, prev_hash) == expected["record_hash"]
    assert line.record == expected


# ---- format 2


def test_a_new_salt_is_drawn_for_each_step() -> None:
    sealer = ChainSealer(drawing())
    assert sealer.new_salt() == SALT[1]
    assert sealer.new_salt() == SALT[2]


def test_format_2_hashes_commitments_in_place_of_payload_result_and_error() -> None:
    sealer = ChainSealer(drawing())
    effect = {"type": "call", "payload": {"é": 1}, "result_key": None}
    given = step_record("failed", effect=effect, result={"r": 1}, error="no luck", revision=4)
    line = Entry(deepcopy(given), salt="ab" * 16)
    body = {
        **given,
        "effect": {**effect, "payload": commitment("ab" * 16, {"é": 1})},
        "result": commitment(SALT[1], {"r": 1}),
        "error": commitment(SALT[2], "no luck"),
        "chain": 2,
        "prev_hash": "hash-0",
    }
    expected = {
        **given,
        "chain": 2,
        "prev_hash": "hash-0",
        "record_hash": hash_of(body),
        "salts": {"payload": "ab" * 16, "result": SALT[1], "error": SALT[2]},
    }
    assert sealer.seal(line, "hash-0") == expected["record_hash"]
    assert line.record == expected


def test_a_record_that_says_nothing_needs_no_salt() -> None:
    def none_left() -> bytes:
        raise AssertionError("a salt was drawn for nothing")

    for effect in (None, {"type": "call", "payload": None, "result_key": None}):
        given = record(effect=effect, revision=1)
        line = Entry(deepcopy(given))
        expected = {**given, "chain": 2, "prev_hash": None}
        expected["record_hash"] = hash_of(expected)
        assert ChainSealer(none_left).seal(line, None) == expected["record_hash"]
        assert line.record == expected


@pytest.mark.parametrize("empty", [{}, [], "", 0, False])
def test_what_is_empty_is_committed_to_like_anything_else(empty: Any) -> None:
    effect = {"type": "call", "payload": empty, "result_key": None}
    line = Entry(step_record("failed", effect=effect, result=empty, error=""))
    ChainSealer(drawing()).seal(line, None)
    assert line.record["salts"] == {"payload": SALT[1], "result": SALT[2], "error": SALT[3]}
    assert chain.verify_ledger_chain([line.record])["ok"]


def test_a_payload_without_a_salt_of_its_step_gets_a_fresh_one() -> None:
    line = Entry(step_record("started"))
    ChainSealer(drawing()).seal(line, None)
    assert line.record["salts"] == {"payload": SALT[1]}
    assert chain.verify_ledger_chain([line.record])["ok"]


def test_the_form_made_when_the_step_was_planned_is_used() -> None:
    line = Entry(step_record("started"), salt=SALT[1], form=text_of({"another": "value"}))
    sealer = ChainSealer(drawing())
    digest = sealer.seal(line, None)
    effect = {**line.record["effect"], "payload": commitment(SALT[1], {"another": "value"})}
    body = {**step_record("started"), "chain": 2, "effect": effect}
    assert digest == hash_of(body)


def count_forms(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    formed: list[Any] = []
    original = seal.chain_form

    def counting(value: Any) -> bytes:
        formed.append(value)
        return original(value)

    monkeypatch.setattr(seal, "chain_form", counting)
    return formed


def test_a_steps_payload_is_hashed_once_for_all_its_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    formed = count_forms(monkeypatch)
    sealer = ChainSealer(drawing())
    records = []
    head = None
    for status in ("started", "failed", "completed"):
        line = Entry(step_record(status), salt=SALT[8])
        head = sealer.seal(line, head)
        records.append(line.record)
    assert formed == [{"n": 1}]
    assert chain.verify_ledger_chain(records)["ok"]
    assert chain.verify_ledger_chain(records)["head_hash"] == head


def test_a_sealer_remembers_a_bounded_number_of_payloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "_REMEMBERED", 2)
    formed = count_forms(monkeypatch)
    sealer = ChainSealer(drawing())

    def sealed(number: int) -> None:
        effect = {"type": "call", "payload": number, "result_key": None}
        line = Entry(step_record("started", effect=effect), salt=SALT[number])
        sealer.seal(line, None)
        assert chain.verify_ledger_chain([line.record])["ok"]

    for number in (1, 2, 1, 2):
        sealed(number)
    assert formed == [1, 2]
    for number in (3, 3, 1):
        sealed(number)
    assert formed == [1, 2, 3, 1]


# ---- all of them


def test_the_sealer_of_a_store_is_that_of_its_chain_format() -> None:
    drawn = drawing()
    assert type(sealer_for(None, drawn)) is NoSealer
    assert type(sealer_for(1, drawn)) is PlainSealer
    second = sealer_for(2, drawn)
    assert type(second) is ChainSealer
    assert second.new_salt() == SALT[1]


@pytest.mark.parametrize("chain_format", [1, 2])
def test_the_records_of_several_commits_are_one_chain(chain_format: int) -> None:
    sealer = sealer_for(chain_format, drawing())
    draft = draft_of()
    ledger: list[dict[str, Any]] = []
    salt = sealer.new_salt()
    opened = step.intend(draft, planned(), step_id="s", key="k", now=NOW, salt=salt)
    ledger += [entry.record for entry in assemble(draft, sealer, now=NOW).records]
    step.complete(draft, opened, {"v": 1}, now=NOW)
    draft.note("moved", line_id="line-1", now=NOW)
    commit = assemble(draft, sealer, now=NOW)
    ledger += [entry.record for entry in commit.records]
    found = chain.verify_ledger_chain(ledger)
    assert found["ok"]
    assert found["count"] == 3
    assert found["head_hash"] == commit.checkpoint.chain_head
    ledger[1]["result"] = {"v": 2}
    assert chain.verify_ledger_chain(ledger)["first_bad_index"] == 1
