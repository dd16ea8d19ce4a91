"""Clients of models: in this process by AbstractCore's providers, or of an AbstractCore server.

Each makes a request, sends it blocking or awaiting, and reads the answer; only the sending differs.
"""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import quote

from abstractruntime.core.config import DEFAULT_MAX_TOKENS
from abstractruntime.errors import RetryableError
from abstractruntime.integrations.abstractcore import answers, faults
from abstractruntime.integrations.abstractcore.extras import extra
from abstractruntime.integrations.abstractcore.http import HttpxRequestSender, RequestSender
from abstractruntime.integrations.abstractcore.usage import Prices, call_facts
from abstractruntime.integrations.abstractcore.values import jsonable

__all__ = [
    "AbstractCoreLLMClient",
    "HttpxRequestSender",
    "LocalAbstractCoreLLMClient",
    "RemoteAbstractCoreLLMClient",
    "RequestSender",
]

PARAMS = (
    *("base_url", "temperature", "max_tokens", "stop", "seed"),
    *("frequency_penalty", "presence_penalty", "top_p", "tool_choice", "thinking"),
)
"""The params that a server is sent, when not None."""

TRACE_HEADERS = {
    "actor_id": "X-AbstractCore-Actor-Id",
    "session_id": "X-AbstractCore-Session-Id",
    "run_id": "X-AbstractCore-Run-Id",
    "parent_run_id": "X-AbstractCore-Parent-Run-Id",
}


class AbstractCoreLLMClient(Protocol):
    """Answers one request with a JSON object; see `answers` for its keys.

    A client may also have `agenerate`, its awaiting twin, and take `idempotency_key`.
    """

    def generate(
        self,
        *,
        prompt: str,
        messages: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        params: dict[str, Any] | None = None,
    ) -> dict[str, Any]: ...


class LocalAbstractCoreLLMClient:
    """A provider of AbstractCore in this process, made at once: `create_llm(provider, model=…)`.

    Raises MissingExtra without AbstractCore. Failures of the provider become RetryableError or
    TerminalError; its own retries (`llm_kwargs["retry_config"]`) come before those of the runtime.
    """

    def __init__(
        self,
        *,
        provider: str,
        model: str,
        llm_kwargs: dict[str, Any] | None = None,
        prices: Prices | None = None,
    ) -> None:
        with extra("abstractcore", "abstractcore"):
            from abstractcore import create_llm
        self._model = model
        self._prices = prices
        self._secrets = faults.Secrets(
            {name: value for name, value in (llm_kwargs or {}).items() if "base_url" not in name}
        )
        self._llm = create_llm(provider, model=model, **(llm_kwargs or {}))
        self._home: weakref.ref[asyncio.AbstractEventLoop] | None = None

    def generate(
        self,
        *,
        prompt: str,
        messages: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        params: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The model's answer."""
        started = time.perf_counter()
        with self._failing():
            said = self._llm.generate(**_local(prompt, messages, system_prompt, tools, params))
        return self._read(said, tools, started)

    async def agenerate(
        self,
        *,
        prompt: str,
        messages: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        params: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """`generate`, awaited; by a thread where the provider cannot await."""
        started = time.perf_counter()
        asked = _local(prompt, messages, system_prompt, tools, params)
        agenerate = getattr(self._llm, "agenerate", None)
        with self._failing():
            if agenerate is None or not self._is_home(asyncio.get_running_loop()):
                said = await asyncio.to_thread(lambda: self._llm.generate(**asked))
            else:
                said = await agenerate(**asked)
        return self._read(said, tools, started)

    def _is_home(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this is the loop of the first awaited call.

        A provider keeps connections open from one call to the next; on another loop they fail.
        """
        if self._home is None:
            self._home = weakref.ref(loop)
        return self._home() is loop

    def get_model_capabilities(self) -> dict[str, Any]:
        """What AbstractCore knows of the model; `max_tokens` is 32768 where it does not know."""
        try:
            from abstractcore.architectures import get_model_capabilities

            found = get_model_capabilities(self._model)
        except (ImportError, LookupError, ValueError):
            found = None
        known = jsonable(found) if isinstance(found, Mapping) else {}
        if not known.get("max_tokens"):
            known["max_tokens"] = DEFAULT_MAX_TOKENS
        plain: dict[str, Any] = known
        return plain

    def _read(
        self, said: Any, tools: list[dict[str, Any]] | None, started: float
    ) -> dict[str, Any]:
        answer = answers.of_provider(said, model=self._model)
        if tools and not answer["tool_calls"]:
            _parse_prompted(answer, self._model)
        answer = self._secrets.out_of_value(answer)
        return _priced(answer, self._model, started, self._prices)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            fault = faults.of_provider(error, self._secrets)
            if fault is None:
                raise
            raise fault from None


class RemoteAbstractCoreLLMClient:
    """A model behind an AbstractCore server, or any server with the OpenAI chat API.

    `headers` go with every request and are told to nobody else: neither ledger, log nor error.
    `request_sender` may be another way to post; `timeout_s` is for one request.
    """

    def __init__(
        self,
        *,
        server_base_url: str,
        model: str,
        timeout_s: float = 60.0,
        headers: Mapping[str, str] | None = None,
        request_sender: RequestSender | None = None,
        prices: Prices | None = None,
    ) -> None:
        base, credentials = faults.without_credentials(server_base_url.rstrip("/"))
        self._url = f"{base}/v1/chat/completions"
        self._model = model
        self._timeout_s = timeout_s
        self._headers = {**credentials, **(headers or {})}
        self._sender: Any = HttpxRequestSender() if request_sender is None else request_sender
        self._prices = prices

    def generate(
        self,
        *,
        prompt: str,
        messages: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        params: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """The model's answer; the key is sent as `Idempotency-Key`."""
        started = time.perf_counter()
        request = self._request(prompt, messages, system_prompt, tools, params, idempotency_key)
        return self._read(self._sender.post(self._url, **request), started)

    async def agenerate(
        self,
        *,
        prompt: str,
        messages: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        params: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """`generate`, awaited; by a thread where the sender cannot await."""
        started = time.perf_counter()
        request = self._request(prompt, messages, system_prompt, tools, params, idempotency_key)
        apost = getattr(self._sender, "apost", None)
        if apost is None:
            body = await asyncio.to_thread(lambda: self._sender.post(self._url, **request))
        else:
            body = await apost(self._url, **request)
        return self._read(body, started)

    def _request(
        self,
        prompt: str,
        messages: list[dict[str, Any]] | None,
        system_prompt: str | None,
        tools: list[dict[str, Any]] | None,
        params: dict[str, Any] | None,
        idempotency_key: str | None,
    ) -> dict[str, Any]:
        given = dict(params or {})
        said = [{"role": "system", "content": system_prompt}] if system_prompt else []
        said += messages or []
        if prompt:
            said.append({"role": "user", "content": prompt})
        body: dict[str, Any] = {"model": self._model, "messages": said, "stream": False}
        body.update({name: given[name] for name in PARAMS if given.get(name) is not None})
        if tools:
            body["tools"] = tools
        headers = {**self._headers, **_trace_headers(given.get("trace_metadata"))}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        return {"headers": headers, "json": body, "timeout": self._timeout_s}

    def _read(self, body: Any, started: float) -> dict[str, Any]:
        headers = getattr(body, "headers", None)
        try:
            answer = answers.of_completion(
                body if isinstance(body, Mapping) else {},
                model=self._model,
                headers=headers if isinstance(headers, Mapping) else {},
            )
        except ValueError as error:
            raise RetryableError(f"{self._url}: {error}") from None
        return _priced(answer, self._model, started, self._prices)


def _local(
    prompt: str,
    messages: list[dict[str, Any]] | None,
    system_prompt: str | None,
    tools: list[dict[str, Any]] | None,
    params: dict[str, Any] | None,
) -> dict[str, Any]:
    """What a provider's generate is called with. Its base URL is fixed when it is made."""
    rest = {name: value for name, value in (params or {}).items() if name != "base_url"}
    return {
        "prompt": prompt,
        "messages": messages,
        "system_prompt": system_prompt,
        "tools": tools,
        **rest,
        "stream": False,
    }


def _parse_prompted(answer: dict[str, Any], model: str) -> None:
    """Take the calls that a model without a tool API wrote into its text out of the text."""
    content = answer["content"]
    try:
        from abstractcore.tools.parser import clean_tool_syntax, detect_tool_calls, parse_tool_calls
    except ImportError:
        return  # a version that has its parser elsewhere parses by itself
    if not content or not detect_tool_calls(content, model_name=model):
        return
    calls = parse_tool_calls(content, model_name=model)
    if calls:
        answer["tool_calls"] = answers.tool_calls(calls)
        answer["content"] = clean_tool_syntax(content, calls)


def _trace_headers(trace: Any) -> dict[str, str]:
    if not isinstance(trace, Mapping) or not trace:
        return {}
    headers = {"X-AbstractCore-Trace-Metadata": json.dumps(trace, sort_keys=True)}
    for name, header in TRACE_HEADERS.items():
        if trace.get(name):
            # A header is ASCII without line ends; an id may be any text.
            headers[header] = quote(str(trace[name]), safe="!#$&'()*+,/:;=?@[]~ ")
    return headers


def _priced(
    answer: dict[str, Any], model: str, started: float, prices: Prices | None
) -> dict[str, Any]:
    latency_ms = (time.perf_counter() - started) * 1000
    facts = call_facts(
        answer["usage"], model=answer["model"] or model, latency_ms=latency_ms, prices=prices
    )
    answer["metadata"] = {**answer["metadata"], "call": facts}
    return answer
