"""What the demo knows of invoices: reading them, what is wrong with one, and which are to be paid.

Pure rules over rows of a CSV file; nothing here knows of runs.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

Row = dict[str, str]

LIMIT = Decimal(10_000)
"""In EUR; what is over it needs a person."""

NEAR_DAYS = 14
"""The same amount from the same vendor within so many days looks like the same invoice."""

# What one unit was worth in EUR when the books of the demo were closed.
RATES = {
    "EUR": Decimal(1),
    "USD": Decimal("0.86"),
    "GBP": Decimal("1.15"),
    "CHF": Decimal("1.07"),
    "SEK": Decimal("0.091"),
    "NOK": Decimal("0.085"),
    "PLN": Decimal("0.235"),
    "JPY": Decimal("0.0057"),
}


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows to pay at once, rows that need a person by batch, and rows left out with the reason."""

    clean: list[Row]
    batches: dict[str, list[Row]]
    left_out: list[tuple[Row, str]]


def read_rows(path: str | Path) -> list[Row]:
    """The rows of the file as they stand, spaces around values taken away."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [
            {name: (value or "").strip() for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def sort_out(rows: Sequence[Row]) -> Sorted:
    """Which rows to pay, to ask about and to leave out, in the order of the file."""
    found = Sorted([], {"possible duplicates": [], "over the limit": []}, [])
    seen: set[str] = set()
    paid_on: dict[tuple[str, str, str], date] = {}
    for row in rows:
        problem = problem_of(row)
        if problem is not None:
            found.left_out.append((row, problem))
            continue
        clear = {**row, "currency": row["currency"].upper()}
        name = identity(clear)
        if name in seen:
            found.left_out.append((row, "sent twice"))
            continue
        seen.add(name)
        alike = (name.partition("|")[0], clear["currency"], clear["amount"])
        day, before = date.fromisoformat(clear["date"]), paid_on.get(alike)
        paid_on[alike] = day
        if before is not None and (day - before).days <= NEAR_DAYS:
            found.batches["possible duplicates"].append(clear)
        elif in_euro(clear) > LIMIT:
            found.batches["over the limit"].append(clear)
        else:
            found.clean.append(clear)
    return found


def problem_of(row: Row) -> str | None:
    """Why a row cannot be paid as it stands; None when it can."""
    for name in ("number", "vendor"):
        if not row[name]:
            return f"no {name}"
    if row["currency"].upper() not in RATES:
        return f"unknown currency {row['currency']}"
    try:
        amount = Decimal(row["amount"])
    except InvalidOperation:
        return f"no amount: {row['amount']}"
    if not amount.is_finite() or amount <= 0:
        return f"nothing to pay: {row['amount']}"
    try:
        date.fromisoformat(row["date"])
    except ValueError:
        return f"no date: {row['date']}"
    return None


def identity(row: Row) -> str:
    """What makes two rows the same invoice: vendor and number, however they are spelled."""
    return f"{' '.join(row['vendor'].casefold().split())}|{row['number'].casefold()}"


def in_euro(row: Row) -> Decimal:
    """The amount in EUR."""
    return Decimal(row["amount"]) * RATES[row["currency"].upper()]


def line(row: Row) -> str:
    """A row on one line."""
    amount = f"{Decimal(row['amount']):,}"
    return f"{row['vendor']}, {row['number']}: {amount} {row['currency']} for {row['purpose']}"
