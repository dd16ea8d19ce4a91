"""The demo's rules sort 200 invoices, and its bank pays each key once, also after a crash."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from abstractruntime.cli.demo.invoices import (
    LIMIT,
    identity,
    in_euro,
    line,
    problem_of,
    read_rows,
    sort_out,
)
from abstractruntime.cli.demo.payments import pay_once, read_payments
from abstractruntime.cli.demo.workflow import question

CSV = Path(str(files("abstractruntime.cli.demo").joinpath("invoices.csv")))
ROW = {
    "number": "7",
    "vendor": "Ann",
    "country": "DE",
    "date": "2026-03-01",
    "due": "2026-04-01",
    "currency": "EUR",
    "amount": "10.00",
    "purpose": "paper",
}


def test_the_packaged_file_has_200_invoices_of_every_kind() -> None:
    rows = read_rows(CSV)
    found = sort_out(rows)
    assert len(rows) == 200
    assert len({row["currency"].upper() for row in rows}) >= 8
    assert len({row["vendor"].strip().casefold() for row in rows}) >= 25
    assert {name: len(batch) for name, batch in found.batches.items()} == {
        "possible duplicates": 6,
        "over the limit": 9,
    }
    assert Counter(reason.partition(":")[0] for _, reason in found.left_out) == {
        "sent twice": 4,
        "nothing to pay": 2,
        "no date": 1,
        "no amount": 1,
        "no number": 1,
        "no vendor": 1,
        "unknown currency USDT": 1,
    }
    assert len(found.clean) == 174


def test_every_row_goes_to_exactly_one_place_and_no_invoice_twice_to_payment() -> None:
    rows = read_rows(CSV)
    found = sort_out(rows)
    batches = [row for batch in found.batches.values() for row in batch]
    assert len(found.clean) + len(batches) + len(found.left_out) == len(rows)
    assert max(Counter(identity(row) for row in [*found.clean, *batches]).values()) == 1
    assert all(in_euro(row) <= LIMIT for row in found.clean)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"number": ""}, "no number"),
        ({"vendor": ""}, "no vendor"),
        ({"currency": "usd"}, None),
        ({"currency": "EURO"}, "unknown currency EURO"),
        ({"amount": "1.234,50"}, "no amount: 1.234,50"),
        ({"amount": "-1"}, "nothing to pay: -1"),
        ({"amount": "NaN"}, "nothing to pay: NaN"),
        ({"amount": "Infinity"}, "nothing to pay: Infinity"),
        ({"date": "2026-02-30"}, "no date: 2026-02-30"),
    ],
)
def test_a_row_that_cannot_be_paid_says_why(change: dict[str, str], problem: str | None) -> None:
    assert problem_of({**ROW, **change}) == problem


def test_the_same_invoice_is_known_however_it_is_spelled() -> None:
    again = {**ROW, "vendor": "  ANN ", "currency": "eur"}
    found = sort_out([ROW, again])
    assert [reason for _, reason in found.left_out] == ["sent twice"]


@pytest.mark.parametrize(("day", "doubtful"), [("2026-03-15", True), ("2026-03-16", False)])
def test_the_same_amount_soon_after_is_a_possible_duplicate(day: str, doubtful: bool) -> None:
    found = sort_out([ROW, {**ROW, "number": "8", "date": day}])
    assert bool(found.batches["possible duplicates"]) is doubtful


def test_the_limit_is_in_euro_and_belongs_to_what_is_paid_at_once() -> None:
    at, over = {**ROW, "amount": "10000"}, {**ROW, "number": "8", "amount": "10000.01"}
    yen = {**ROW, "number": "9", "currency": "JPY", "amount": "1800000"}
    found = sort_out([at, over, yen])
    assert found.clean == [at]
    assert found.batches["over the limit"] == [over, yen]
    assert in_euro(yen) == Decimal("10260.0000")


def test_a_question_shows_the_rows_and_stays_short() -> None:
    text = question("over the limit", [{**ROW, "number": str(n)} for n in range(20)])
    assert text.startswith("Pay these 20 invoices (over the limit), 200.00 EUR in all?")
    assert line({**ROW, "number": "3"}) in text
    assert text.endswith("and 8 more")


def test_a_key_is_paid_once_and_refused_after_that(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    assert pay_once(file, "k1", ROW) == {"receipt": "P-0001", "repeated": False}
    assert pay_once(file, "k2", ROW) == {"receipt": "P-0002", "repeated": False}
    before = file.read_bytes()
    assert pay_once(file, "k1", ROW) == {"receipt": "P-0001", "repeated": True}
    assert file.read_bytes() == before
    assert [payment["key"] for payment in read_payments(file)] == ["k1", "k2"]


@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_a_line_that_a_crash_cut_off_is_no_payment_and_is_made_again(
    tmp_path: Path, cut: int
) -> None:
    file = tmp_path / "p.jsonl"
    pay_once(file, "k1", ROW)
    whole = file.read_bytes()
    torn = json.dumps({"receipt": "P-0002", "key": "k2", **ROW}).encode()[:cut]
    file.write_bytes(whole + torn)
    assert len(read_payments(file)) == 1
    assert pay_once(file, "k2", ROW) == {"receipt": "P-0002", "repeated": False}
    assert [payment["key"] for payment in read_payments(file)] == ["k1", "k2"]


def test_nothing_is_paid_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_payments(tmp_path / "gone.jsonl") == []
