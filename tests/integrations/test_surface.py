"""The names programs import, and what importing and using them loads."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.processes import program

PACKAGE = "abstractruntime.integrations.abstractcore"

MODULES = ("effect_handlers", "factory", "llm_client", "tool_executor", "logging")

# What each call fixes: names in order, with defaults; `...` has none.
STORES: dict[str, Any] = {"run_store": None, "ledger_store": None}
SIGNATURES: dict[str, dict[str, Any]] = {
    "create_local_runtime": {
        "provider": ...,
        "model": ...,
        "llm_kwargs": None,
        **STORES,
        "tool_executor": None,
        "context": None,
        "effect_policy": None,
        "config": None,
    },
    "create_remote_runtime": {
        "server_base_url": ...,
        "model": ...,
        "headers": None,
        "timeout_s": 60.0,
        **STORES,
        "tool_executor": None,
        "context": None,
    },
    "create_hybrid_runtime": {
        "server_base_url": ...,
        "model": ...,
        "headers": None,
        "timeout_s": 60.0,
        **STORES,
        "context": None,
    },
    "create_local_file_runtime": {
        "base_dir": ...,
        "provider": ...,
        "model": ...,
        "llm_kwargs": None,
        "context": None,
        "config": None,
    },
    "create_remote_file_runtime": {
        "base_dir": ...,
        "server_base_url": ...,
        "model": ...,
        "headers": None,
        "timeout_s": 60.0,
        "context": None,
    },
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_factory_takes_what_it_is_said_to_take(name: str) -> None:
    factory = getattr(importlib.import_module(PACKAGE), name)
    found = {
        each.name: ... if each.default is each.empty else each.default
        for each in inspect.signature(factory).parameters.values()
    }
    wanted = SIGNATURES[name]
    assert {key: found.get(key, "missing") for key in wanted} == wanted


def test_the_config_is_the_kernels() -> None:
    from abstractruntime.core.config import RuntimeConfig

    assert importlib.import_module(PACKAGE).RuntimeConfig is RuntimeConfig


def test_importing_it_loads_neither_abstractcore_nor_an_http_client(tmp_path: Path) -> None:
    imports = "\n".join(f"import {PACKAGE}.{module}" for module in MODULES)
    loaded = program(
        f"import json, sys\nimport {PACKAGE}\n{imports}\nprint(json.dumps(sorted(sys.modules)))",
        tmp_path,
    )
    assert set(loaded) & {"abstractcore", "httpx", "pydantic", "jsonschema_rs"} == set()


WITHOUT = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"abstractcore", "httpx", "pydantic", "jsonschema_rs"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from abstractruntime import Effect, EffectType, Runtime, StepPlan, WorkflowSpec, open_store
from abstractruntime.errors import TerminalError
from abstractruntime.integrations.abstractcore import *
from abstractruntime.integrations.abstractcore import MissingExtra, tool_definition

said = {}

def saying(name, use):
    try:
        use()
    except ImportError as error:
        assert isinstance(error, MissingExtra) and isinstance(error, TerminalError)
        said[name] = str(error)

call = {"name": "f", "arguments": {}}
remote = {"server_base_url": "http://127.0.0.1:9", "model": "m"}
saying("local", lambda: create_local_runtime(provider="lmstudio", model="m"))
saying("tools", lambda: AbstractCoreToolExecutor().execute(tool_calls=[call]))
saying("remote", lambda: RemoteAbstractCoreLLMClient(**remote).generate(prompt="x"))
saying("schema", lambda: tool_definition(saying))

def ask(run, ctx):
    return StepPlan("ask", Effect("llm_call", {"prompt": "x"}), "ask")

spec = WorkflowSpec("w", "ask", {"ask": ask})
runtime = create_remote_runtime(**remote)
said["run"] = runtime.tick(workflow=spec, run_id=runtime.start(workflow=spec)).error
executor = MappingToolExecutor({"f": lambda a=1: a})
said["mapped"] = executor.execute(tool_calls=[call, {"name": "f", "arguments": {"b": 1}}])
print(json.dumps(said))
"""


def test_using_it_without_the_extra_names_the_extra(tmp_path: Path) -> None:
    said = program(WITHOUT, tmp_path)
    mapped = said.pop("mapped")
    assert said.keys() == {"local", "tools", "remote", "schema", "run"}
    for text in said.values():
        assert "pip install 'abstractruntime[abstractcore]'" in text
    # Functions of the program's own need no extra; their argument names are checked all the same.
    assert [each["success"] for each in mapped["results"]] == [True, False]
