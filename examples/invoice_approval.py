"""Pay a file of invoices, ask a person about the large ones, and never pay one twice.

    python examples/invoice_approval.py [invoices.csv]     # number,vendor,currency,amount

Kill it whenever you like and start it again: it goes on where it was. Or on the command line:
`abstractruntime run examples/invoice_approval.py:wf --vars '{"file": "…"}'`.
"""

import csv
import json
import math
import os
import sys
from importlib.resources import files
from pathlib import Path

from abstractruntime import RunStatus, Runtime, Workflow, open_store
from abstractruntime.authoring import ask_user, call, complete, goto

STORE = "sqlite:///invoices.db"
PAYMENTS = Path("payments.jsonl")
EURO = {"EUR": 1, "USD": 0.86, "GBP": 1.15, "CHF": 1.07}
EURO |= {"SEK": 0.091, "NOK": 0.085, "PLN": 0.235, "JPY": 0.0057}
wf = Workflow("invoice_approval")


@wf.node(entry=True)
def read(run):
    return call(read_invoices, file=run.vars["file"], into="rows", then=check)


@wf.node
def check(run):
    """Each row is good, in doubt, or left out; a node only decides, so it may run again."""
    good, large, left_out, seen = [], [], [], set()
    for row in run.vars["rows"]:
        name = (row["vendor"].strip().casefold(), row["number"])
        try:
            euro = float(row["amount"]) * EURO[row["currency"].upper()]
        except (ValueError, KeyError):
            euro = 0.0
        if euro <= 0 or not all(name) or name in seen:
            left_out.append(row)
        else:
            (large if euro > 10_000 else good).append(row)
        seen.add(name)
    run.vars.update(to_pay=good, large=large, left_out=left_out)
    return goto(pay)


@wf.node
def pay(run):
    """Each payment is a step of its own: visit after visit of this node."""
    if run.vars["to_pay"]:
        return call(pay_once, row=run.vars["to_pay"].pop(0), into="receipt", then=pay)
    return goto(ask if "answer" not in run.vars and run.vars["large"] else report)


@wf.node
def ask(run):
    rows = "\n".join(f"- {r['vendor']}: {r['amount']} {r['currency']}" for r in run.vars["large"])
    choices = ["approve", "reject"]
    return ask_user(f"Pay these?\n{rows}", choices=choices, allow_free_text=False, then=decide)


@wf.node
def decide(run):
    run.vars["to_pay"] = run.vars["large"] if run.vars["answer"] == "approve" else []
    return goto(pay)


@wf.node
def report(run):
    return complete({"payments": len(payments()), "left_out": len(run.vars["left_out"])})


@wf.function
def read_invoices(file):
    with open(file, encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))


@wf.function
def pay_once(row, step):
    """A step that a crash cut short is performed again with the same key: that one is refused."""
    known = payments()
    if step.key in known:
        return {"receipt": known[step.key], "repeated": True}
    with PAYMENTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": step.key, "receipt": len(known) + 1, **row}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return {"receipt": len(known) + 1, "repeated": False}


def payments():
    """Receipts by idempotency key."""
    text = PAYMENTS.read_text(encoding="utf-8") if PAYMENTS.exists() else ""
    return {line["key"]: line["receipt"] for line in map(json.loads, text.splitlines())}


def main(file):
    store = open_store(STORE)
    runtime = Runtime(store=store)
    live = [run.run_id for run in store.list_runs() if run.status.value in ("running", "waiting")]
    run_id = live[0] if live else runtime.start(workflow=wf, vars={"file": str(file)})
    state = runtime.tick(workflow=wf, run_id=run_id, max_steps=math.inf)
    while state.status is RunStatus.WAITING:
        choice, waiting = "", state.waiting
        while choice not in waiting.choices:
            choice = input(f"{waiting.prompt}\napprove or reject? ").strip()
        state = runtime.resume(workflow=wf, run_id=run_id, wait_key=waiting.wait_key,
                               payload=choice, max_steps=math.inf)  # fmt: skip
    print(state.status.value, state.output or state.error)  # noqa: T201


if __name__ == "__main__":
    packaged = files("abstractruntime.cli.demo").joinpath("invoices.csv")
    main(sys.argv[1] if len(sys.argv) > 1 else packaged)
