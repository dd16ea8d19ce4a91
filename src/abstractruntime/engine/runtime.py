"""The façade programs hold: every method delegates to the flow or to one operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from abstractruntime.core.approval import Rule
from abstractruntime.core.budget import Budget
from abstractruntime.core.checkpoint import Driver
from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.machine.seal import sealer_for
from abstractruntime.core.models import EffectType, LimitWarning, RunState
from abstractruntime.core.policy import DefaultEffectPolicy, EffectPolicy, makes_own_keys
from abstractruntime.core.spec import AnyWorkflow, RunContext, WorkflowSource, WorkflowSpec
from abstractruntime.engine import limits
from abstractruntime.engine.advance import advance, advance_if_due
from abstractruntime.engine.budget_verbs import BudgetVerbs
from abstractruntime.engine.builtin_effects import builtin_effects
from abstractruntime.engine.context import DefaultRunContext
from abstractruntime.engine.drive import adrive, drive
from abstractruntime.engine.effects import EffectRegistry
from abstractruntime.engine.entropy import new_id, salt
from abstractruntime.engine.families import Families, is_cancelled
from abstractruntime.engine.hooks import Hooks
from abstractruntime.engine.interventions import Interventions
from abstractruntime.engine.liveness import begin, end
from abstractruntime.engine.mail_verbs import MailVerbs
from abstractruntime.engine.operations.edit import edit_vars, restore
from abstractruntime.engine.operations.reopen import reopen
from abstractruntime.engine.operations.resume import Answer, resume
from abstractruntime.engine.operations.start import Beginning, start
from abstractruntime.engine.outcome import EffectHandler
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import InvalidInput, UnknownRun, UnknownSnapshot
from abstractruntime.storage.artifacts import ArtifactStore
from abstractruntime.storage.base import Capability, LedgerStore, RunStore, Store
from abstractruntime.storage.paired import pair_of
from abstractruntime.storage.snapshots import SnapshotStore

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")


class Runtime(Families, Interventions, MailVerbs, BudgetVerbs):
    """Runs workflows durably on a store.

    Give `store` (see open_store) or the api's `run_store` and `ledger_store`. `functions` are what
    `call` effects may name beside the workflow's own, `approvals` rules over effects. Everything
    that returns is durable.
    """

    def __init__(
        self,
        *,
        run_store: RunStore | None = None,
        ledger_store: LedgerStore | None = None,
        effect_handlers: Mapping[EffectType | str, EffectHandler] | None = None,
        context: RunContext | None = None,
        workflow_registry: WorkflowSource | None = None,
        artifact_store: ArtifactStore | None = None,
        effect_policy: EffectPolicy | None = None,
        config: RuntimeConfig | None = None,
        store: Store | None = None,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        snapshot_store: SnapshotStore | None = None,
        approvals: Sequence[Rule] = (),
    ) -> None:
        if store is None:
            if run_store is None or ledger_store is None:
                raise InvalidInput("Runtime needs a store, or a run_store and a ledger_store")
            store = pair_of(run_store, ledger_store)
        elif run_store is not None or ledger_store is not None:
            raise InvalidInput("Runtime takes a store, or a run_store and a ledger_store, not both")
        self._store = store
        self._run_store = run_store or store.run_store
        self._ledger_store = ledger_store or store.ledger_store
        self._ctx = context or DefaultRunContext()
        self._workflow_registry = workflow_registry
        self._artifact_store = artifact_store
        self._snapshot_store = snapshot_store
        self._effect_policy: EffectPolicy = effect_policy or DefaultEffectPolicy()
        self._config = config or RuntimeConfig()
        self._approvals = tuple(approvals)
        self._hooks = Hooks()
        self._effects = EffectRegistry(
            builtin_effects(lambda: self._workflow_registry, functions or {}), effect_handlers
        )

    # -- what it was made of

    @property
    def store(self) -> Store:
        """The atomic store that everything goes through."""
        return self._store

    @property
    def run_store(self) -> RunStore:
        """Runs, as the api's RunStore."""
        return self._run_store

    @property
    def ledger_store(self) -> LedgerStore:
        """Ledgers, as the api's LedgerStore."""
        return self._ledger_store

    @property
    def workflow_registry(self) -> WorkflowSource | None:
        """Where child workflows are found."""
        return self._workflow_registry

    @property
    def artifact_store(self) -> ArtifactStore | None:
        """Where bulk data goes: as set, else the store's own place, if it has one."""
        return self._artifact_store or self._store.artifact_store

    @property
    def snapshot_store(self) -> SnapshotStore | None:
        """Where named checkpoints go: as set, else the store's own place, if it has one."""
        return self._snapshot_store or self._store.snapshot_store

    @property
    def effect_policy(self) -> EffectPolicy:
        """Attempts, backoffs and keys."""
        return self._effect_policy

    @property
    def config(self) -> RuntimeConfig:
        """The limits new runs start with."""
        return self._config

    @property
    def hooks(self) -> Hooks:
        """Listeners told after each durable commit."""
        return self._hooks

    def set_workflow_registry(self, registry: WorkflowSource | None) -> None:
        """Find child workflows here from now on."""
        self._workflow_registry = registry
        self.__dict__.pop("_settings", None)

    def set_artifact_store(self, store: ArtifactStore | None) -> None:
        """Put bulk data here from now on."""
        self._artifact_store = store

    def set_effect_policy(self, policy: EffectPolicy) -> None:
        """Retry by this policy from now on."""
        self._effect_policy = policy
        self.__dict__.pop("_settings", None)

    # -- moving runs

    def start(
        self,
        *,
        workflow: AnyWorkflow,
        vars: dict[str, Any] | None = None,
        actor_id: str | None = None,
        session_id: str | None = None,
        parent_run_id: str | None = None,
        run_id: str | None = None,
        on_duplicate: str = "reject",
        deadline: str | None = None,
        budget: Budget | None = None,
    ) -> str:
        """Create a RUNNING run at the entry node and return its id; nothing is executed.

        With a `run_id` of yours a second start raises DuplicateRun, or with
        on_duplicate="return" gives the run that is there. By its `deadline`, an ISO-8601 time with
        an offset, a run that has not ended fails, whatever it does. A `budget` (UnsupportedByStore
        where there are no counters) holds for it and for all runs below it. Raises InvalidTime.
        """
        given = Beginning(
            vars, actor_id, session_id, parent_run_id, run_id, on_duplicate, deadline, budget
        )
        return self._drive(lambda _: start(self._settings, spec_of(workflow), given))

    async def astart(
        self,
        *,
        workflow: AnyWorkflow,
        vars: dict[str, Any] | None = None,
        actor_id: str | None = None,
        session_id: str | None = None,
        parent_run_id: str | None = None,
        run_id: str | None = None,
        on_duplicate: str = "reject",
        deadline: str | None = None,
        budget: Budget | None = None,
    ) -> str:
        """`start`, awaited."""
        given = Beginning(
            vars, actor_id, session_id, parent_run_id, run_id, on_duplicate, deadline, budget
        )
        return await self._adrive(lambda _: start(self._settings, spec_of(workflow), given))

    def tick(self, *, workflow: AnyWorkflow, run_id: str, max_steps: float = 100) -> RunState:
        """Move the run until it waits, ends, or `max_steps` nodes were called.

        Raises UnknownRun, RunBusy, and what the store raises; never what a node raises.
        """
        return self._drive(lambda me: self._tick(workflow, run_id, max_steps, me))

    async def atick(
        self, *, workflow: AnyWorkflow, run_id: str, max_steps: float = 100
    ) -> RunState:
        """`tick`, awaited; sync handlers run in threads."""
        return await self._adrive(lambda me: self._tick(workflow, run_id, max_steps, me))

    async def amove(
        self,
        *,
        find: Callable[[str], WorkflowSpec],
        run_id: str,
        executor: Executor | None = None,
    ) -> RunState | None:
        """Move the run as schedulers do: no limit of steps, backoffs are left to the clock.

        `find` gives the workflow of the run's workflow id. Sync handlers run in `executor`. None:
        there was nothing to move. Raises as `tick`, and what `find` raises.
        """
        return await self._adrive(
            lambda me: advance_if_due(self._settings, run_id, find, me), executor
        )

    def resume(
        self,
        *,
        workflow: AnyWorkflow,
        run_id: str,
        wait_key: str | None,
        payload: Any,
        wait_id: str | None = None,
        actor_id: str | None = None,
        max_steps: float = 100,
    ) -> RunState:
        """Answer the open wait and move the run on; the answer is durable before the run moves.

        Raises UnknownRun, NotWaiting, WaitKeyMismatch, StaleAnswer, ChoiceRefused, NotJson, and
        RevisionConflict when somebody else answered first.
        """
        said = Answer(run_id, payload, wait_key, wait_id, actor_id)
        return self._drive(lambda me: self._resume(workflow, said, max_steps, me))

    async def aresume(
        self,
        *,
        workflow: AnyWorkflow,
        run_id: str,
        wait_key: str | None,
        payload: Any,
        wait_id: str | None = None,
        actor_id: str | None = None,
        max_steps: float = 100,
    ) -> RunState:
        """`resume`, awaited."""
        said = Answer(run_id, payload, wait_key, wait_id, actor_id)
        return await self._adrive(lambda me: self._resume(workflow, said, max_steps, me))

    def reopen(
        self, run_id: str, *, actor_id: str | None = None, reason: str | None = None
    ) -> RunState:
        """Set a failed run RUNNING where it failed; nothing is executed. Raises NotReopenable."""
        return self._drive(
            lambda _: reopen(self._settings, run_id, actor_id=actor_id, reason=reason)
        )

    async def areopen(
        self, run_id: str, *, actor_id: str | None = None, reason: str | None = None
    ) -> RunState:
        """`reopen`, awaited."""
        return await self._adrive(
            lambda _: reopen(self._settings, run_id, actor_id=actor_id, reason=reason)
        )

    def restore(self, snapshot_id: str, *, fresh: bool = False) -> RunState:
        """Put a run back to a snapshot; `fresh`: its effects are performed anew.

        Without `fresh` steps the ledger knows keep their recorded outcomes. Raises
        UnknownSnapshot, UnknownRun, RunBusy.
        """
        snapshots = self.snapshot_store
        snapshot = None if snapshots is None else snapshots.load(snapshot_id)
        if snapshot is None:
            raise UnknownSnapshot(f"Unknown snapshot_id: {snapshot_id}", snapshot_id=snapshot_id)
        return self._drive(
            lambda _: restore(
                self._settings,
                snapshot.run_id,
                snapshot.run_state,
                snapshot_id=snapshot_id,
                fresh=fresh,
            )
        )

    # -- looking at runs

    def get_state(self, run_id: str) -> RunState:
        """The run as last committed, shared with nobody. Raises UnknownRun (a KeyError)."""
        loaded = self._store.load(run_id)
        if loaded is None:
            raise UnknownRun(f"Unknown run_id: {run_id}", run_id=run_id)
        return loaded.run

    def get_ledger(self, run_id: str) -> list[dict[str, Any]]:
        """All records of the run in order; empty when unknown."""
        return self._store.list_records(run_id)

    def get_limit_status(self, run_id: str) -> dict[str, Any]:
        """How near the run is to its limits, as numbers. Raises UnknownRun."""
        return limits.limit_status(self.get_state(run_id).vars)

    def check_limits(self, run: RunState) -> list[LimitWarning]:
        """Warnings for the limits of `run` that are near or reached."""
        return limits.warnings(run.vars)

    def update_limits(self, run_id: str, updates: dict[str, Any]) -> None:
        """Change the run's limits durably; keys that are none are ignored. Raises UnknownRun."""
        self._drive(
            lambda _: edit_vars(self._settings, run_id, lambda vars: limits.update(vars, updates))
        )

    def now_iso(self) -> str:
        """Now, by the runtime's clock."""
        return self._ctx.now_iso()

    # -- flows

    @cached_property
    def _settings(self) -> Settings:  # type: ignore[override]
        return Settings(
            effects=self._effects,
            policy=self._effect_policy,
            own_keys=makes_own_keys(self._effect_policy),
            source=self._workflow_registry,
            context=self._ctx,
            sealer=sealer_for(self._store.hash_chain, salt),
            hooks=self._hooks,
            new_id=new_id,
            limits=self._config.to_limits_dict,
            journals_vars=Capability.ATOMIC not in self._store.capabilities,
            transactional=Capability.TRANSACTIONAL in self._store.capabilities,
            lists_children=Capability.QUERYABLE in self._store.capabilities,
            is_cancelled=self._is_cancelled,
            approvals=self._approvals,
            counters=Capability.COUNTERS in self._store.capabilities,
        )

    def _is_cancelled(self, run_id: str) -> bool:
        loaded = self._store.load(run_id)
        return loaded is not None and is_cancelled(loaded.run)

    def _tick(
        self, workflow: AnyWorkflow, run_id: str, max_steps: float, me: Driver
    ) -> Flow[RunState]:
        return advance(self._settings, run_id, spec_of(workflow), me, max_steps=max_steps)

    def _resume(
        self, workflow: AnyWorkflow, said: Answer, max_steps: float, me: Driver
    ) -> Flow[RunState]:
        return resume(self._settings, spec_of(workflow), me, said, max_steps=max_steps)

    def _drive(self, flow: Callable[[Driver], Flow[T]]) -> T:
        me = begin(new_id())
        try:
            return drive(flow(me), self._store)
        finally:
            end(me.token)

    async def _adrive(
        self, flow: Callable[[Driver], Flow[T]], executor: Executor | None = None
    ) -> T:
        me = begin(new_id())
        try:
            return await adrive(flow(me), self._store, executor)
        finally:
            end(me.token)


def spec_of(workflow: AnyWorkflow) -> WorkflowSpec:
    """The WorkflowSpec of whatever the api takes as a workflow: a spec, or a builder with one."""
    if isinstance(workflow, WorkflowSpec):
        return workflow
    spec: Any = getattr(workflow, "spec", workflow)
    if not hasattr(spec, "nodes"):
        raise InvalidInput(f"Not a workflow: {type(workflow).__name__}")
    return cast("WorkflowSpec", spec)
