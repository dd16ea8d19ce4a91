"""What flows need to know of their runtime, as one frozen value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.approval import Rule
from abstractruntime.core.machine.assemble import Sealer
from abstractruntime.core.policy import EffectPolicy
from abstractruntime.core.spec import RunContext, WorkflowSource
from abstractruntime.engine.effects import EffectRegistry
from abstractruntime.engine.hooks import Hooks

MAX_MOVES = 64
"""Pure transitions that may ride in the next commit …"""

MAX_WEIGHT = 1 << 20
"""… and the bytes of records that may."""

MAX_NESTED = 64
"""Children below children that one flow drives: each is a few frames of the Python stack."""

CHILD_STEPS = 100
"""Node calls a sync child gets in one tick of its parent."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`own_keys`: the policy makes its own idempotency keys, which are looked up by key.

    `limits` gives the _limits that new runs start with; `new_id` makes ids of records and steps.
    `journals_vars`: what handlers change in vars stands in their records too, for stores that may
    have to redo a commit from its records. `transactional`: the store lets handlers write rows of
    their own with a step. `lists_children`: it can say which children a run has. `counters`: it has
    counters, which budgets need. `is_cancelled` says whether a run is cancelled, or to be.
    `approvals`: rules over effects, of which the first that matches counts.
    """

    effects: EffectRegistry
    policy: EffectPolicy
    own_keys: bool
    source: WorkflowSource | None
    context: RunContext
    sealer: Sealer
    hooks: Hooks
    new_id: Callable[[], str]
    limits: Callable[[], dict[str, Any]]
    journals_vars: bool
    transactional: bool
    counters: bool
    lists_children: bool = True
    is_cancelled: Callable[[str], bool] | None = None
    approvals: tuple[Rule, ...] = ()

    def now(self) -> str:
        """The runtime's clock."""
        return self.context.now_iso()
