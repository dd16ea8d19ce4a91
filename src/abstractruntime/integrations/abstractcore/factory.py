"""Runtimes with the handlers of `llm_call` and `tool_calls` in place, from one call.

Local: model and tools in this process. Remote: the model behind a server, tools left to the host.
Hybrid: the model behind a server, tools in this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.policy import EffectPolicy
from abstractruntime.core.spec import RunContext
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import InvalidInput
from abstractruntime.integrations.abstractcore.effect_handlers import (
    Answering,
    Outputs,
    build_effect_handlers,
)
from abstractruntime.integrations.abstractcore.llm_client import (
    AbstractCoreLLMClient,
    LocalAbstractCoreLLMClient,
    RemoteAbstractCoreLLMClient,
)
from abstractruntime.integrations.abstractcore.tool_executor import (
    AbstractCoreToolExecutor,
    PassthroughToolExecutor,
    ToolExecutor,
)
from abstractruntime.integrations.abstractcore.usage import Prices
from abstractruntime.storage.artifacts import ArtifactStore, FileArtifactStore
from abstractruntime.storage.base import LedgerStore, RunStore, Store
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.open import open_store

__all__ = [
    "create_hybrid_runtime",
    "create_local_file_runtime",
    "create_local_runtime",
    "create_remote_file_runtime",
    "create_remote_runtime",
]


def create_local_runtime(
    *,
    provider: str,
    model: str,
    llm_kwargs: dict[str, Any] | None = None,
    run_store: RunStore | str | None = None,
    ledger_store: LedgerStore | str | None = None,
    tool_executor: ToolExecutor | None = None,
    context: RunContext | None = None,
    effect_policy: EffectPolicy | None = None,
    config: RuntimeConfig | None = None,
    store: Store | str | None = None,
    artifact_store: ArtifactStore | None = None,
    awaiting: bool = False,
    answering: Answering | None = None,
    outputs: Outputs | None = None,
    prices: Prices | None = None,
) -> Runtime:
    """Model and tools in this process; tools by AbstractCore's registry unless given.

    Stores may be objects or URLs of `open_store`; in memory when none is given. Limits that
    `config` leaves open come from what is known of the model. `awaiting`: `async def` handlers.
    Raises MissingExtra without AbstractCore, InvalidInput for stores that contradict each other.
    """
    llm = LocalAbstractCoreLLMClient(
        provider=provider, model=model, llm_kwargs=llm_kwargs, **_priced(prices)
    )
    known = config or RuntimeConfig()
    return _runtime(
        llm,
        AbstractCoreToolExecutor() if tool_executor is None else tool_executor,
        stores=_stores(store, run_store, ledger_store),
        context=context,
        effect_policy=effect_policy,
        config=known.with_capabilities(
            {**llm.get_model_capabilities(), **known.model_capabilities}
        ),
        artifact_store=artifact_store,
        awaiting=awaiting,
        answering=answering,
        outputs=outputs,
    )


def create_remote_runtime(
    *,
    server_base_url: str,
    model: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    run_store: RunStore | str | None = None,
    ledger_store: LedgerStore | str | None = None,
    tool_executor: ToolExecutor | None = None,
    context: RunContext | None = None,
    effect_policy: EffectPolicy | None = None,
    config: RuntimeConfig | None = None,
    store: Store | str | None = None,
    artifact_store: ArtifactStore | None = None,
    awaiting: bool = False,
    answering: Answering | None = None,
    outputs: Outputs | None = None,
    prices: Prices | None = None,
) -> Runtime:
    """The model behind an AbstractCore server; runs wait for the host to execute their tools.

    `headers` go with each request and nowhere else. Stores as in `create_local_runtime`.
    """
    return _runtime(
        RemoteAbstractCoreLLMClient(
            server_base_url=server_base_url,
            model=model,
            headers=headers,
            timeout_s=timeout_s,
            **_priced(prices),
        ),
        PassthroughToolExecutor() if tool_executor is None else tool_executor,
        stores=_stores(store, run_store, ledger_store),
        context=context,
        effect_policy=effect_policy,
        config=config,
        artifact_store=artifact_store,
        awaiting=awaiting,
        answering=answering,
        outputs=outputs,
    )


def create_hybrid_runtime(
    *,
    server_base_url: str,
    model: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    run_store: RunStore | str | None = None,
    ledger_store: LedgerStore | str | None = None,
    context: RunContext | None = None,
    **more: Any,
) -> Runtime:
    """The model behind an AbstractCore server, tools by AbstractCore's registry in this process.

    `more` is what `create_remote_runtime` takes.
    """
    return create_remote_runtime(
        server_base_url=server_base_url,
        model=model,
        headers=headers,
        timeout_s=timeout_s,
        run_store=run_store,
        ledger_store=ledger_store,
        context=context,
        **{"tool_executor": AbstractCoreToolExecutor(), **more},
    )


def create_local_file_runtime(
    *,
    base_dir: str | Path,
    provider: str,
    model: str,
    llm_kwargs: dict[str, Any] | None = None,
    context: RunContext | None = None,
    config: RuntimeConfig | None = None,
    **more: Any,
) -> Runtime:
    """`create_local_runtime` on JSON files in `base_dir`; `more` is the rest it takes."""
    return create_local_runtime(
        provider=provider,
        model=model,
        llm_kwargs=llm_kwargs,
        context=context,
        config=config,
        **{**_files(base_dir), **more},
    )


def create_remote_file_runtime(
    *,
    base_dir: str | Path,
    server_base_url: str,
    model: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    context: RunContext | None = None,
    **more: Any,
) -> Runtime:
    """`create_remote_runtime` on JSON files in `base_dir`; `more` is the rest it takes."""
    return create_remote_runtime(
        server_base_url=server_base_url,
        model=model,
        headers=headers,
        timeout_s=timeout_s,
        context=context,
        **{**_files(base_dir), **more},
    )


def _runtime(
    llm: AbstractCoreLLMClient,
    tools: ToolExecutor,
    *,
    stores: dict[str, Any],
    awaiting: bool,
    answering: Answering | None,
    outputs: Outputs | None,
    **options: Any,
) -> Runtime:
    # Handlers are made before the runtime whose artifact store they use, and it may be set later.
    made: list[Runtime] = []
    rules = outputs or Outputs()
    if rules.artifacts is None:
        rules = replace(rules, artifacts=lambda: made[0].artifact_store)
    handlers = build_effect_handlers(
        llm=llm, tools=tools, awaiting=awaiting, answering=answering, outputs=rules
    )
    made.append(Runtime(effect_handlers=handlers, **stores, **options))
    return made[0]


def _priced(prices: Prices | None) -> dict[str, Any]:
    # Programs put clients of their own in the place of ours; those need not know of prices.
    return {} if prices is None else {"prices": prices}


def _stores(
    store: Store | str | None,
    run_store: RunStore | str | None,
    ledger_store: LedgerStore | str | None,
) -> dict[str, Any]:
    """Runtime's arguments; InvalidInput where one of those given could not be used."""
    if store is not None:
        if run_store is not None or ledger_store is not None:
            raise InvalidInput("Give a store, or a run_store and a ledger_store, not both")
        return {"store": open_store(store) if isinstance(store, str) else store}
    urls = {each for each in (run_store, ledger_store) if isinstance(each, str)}
    if urls:
        others = [each for each in (run_store, ledger_store) if each is not None]
        if len(urls) > 1 or len([each for each in others if isinstance(each, str)]) < len(others):
            raise InvalidInput(
                "A store URL holds runs and ledger together: give one URL, and no other store"
            )
        return {"store": open_store(urls.pop())}
    # A lone view of a store has its other half there; any other store gets one in memory.
    behind = getattr(run_store if run_store is not None else ledger_store, "store", None)
    if isinstance(behind, Store):
        run_store = behind.run_store if run_store is None else run_store
        ledger_store = behind.ledger_store if ledger_store is None else ledger_store
    return {
        "run_store": InMemoryRunStore() if run_store is None else run_store,
        "ledger_store": InMemoryLedgerStore() if ledger_store is None else ledger_store,
    }


def _files(base_dir: str | Path) -> dict[str, Any]:
    if "://" in str(base_dir):
        raise InvalidInput(
            f"base_dir is a folder, found {base_dir!r}",
            fix="give a URL as `store` to create_local_runtime or create_remote_runtime",
        )
    return {
        "run_store": JsonFileRunStore(base_dir),
        "ledger_store": JsonlLedgerStore(base_dir),
        "artifact_store": FileArtifactStore(base_dir),
    }
