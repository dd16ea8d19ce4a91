"""Programs import these names from these paths. They may grow, never shrink or move."""

import importlib
import json
import subprocess
import sys

import pytest

from tests.architecture.tree import PACKAGE

MODELS = (
    "Effect EffectType RunState RunStatus StepPlan WaitReason WaitState StepRecord StepStatus "
    "LimitWarning"
)
VARS = (
    "CONTEXT SCRATCHPAD RUNTIME TEMP LIMITS ensure_namespaces get_namespace get_context "
    "get_scratchpad get_runtime get_temp clear_temp ensure_limits get_limits"
)
POLICY = "EffectPolicy DefaultEffectPolicy RetryPolicy NoRetryPolicy compute_idempotency_key"
STORES = (
    "InMemoryRunStore InMemoryLedgerStore JsonFileRunStore JsonlLedgerStore "
    "HashChainedLedgerStore verify_ledger_chain "
    "Snapshot SnapshotStore InMemorySnapshotStore JsonSnapshotStore"
)
ARTIFACTS = (
    "Artifact ArtifactMetadata ArtifactStore InMemoryArtifactStore FileArtifactStore artifact_ref "
    "is_artifact_ref get_artifact_id resolve_artifact compute_artifact_id"
)
SCHEDULER = "WorkflowRegistry Scheduler SchedulerStats ScheduledRuntime create_scheduled_runtime"

FACTORIES = (
    "create_local_runtime create_remote_runtime create_hybrid_runtime create_local_file_runtime "
    "create_remote_file_runtime"
)

NAMES: dict[str, str] = {
    "": (
        "Effect EffectType RunState RunStatus StepPlan WaitReason WaitState WorkflowSpec Runtime "
        f"{SCHEDULER} QueryableRunStore {STORES} {ARTIFACTS} ActorFingerprint EffectPolicy "
        "DefaultEffectPolicy RetryPolicy NoRetryPolicy compute_idempotency_key"
    ),
    "core": (
        "Effect EffectType RunState RunStatus StepPlan WaitReason WaitState WorkflowSpec Runtime "
        "RuntimeConfig LimitWarning LIMITS ensure_limits get_limits"
    ),
    "core.models": f"{MODELS} utc_now",
    "core.runtime": "Runtime EffectOutcome EffectHandler DefaultRunContext utc_now_iso",
    "core.spec": "WorkflowSpec RunContext NodeHandler",
    "core.policy": POLICY,
    "core.vars": VARS,
    "core.config": "RuntimeConfig",
    "storage": f"RunStore LedgerStore QueryableRunStore {STORES}",
    "storage.base": "RunStore LedgerStore QueryableRunStore",
    "storage.in_memory": "InMemoryRunStore InMemoryLedgerStore",
    "storage.json_files": "JsonFileRunStore JsonlLedgerStore",
    "storage.ledger_chain": "HashChainedLedgerStore verify_ledger_chain compute_record_hash",
    "storage.snapshots": "Snapshot SnapshotStore InMemorySnapshotStore JsonSnapshotStore",
    "storage.artifacts": f"{ARTIFACTS} validate_artifact_id",
    "scheduler": SCHEDULER,
    "scheduler.registry": "WorkflowRegistry",
    "scheduler.scheduler": "Scheduler SchedulerStats",
    "scheduler.convenience": "ScheduledRuntime create_scheduled_runtime",
    "identity": "ActorFingerprint",
    "identity.fingerprint": "ActorFingerprint",
    "integrations": "",
    "integrations.abstractcore": (
        "AbstractCoreLLMClient LocalAbstractCoreLLMClient RemoteAbstractCoreLLMClient ToolExecutor "
        "AbstractCoreToolExecutor MappingToolExecutor PassthroughToolExecutor RuntimeConfig "
        f"build_effect_handlers {FACTORIES}"
    ),
    "integrations.abstractcore.effect_handlers": (
        "build_effect_handlers make_llm_call_handler make_tool_calls_handler"
    ),
    "integrations.abstractcore.factory": FACTORIES,
    "integrations.abstractcore.llm_client": (
        "AbstractCoreLLMClient LocalAbstractCoreLLMClient RemoteAbstractCoreLLMClient"
    ),
    "integrations.abstractcore.tool_executor": (
        "ToolExecutor AbstractCoreToolExecutor MappingToolExecutor PassthroughToolExecutor"
    ),
    "integrations.abstractcore.logging": "get_logger",
}


@pytest.mark.parametrize("module", NAMES)
def test_the_public_names_can_be_imported_from(module: str) -> None:
    path = f"abstractruntime.{module}".rstrip(".")
    loaded = importlib.import_module(path)
    missing = [name for name in NAMES[module].split() if not hasattr(loaded, name)]
    assert not missing, f"{path} lost {missing}"


@pytest.mark.parametrize("module", ["", "core", "storage", "scheduler", "identity"])
def test_the_public_names_are_exported_by_a_star_import_from(module: str) -> None:
    path = f"abstractruntime.{module}".rstrip(".")
    space: dict[str, object] = {}
    exec(f"from {path} import *", space)
    missing = [name for name in NAMES[module].split() if name not in space]
    assert not missing, f"{path}.__all__ lacks {missing}"


@pytest.mark.parametrize("name", sorted(set(" ".join(NAMES.values()).split())))
def test_a_public_name_is_one_object_whatever_path_it_is_imported_from(name: str) -> None:
    homes = [module for module in NAMES if name in NAMES[module].split()]
    objects = {
        id(getattr(importlib.import_module(f"abstractruntime.{home}".rstrip(".")), name))
        for home in homes
    }
    assert len(objects) == 1, f"not the same everywhere: {homes}"


def loaded_by(code: str) -> set[str]:
    """The modules that running the code in a fresh interpreter adds to those it starts with."""
    script = (
        "import json, sys\n"
        "before = set(sys.modules)\n"
        f"{code}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy_or_optional() -> None:
    loaded = loaded_by("import abstractruntime")
    assert "abstractruntime" in loaded
    heavy = {"asyncio", "click", "rich", "psycopg", "abstractcore", "httpx", "apsw"}
    assert loaded & heavy == set()


def test_importing_the_package_loads_neither_its_surfaces_nor_its_test_tools() -> None:
    loaded = loaded_by("import abstractruntime")
    rooms = {"cli", "server", "testing"}
    assert {f"abstractruntime.{room}" for room in rooms} & loaded == set()


def test_using_every_public_name_loads_no_optional_package_and_no_database() -> None:
    names = ", ".join(NAMES[""].split())
    loaded = loaded_by(f"from abstractruntime import {names}")
    assert "abstractruntime.engine" in loaded
    optional = {"click", "rich", "psycopg", "abstractcore", "httpx", "apsw"}
    assert loaded & optional == set()


def test_the_kernel_can_be_imported_with_no_other_room_in_reach() -> None:
    """The package itself is replaced by an empty shell, so nothing can come in through its door."""
    modules = [
        path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        for path in sorted((PACKAGE / "core").rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() != "core/runtime.py"
    ]
    assert "core.models" in modules
    imports = "\n".join(
        f"import abstractruntime.{module.removesuffix('.__init__')}" for module in modules
    )
    shell = (
        "import types\n"
        "shell = types.ModuleType('abstractruntime')\n"
        f"shell.__path__ = [{str(PACKAGE)!r}]\n"
        "sys.modules['abstractruntime'] = shell\n"
    )
    loaded = {name for name in loaded_by(shell + imports) if name.startswith("abstractruntime.")}
    assert "abstractruntime.core.models" in loaded
    strangers = {name for name in loaded if name.split(".")[1] not in {"core", "errors"}}
    assert strangers == set()
