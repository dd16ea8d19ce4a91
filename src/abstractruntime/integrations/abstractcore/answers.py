"""What models answer, in the one shape that workflows see: content, data, tool_calls, usage, model,
finish_reason, metadata, trace_id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from abstractruntime.integrations.abstractcore.values import is_model, jsonable

INVALID_JSON = "_invalid_json"
"""Where a model's arguments that are no JSON object stand, so that it can be told so."""


def of_provider(response: Any, *, model: str) -> dict[str, Any]:
    """What a provider of AbstractCore returned: a GenerateResponse, a pydantic object, a text."""
    if is_model(response) and not hasattr(response, "content"):
        return _answer(data=jsonable(response), model=model)
    if isinstance(response, str):
        return _answer(content=response, model=model)
    if isinstance(response, Mapping):
        response = SimpleNamespace(**response)
    content = getattr(response, "content", None)
    data = jsonable(content) if is_model(content) else None
    metadata = getattr(response, "metadata", None)
    kept = _kept(metadata if isinstance(metadata, Mapping) else {})
    return _answer(
        content=None if data is not None or content is None else str(content),
        data=data,
        tool_calls=tool_calls(getattr(response, "tool_calls", None)),
        usage=getattr(response, "usage", None),
        model=getattr(response, "model", None) or model,
        finish_reason=getattr(response, "finish_reason", None),
        metadata=kept,
        trace_id=kept.get("trace_id"),
    )


def of_completion(
    body: Mapping[str, Any], *, model: str, headers: Mapping[str, str]
) -> dict[str, Any]:
    """The body of a chat completion of the OpenAI API; ValueError when it is none."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise ValueError("the answer holds no choices[0].message")
    named = {name.lower(): value for name, value in headers.items()}
    trace_id = named.get("x-abstractcore-trace-id")
    return _answer(
        content=_text(message.get("content")),
        tool_calls=tool_calls(message.get("tool_calls")),
        usage=body.get("usage"),
        model=body.get("model") or model,
        finish_reason=choice.get("finish_reason"),
        metadata={} if trace_id is None else {"trace_id": trace_id},
        trace_id=trace_id,
    )


def tool_calls(found: Any) -> list[dict[str, Any]]:
    """Calls as [{name, arguments, call_id}], from objects or either of the usual shapes."""
    calls = []
    for each in found if isinstance(found, list | tuple) else ():
        call = each if isinstance(each, Mapping) else jsonable(each)
        if not isinstance(call, Mapping):
            continue
        function = call.get("function")
        said = function if isinstance(function, Mapping) else call
        call_id = call.get("call_id", call.get("id"))
        calls.append(
            {
                "name": str(said.get("name") or ""),
                "arguments": _arguments(said.get("arguments")),
                "call_id": None if call_id is None else str(call_id),
            }
        )
    return calls


def _arguments(found: Any) -> dict[str, Any]:
    if isinstance(found, str) and found.strip():
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return {INVALID_JSON: found}
    if found is None or found == "":
        return {}
    plain = jsonable(found)
    return plain if isinstance(plain, dict) else {INVALID_JSON: json.dumps(plain)}


def _text(content: Any) -> str | None:
    """A message's content; of a list of parts, the texts among them."""
    if isinstance(content, list):
        parts = [each.get("text") for each in content if isinstance(each, Mapping)]
        return "".join(str(part) for part in parts if part is not None)
    return None if content is None else str(content)


def _kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Without the provider's own notes, which hold the whole request once more."""
    return {str(name): each for name, each in metadata.items() if not str(name).startswith("_")}


def _answer(**known: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "content": None,
        "data": None,
        "tool_calls": [],
        "usage": None,
        "model": None,
        "finish_reason": None,
        "metadata": {},
        "trace_id": None,
    }
    plain: dict[str, Any] = jsonable({**answer, **known})
    return plain
