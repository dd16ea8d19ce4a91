"""Plans for several effects at once: a list of them, or one for each item of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from abstractruntime.authoring.plans import Names, Plan, Target, named
from abstractruntime.core.models import StepPlan
from abstractruntime.errors import InvalidPlan

T = TypeVar("T")


@dataclass(frozen=True)
class Branches(Plan):
    """Several effects, and how they are joined; see core.models.StepPlan."""

    plans: Sequence[Plan] = ()
    join: str | int = "all"
    limit: int | None = None
    failures: int = 0
    into: str | None = None

    def to_step_plan(self, node_id: str, names: Names) -> StepPlan:
        """The plan in the engine's words; InvalidPlan for a branch that is no effect alone."""
        then = named(self.then, node_id, names)
        if not self.plans:
            return StepPlan(node_id=node_id, next_node=then)
        return StepPlan(
            node_id=node_id,
            next_node=then,
            effects=[_effect(n, each, node_id, names) for n, each in enumerate(self.plans)],
            join=self.join,
            limit=self.limit,
            failures=self.failures,
            into=self.into,
        )

    def write(self, vars: dict[str, Any]) -> None:
        """Of no branches the results are there at once."""
        if self.plans or not self.into:
            return
        *path, last = self.into.split(".")
        for name in path:
            found = vars.get(name)
            if not isinstance(found, dict):
                found = vars[name] = {}
            vars = found
        vars[last] = {"results": [], "errors": {}, "cancelled": []}


def _effect(number: int, plan: Plan, node_id: str, names: Names) -> Any:
    where = f"Branch {number} of node '{node_id}'"
    if not isinstance(plan, Plan) or isinstance(plan, Branches):
        raise InvalidPlan(f"{where} is a {type(plan).__name__}, not one effect", node=node_id)
    if plan.then is not None or plan.late is not None or plan.output is not None:
        raise InvalidPlan(
            f"{where} goes somewhere by itself",
            node=node_id,
            fix="leave then= and late= out of it: all branches go to the then= of the whole",
        )
    effect = plan.to_step_plan(node_id, names).effect
    if effect is None:
        raise InvalidPlan(f"{where} performs nothing", node=node_id)
    return effect


def parallel(
    plans: Iterable[Plan],
    *,
    then: Target,
    into: str | None = None,
    join: str | int = "all",
    limit: int | None = None,
    failures: int = 0,
) -> Plan:
    """Perform several effects at once and go to `then` when they are joined, once.

    `join`: "all", "any" or how many must be completed; `limit`: how many run at a time; `failures`:
    how many are borne. {"results": [in order], "errors": {branch: text}, "cancelled": [branch]}
    goes to vars at `into`. Branches take no `then`; of none, `results` is empty.
    """
    given = tuple(plans)
    return Branches(then=then, plans=given, join=join, limit=limit, failures=failures, into=into)


def for_each(
    items: Iterable[T],
    make: Callable[[T], Plan],
    *,
    then: Target,
    into: str | None = None,
    join: str | int = "all",
    limit: int | None = None,
    failures: int = 0,
) -> Plan:
    """`parallel` over the plans that `make` gives for each item; results in the items' order."""
    plans = [make(item) for item in items]
    return parallel(plans, then=then, into=into, join=join, limit=limit, failures=failures)
