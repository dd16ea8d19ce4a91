"""Proves from the files alone what the demo did: from the invoices and payments, and the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from abstractruntime.cli.demo.folder import Place
from abstractruntime.cli.demo.invoices import identity, read_rows, sort_out
from abstractruntime.cli.demo.payments import read_payments
from abstractruntime.cli.demo.workflow import INVOICES, PAYMENTS
from abstractruntime.inspect.timeline import Summary, each_record, summarise
from abstractruntime.inspect.verify import Verdict, verify_run
from abstractruntime.storage.base import Store


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found. `refused` are payments whose key was known when they were tried again."""

    invoices: int
    to_pay: int
    payments: int
    twice: tuple[str, ...]
    missed: tuple[str, ...]
    strangers: tuple[str, ...]
    refused: tuple[dict[str, str], ...]
    in_ledger: int
    agrees: bool
    summary: Summary
    verdict: Verdict

    @property
    def holds(self) -> bool:
        """Whether each invoice was paid exactly once, and the ledger says the same."""
        return self.agrees and self.verdict.ok and not (self.twice or self.missed or self.strangers)

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "holds": self.holds,
            "invoices": self.invoices,
            "to_pay": self.to_pay,
            "payments": self.payments,
            "paid_twice": list(self.twice),
            "missed": list(self.missed),
            "not_to_be_paid": list(self.strangers),
            "refused": list(self.refused),
            "in_ledger": self.in_ledger,
            "ledger_agrees": self.agrees,
            "ledger": self.summary.to_dict(),
            "chain": self.verdict.to_dict(),
        }


def prove(place: Place, store: Store, decisions: dict[str, str]) -> Proof:
    """Compare what had to be paid with what was, and both with the ledger."""
    rows = read_rows(place.file(INVOICES))
    found = sort_out(rows)
    wanted = [*found.clean]
    for name, batch in found.batches.items():
        if decisions.get(name) == "approve":
            wanted += batch
    payments = read_payments(place.file(PAYMENTS))
    paid = Counter(identity(payment) for payment in payments)
    due = {identity(row): row for row in wanted}
    done = dict(_ledger_payments(place, store))
    keys = [payment["key"] for payment in payments]
    receipts = {payment["key"]: payment["receipt"] for payment in payments}
    amounts = all(
        (payment["amount"], payment["currency"]) == (row["amount"], row["currency"])
        for payment in payments
        if (row := due.get(identity(payment))) is not None
    )
    return Proof(
        invoices=len(rows),
        to_pay=len(due),
        payments=len(payments),
        twice=tuple(name for name, times in paid.items() if times > 1),
        missed=tuple(name for name in due if name not in paid),
        strangers=tuple(name for name in paid if name not in due),
        refused=tuple(
            {"key": key, "receipt": result["receipt"]}
            for key, result in done.items()
            if result["repeated"]
        ),
        in_ledger=len(done),
        agrees=amounts
        and len(set(keys)) == len(keys)
        and {key: result["receipt"] for key, result in done.items()} == receipts,
        summary=summarise(each_record(store, place.run_id)),
        verdict=verify_run(store, place.run_id),
    )


def committed_payments(place: Place, store: Store) -> int:
    """How many payments the ledger knows the outcome of."""
    return len(_ledger_payments(place, store))


def _ledger_payments(place: Place, store: Store) -> list[tuple[str, dict[str, Any]]]:
    return [
        (record["idempotency_key"], record["result"])
        for record in each_record(store, place.run_id)
        if record["status"] == "completed"
        and record["effect"] is not None
        and record["effect"]["payload"].get("function") == "pay_invoice"
    ]
