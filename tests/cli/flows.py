"""Programs that the command line's tests run: each name is an APP of its own."""

import time
from datetime import UTC, datetime, timedelta

from abstractruntime import (
    Approval,
    Effect,
    Runtime,
    StepPlan,
    WorkflowRegistry,
    open_store,
)
from abstractruntime.authoring import (
    Workflow,
    ask_user,
    call,
    complete,
    effect,
    start_subworkflow,
    wait_event,
    wait_until,
)
from abstractruntime.errors import OutcomeUnknown

greet = Workflow("greet")


@greet.node
def ask(run):
    return ask_user("Who are you?", into="who", then=shout)


@greet.node
def shout(run):
    return call(louder, text=run.vars["who"], into="loud", then=said)


@greet.node
def said(run):
    return complete({"said": run.vars["loud"]})


@greet.function
def louder(text):
    print("a program may print")
    return text.upper()


deploy = Workflow("deploy")


@deploy.node
def confirm(run):
    return ask_user(
        "Deploy?", choices=["yes", "no, wait"], allow_free_text=False, into="ok", then=built
    )


@deploy.node
def built(run):
    return wait_event("ci:done", into="ci", then=over)


@deploy.node
def over(run):
    return complete({"ok": run.vars["ok"], "ci": run.vars["ci"]})


nap = Workflow("nap")


@nap.node
def sleep(run):
    later = datetime.now(UTC) + timedelta(seconds=run.vars.get("seconds", 0.3))
    return wait_until(later, then=awake)


@nap.node
def awake(run):
    return complete({"slept": True})


broken = Workflow("broken")


@broken.node
def boom(run):
    raise ValueError("no \x1b[31m[bold]luck[/bold]")


parent = Workflow("parent")


@parent.node
def begin(run):
    return start_subworkflow("greet", into="child", then=end)


@parent.node
def end(run):
    return complete(run.vars["child"]["output"])


adder = Workflow("adder")


@adder.node
def add(run):
    run.vars["n"] = run.vars.get("n", 0) + 1
    return call(wait_a_little, seconds=run.vars.get("seconds", 0), then=add if _left(run) else sum_)


@adder.node
def sum_(run):
    return complete({"n": run.vars["n"]})


@adder.function
def wait_a_little(seconds):
    time.sleep(seconds)


def _left(run):
    return run.vars["n"] < run.vars.get("times", 3)


crowd = Workflow("crowd")


@crowd.node
def several(run):
    asks = [Effect("ask_user", {"prompt": f"{n}?", "wait_key": f"q{n}"}) for n in range(3)]
    if run.vars.get("many"):
        asks = [Effect("ask_user", {"prompt": f"{n}?"}) for n in range(12)]
    return StepPlan("several", effects=asks, next_node="counted", into="all")


@crowd.node
def counted(run):
    return complete({"said": run.vars["all"]["results"]})


doubtful = Workflow("doubtful")


@doubtful.node
def wire(run):
    payload = {"function": "charge", "arguments": {}}
    return StepPlan("wire", Effect("call", payload, "paid", delivery="at_most_once"), "wired")


@doubtful.node
def wired(run):
    return complete({"paid": run.vars["paid"]})


@doubtful.function
def charge():
    raise OutcomeUnknown("the line went dead")


doomed = Workflow("doomed")


@doomed.node
def fax(run):
    return effect("fax", {}, then=faxed)


@doomed.node
def faxed(run):
    return complete({})


buy = Workflow("buy")


@buy.node
def order(run):
    return StepPlan(
        "order",
        Effect(
            "call",
            {"function": "pay", "arguments": {"sum": run.vars.get("sum", 7)}},
            "paid",
            approval=Approval(by=("ann", "bob"), quorum=run.vars.get("quorum", 1)),
        ),
        "bought",
    )


@buy.node
def bought(run):
    return complete({"paid": run.vars["paid"]})


@buy.function
def pay(sum):
    return sum


programs = WorkflowRegistry()
for each in (
    greet,
    deploy,
    nap,
    broken,
    parent,
    adder,
    crowd,
    doubtful,
    doomed,
    buy,
):
    programs.register(each)


def make():
    """A function that gives a program."""
    return programs


def with_store():
    """A runtime that brings its own store."""
    return Runtime(store=open_store("sqlite:///own.db"), workflow_registry=programs)


nothing = 42
