"""LLM calls and tools as durable effects, on AbstractCore in this process or behind its server.

Importing this loads neither AbstractCore nor an HTTP client; using it needs the extra
`abstractcore`.
"""

from __future__ import annotations

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.integrations.abstractcore.effect_handlers import (
    Answering,
    Outputs,
    build_effect_handlers,
    make_llm_call_handler,
    make_tool_calls_handler,
)
from abstractruntime.integrations.abstractcore.extras import MissingExtra
from abstractruntime.integrations.abstractcore.factory import (
    create_hybrid_runtime,
    create_local_file_runtime,
    create_local_runtime,
    create_remote_file_runtime,
    create_remote_runtime,
)
from abstractruntime.integrations.abstractcore.llm_client import (
    AbstractCoreLLMClient,
    HttpxRequestSender,
    LocalAbstractCoreLLMClient,
    RemoteAbstractCoreLLMClient,
)
from abstractruntime.integrations.abstractcore.tool_executor import (
    AbstractCoreToolExecutor,
    MappingToolExecutor,
    PassthroughToolExecutor,
    ToolExecutor,
)
from abstractruntime.integrations.abstractcore.tool_schema import tool_definition
from abstractruntime.integrations.abstractcore.usage import LIST_PRICES
from abstractruntime.integrations.abstractcore.workspace import workspace_tools

__all__ = [
    "LIST_PRICES",
    "AbstractCoreLLMClient",
    "AbstractCoreToolExecutor",
    "Answering",
    "HttpxRequestSender",
    "LocalAbstractCoreLLMClient",
    "MappingToolExecutor",
    "MissingExtra",
    "Outputs",
    "PassthroughToolExecutor",
    "RemoteAbstractCoreLLMClient",
    "RuntimeConfig",
    "ToolExecutor",
    "build_effect_handlers",
    "create_hybrid_runtime",
    "create_local_file_runtime",
    "create_local_runtime",
    "create_remote_file_runtime",
    "create_remote_runtime",
    "make_llm_call_handler",
    "make_tool_calls_handler",
    "tool_definition",
    "workspace_tools",
]
