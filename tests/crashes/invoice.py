"""A workflow like the demo: eleven effects, a loop, a person, a timer and a child that pays."""

from __future__ import annotations

from typing import Any

from abstractruntime import Effect, EffectOutcome, StepPlan, WorkflowSpec
from abstractruntime.core.models import RunState
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.core.times import plus
from abstractruntime.engine.outcome import StepContext
from abstractruntime.testing.clock import EPOCH
from abstractruntime.testing.workflows import Built, Seer

INVOICES = [
    {"id": "A-1", "vendor": "Ödegård & Söhne", "amount": 120},
    {"id": "A-2", "vendor": "Kiosk 4", "amount": 9_900},
    {"id": "A-2", "vendor": "Kiosk 4", "amount": 9_900},
    {"id": "A-3", "vendor": "中央倉庫", "amount": 55},
]
LIMIT = 5_000
PAID = 3


def invoices(seer: Seer, *, touches: bool = True) -> Built:
    """The workflow; its effects tell `seer`. `touches`: a handler of it also changes vars."""
    child = WorkflowSpec(
        "payments", "pay", {"pay": _pay, "paid": _paid}, functions={"pay": _does(seer)}
    )
    nodes = {
        "read": _step("read", "read", "validate"),
        "validate": _validate,
        "convert": _convert,
        "ask": _ask,
        "cool": _cool,
        "pay": _start_payments,
        "notify": _step("notify", "notify", "report"),
        "report": _step("report", "report", "done"),
        "done": _done,
    }
    functions = {
        "read": _read(seer),
        **{name: _does(seer) for name in ("validate", "notify", "report")},
    }
    root = WorkflowSpec("invoices", "read", nodes, functions=functions)
    effects = {("invoices", node, 1) for node in ("read", "convert", "notify", "report")}
    effects |= {("invoices", "validate", visit + 1) for visit in range(len(INVOICES))}
    effects |= {("payments", "pay", visit + 1) for visit in range(PAID)}
    return Built(
        root,
        {"invoices": root, "payments": child},
        {"convert": _converts(seer, touches)},
        DefaultEffectPolicy(default_max_attempts=2, default_backoff_base=0.0),
        frozenset(effects),
    )


def _count(run: RunState, node_id: str) -> int:
    counts = run.vars.setdefault("counts", {})
    counts[node_id] = counts.get(node_id, 0) + 1
    return int(counts[node_id])


def _call(node_id: str, function: str, key: str, after: str, **arguments: Any) -> StepPlan:
    payload = {"function": function, "arguments": arguments}
    return StepPlan(node_id, Effect("call", payload, key), after)


def _step(node_id: str, function: str, after: str) -> Any:
    def node(run: RunState, context: Any) -> StepPlan:
        _count(run, node_id)
        return _call(node_id, function, node_id, after)

    return node


def _validate(run: RunState, context: Any) -> StepPlan:
    at = _count(run, "validate") - 1
    invoice = run.vars["read"]["invoices"][at]
    run.vars.setdefault("seen", []).append(invoice["id"])
    if invoice["amount"] > LIMIT and invoice["id"] not in run.vars.setdefault("flagged", []):
        run.vars["flagged"].append(invoice["id"])
    after = "validate" if at + 1 < len(INVOICES) else "convert"
    return _call("validate", "validate", f"valid.{at}", after, invoice=invoice)


def _convert(run: RunState, context: Any) -> StepPlan:
    _count(run, "convert")
    return StepPlan("convert", Effect("convert", {"to": "EUR"}, "converted"), "ask")


def _ask(run: RunState, context: Any) -> StepPlan:
    _count(run, "ask")
    payload = {
        "prompt": f"Pay {len(run.vars['flagged'])} over the limit?",
        "choices": ["approve", "reject"],
        "allow_free_text": False,
    }
    return StepPlan("ask", Effect("ask_user", payload, "approval"), "cool")


def _cool(run: RunState, context: Any) -> StepPlan:
    _count(run, "cool")
    return StepPlan("cool", Effect("wait_until", {"until": plus(EPOCH, 86_400)}, "cooled"), "pay")


def _start_payments(run: RunState, context: Any) -> StepPlan:
    _count(run, "pay")
    payload = {"workflow_id": "payments", "vars": {"batch": run.vars["converted"]["batch"]}}
    return StepPlan("pay", Effect("start_subworkflow", payload, "payments"), "notify")


def _pay(run: RunState, context: Any) -> StepPlan:
    at = _count(run, "pay") - 1
    after = "pay" if at + 1 < PAID else "paid"
    return _call("pay", "pay", f"receipts.{at}", after, invoice=run.vars["batch"][at])


def _paid(run: RunState, context: Any) -> StepPlan:
    _count(run, "paid")
    return StepPlan(
        "paid", complete_output={"receipts": run.vars["receipts"], "counts": run.vars["counts"]}
    )


def _done(run: RunState, context: Any) -> StepPlan:
    _count(run, "done")
    output = {name: value for name, value in run.vars.items() if name != "_limits"}
    return StepPlan("done", complete_output=output)


def _read(seer: Seer) -> Any:
    def read(step: StepContext) -> dict[str, Any]:
        seer.perform(step)
        return {"invoices": INVOICES}

    return read


def _does(seer: Seer) -> Any:
    def does(*, step: StepContext, **arguments: Any) -> dict[str, Any]:
        seer.perform(step)
        return {"visit": step.visit, **arguments}

    return does


def _converts(seer: Seer, touches: bool) -> Any:
    """An async handler that may change vars beside its result."""

    async def convert(run: RunState, effect: Effect, step: StepContext) -> EffectOutcome:
        seer.perform(step)
        batch = [f"{invoice_id}/EUR" for invoice_id in sorted(set(run.vars["seen"]))]
        if touches:
            run.vars["rates"] = {"EUR": 1}
        return EffectOutcome.completed({"batch": batch})

    return convert
