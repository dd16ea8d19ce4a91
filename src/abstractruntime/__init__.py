"""abstractruntime runs workflow graphs durably inside any Python program.

Models, specs and policies are loaded at once; what runs and stores is loaded when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from abstractruntime.core.approval import Approval, Between, Glob, Rule
from abstractruntime.core.budget import Budget
from abstractruntime.core.models import (
    Effect,
    EffectType,
    RunState,
    RunStatus,
    StepPlan,
    WaitReason,
    WaitState,
)
from abstractruntime.core.options import Retry, durable
from abstractruntime.core.spec import WorkflowSpec

if TYPE_CHECKING:
    from abstractruntime.authoring import Workflow
    from abstractruntime.core.policy import (
        DefaultEffectPolicy,
        EffectPolicy,
        NoRetryPolicy,
        RetryPolicy,
        compute_idempotency_key,
    )
    from abstractruntime.core.runtime import EffectOutcome, Runtime
    from abstractruntime.identity import ActorFingerprint
    from abstractruntime.scheduler import (
        ScheduledRuntime,
        Scheduler,
        SchedulerStats,
        WorkflowRegistry,
        create_scheduled_runtime,
    )
    from abstractruntime.storage import (
        HashChainedLedgerStore,
        InMemoryLedgerStore,
        InMemoryRunStore,
        InMemorySnapshotStore,
        JsonFileRunStore,
        JsonlLedgerStore,
        JsonSnapshotStore,
        QueryableRunStore,
        Snapshot,
        SnapshotStore,
        SqliteLedgerStore,
        SqliteRunStore,
        SqliteSnapshotStore,
        open_store,
        verify_ledger_chain,
    )
    from abstractruntime.storage.artifacts import (
        Artifact,
        ArtifactMetadata,
        ArtifactStore,
        FileArtifactStore,
        InMemoryArtifactStore,
        artifact_ref,
        compute_artifact_id,
        get_artifact_id,
        is_artifact_ref,
        resolve_artifact,
    )

__version__ = "0.4.0"

__all__ = [
    "ActorFingerprint",
    "Approval",
    "Artifact",
    "ArtifactMetadata",
    "ArtifactStore",
    "Between",
    "Budget",
    "DefaultEffectPolicy",
    "Effect",
    "EffectOutcome",
    "EffectPolicy",
    "EffectType",
    "FileArtifactStore",
    "Glob",
    "HashChainedLedgerStore",
    "InMemoryArtifactStore",
    "InMemoryLedgerStore",
    "InMemoryRunStore",
    "InMemorySnapshotStore",
    "JsonFileRunStore",
    "JsonSnapshotStore",
    "JsonlLedgerStore",
    "NoRetryPolicy",
    "QueryableRunStore",
    "Retry",
    "RetryPolicy",
    "Rule",
    "RunState",
    "RunStatus",
    "Runtime",
    "ScheduledRuntime",
    "Scheduler",
    "SchedulerStats",
    "Snapshot",
    "SnapshotStore",
    "SqliteLedgerStore",
    "SqliteRunStore",
    "SqliteSnapshotStore",
    "StepPlan",
    "WaitReason",
    "WaitState",
    "Workflow",
    "WorkflowRegistry",
    "WorkflowSpec",
    "__version__",
    "artifact_ref",
    "compute_artifact_id",
    "compute_idempotency_key",
    "create_scheduled_runtime",
    "durable",
    "get_artifact_id",
    "is_artifact_ref",
    "open_store",
    "resolve_artifact",
    "verify_ledger_chain",
]

_HOMES = {
    "authoring": "Workflow",
    "core.policy": (
        "DefaultEffectPolicy EffectPolicy NoRetryPolicy RetryPolicy compute_idempotency_key"
    ),
    "core.runtime": "EffectOutcome Runtime",
    "identity": "ActorFingerprint",
    "scheduler": (
        "ScheduledRuntime Scheduler SchedulerStats WorkflowRegistry create_scheduled_runtime"
    ),
    "storage": (
        "HashChainedLedgerStore InMemoryLedgerStore InMemoryRunStore InMemorySnapshotStore "
        "JsonFileRunStore JsonSnapshotStore JsonlLedgerStore QueryableRunStore Snapshot "
        "SnapshotStore SqliteLedgerStore SqliteRunStore SqliteSnapshotStore open_store "
        "verify_ledger_chain"
    ),
    "storage.artifacts": (
        "Artifact ArtifactMetadata ArtifactStore FileArtifactStore InMemoryArtifactStore "
        "artifact_ref compute_artifact_id get_artifact_id is_artifact_ref resolve_artifact"
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
