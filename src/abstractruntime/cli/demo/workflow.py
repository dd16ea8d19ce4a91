"""The demo's workflow: read invoices, check them, pay what may be paid, ask about the rest, report.

`abstractruntime run abstractruntime.cli.demo.workflow:workflow --vars '{"folder": "."}'` runs it in
a folder that holds an invoices.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from abstractruntime.authoring import Plan, Workflow, ask_user, call, complete, goto
from abstractruntime.cli.demo.invoices import Row, in_euro, line, read_rows, sort_out
from abstractruntime.cli.demo.payments import pay_once, read_payments
from abstractruntime.core.models import RunState
from abstractruntime.engine.outcome import StepContext
from abstractruntime.storage.durable_files import write_whole

INVOICES, PAYMENTS, REPORT = "invoices.csv", "payments.jsonl", "report.md"
SHOWN = 12

workflow = Workflow("invoice_approval")


# -- nodes: they plan


@workflow.node(entry=True)
def read(run: RunState) -> Plan:
    """Read the file."""
    return call(read_invoices, folder=run.vars["folder"], into="rows", then=check)


@workflow.node
def check(run: RunState) -> Plan:
    """Decide what is paid, asked about and left out."""
    found = sort_out(run.vars["rows"])
    run.vars["to_pay"] = found.clean
    run.vars["next"] = 0
    run.vars["batches"] = [{"name": n, "rows": r} for n, r in found.batches.items() if r]
    run.vars["left_out"] = [{"row": row, "reason": reason} for row, reason in found.left_out]
    run.vars["decisions"] = {}
    return goto(pay)


@workflow.node
def pay(run: RunState) -> Plan:
    """Pay one invoice, and come back for the next."""
    rows, number = run.vars["to_pay"], run.vars["next"]
    if number < len(rows):
        run.vars["next"] = number + 1
        return call(pay_invoice, row=rows[number], folder=run.vars["folder"], into="paid", then=pay)
    if len(run.vars["decisions"]) < len(run.vars["batches"]):
        return goto(ask)
    return goto(report)


@workflow.node
def ask(run: RunState) -> Plan:
    """A person decides on the next batch."""
    batch = run.vars["batches"][len(run.vars["decisions"])]
    return ask_user(
        question(batch["name"], batch["rows"]),
        choices=["approve", "reject"],
        allow_free_text=False,
        into="answer",
        then=decide,
    )


@workflow.node
def decide(run: RunState) -> Plan:
    """Pay the batch or leave it."""
    batch = run.vars["batches"][len(run.vars["decisions"])]
    choice = run.vars["answer"]
    run.vars["decisions"][batch["name"]] = choice
    run.vars["to_pay"] = batch["rows"] if choice == "approve" else []
    run.vars["next"] = 0
    return goto(pay)


@workflow.node
def report(run: RunState) -> Plan:
    """Write down what was done."""
    return call(
        write_report,
        folder=run.vars["folder"],
        left_out=run.vars["left_out"],
        decisions=run.vars["decisions"],
        into="report",
        then=done,
    )


@workflow.node
def done(run: RunState) -> Plan:
    """The end."""
    return complete({**run.vars["report"], "decisions": run.vars["decisions"]})


# -- functions: they act


@workflow.function
def read_invoices(folder: str) -> list[Row]:
    """The rows of the folder's invoices."""
    return read_rows(Path(folder) / INVOICES)


@workflow.function
def pay_invoice(row: Row, folder: str, step: StepContext) -> dict[str, Any]:
    """Pay a row; the step's key makes a repetition known."""
    return pay_once(Path(folder) / PAYMENTS, step.key, row)


@workflow.function
def write_report(
    folder: str, left_out: list[dict[str, Any]], decisions: dict[str, str]
) -> dict[str, Any]:
    """Write the report; it says the same however often it is written."""
    payments = read_payments(Path(folder) / PAYMENTS)
    totals: dict[str, Any] = {}
    for each in payments:
        totals[each["currency"]] = totals.get(each["currency"], 0) + in_euro(each)
    text = ["# Invoices", "", f"{len(payments)} payments, in EUR by their currency:", ""]
    text += [f"- {currency}: {total:,.2f}" for currency, total in sorted(totals.items())]
    text += ["", "Decided by a person:", ""]
    text += [f"- {name}: {choice}" for name, choice in decisions.items()]
    text += ["", "Left out:", ""]
    text += [f"- {each['reason']}: {_named(each['row'])}" for each in left_out]
    write_whole(Path(folder) / REPORT, ("\n".join(text) + "\n").encode("utf-8"))
    return {
        "payments": len(payments),
        "left_out": len(left_out),
        "total_eur": f"{sum(totals.values()):.2f}",
    }


def _named(row: Row) -> str:
    return f"{row['vendor'] or 'no vendor'}, {row['number'] or 'no number'}"


def question(name: str, rows: list[Row]) -> str:
    """What a person is asked about a batch."""
    total = sum(in_euro(row) for row in rows)
    lines = [f"Pay these {len(rows)} invoices ({name}), {total:,.2f} EUR in all?"]
    lines += [f"- {line(row)}" for row in rows[:SHOWN]]
    if len(rows) > SHOWN:
        lines.append(f"- and {len(rows) - SHOWN} more")
    return "\n".join(lines)
