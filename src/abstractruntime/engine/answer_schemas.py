"""Answers against the JSON Schema that was asked for, by jsonschema-rs (the extra `schema`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from abstractruntime.core.canonical import chain_form, decode, exact
from abstractruntime.core.models import WaitReason, WaitState
from abstractruntime.errors import AnswerRefused, InvalidPlan, MissingExtra

Check = Callable[[Any], str | None]
"""What is wrong with a value, None: nothing."""

_REMEMBERED = 64


def refuse_unless_valid(waiting: WaitState | None, payload: Any) -> None:
    """AnswerRefused when the wait has a schema that the answer does not fit."""
    if waiting is None or waiting.reason is not WaitReason.USER:
        return
    schema = (waiting.details or {}).get("answer_schema")
    if schema is not None:
        refuse_unless_fits(schema, payload)


def refuse_unless_fits(schema: Mapping[str, Any], payload: Any) -> None:
    """AnswerRefused with the place of what does not fit the schema; NotJson, MissingExtra."""
    fault = compiled(schema)(exact(payload, path="$.payload")[1])
    if fault is not None:
        raise AnswerRefused(
            f"The answer does not fit its schema: {fault}", fix="answer as the schema says"
        )


def compiled(schema: Any) -> Check:
    """The check of a schema. InvalidPlan: it is none, or refers outside; MissingExtra."""
    if not isinstance(schema, Mapping):
        raise InvalidPlan(f"A JSON Schema is an object, found {type(schema).__name__}")
    return _compiled(chain_form(exact(schema, path="$.answer_schema")[1]))


@lru_cache(maxsize=_REMEMBERED)
def _compiled(text: bytes) -> Check:
    try:
        import jsonschema_rs
    except ImportError:
        raise MissingExtra(
            "Answers with a schema are checked by jsonschema-rs, which is not installed",
            fix="pip install 'abstractruntime[schema]'",
        ) from None
    try:
        validator = jsonschema_rs.validator_for(decode(text), retriever=_refuse)
    except (ValueError, TypeError) as error:
        said = str(error).splitlines()[0]
        raise InvalidPlan(f"No JSON Schema that can be used: {said}") from None

    def check(value: Any) -> str | None:
        for error in validator.iter_errors(value):
            return f"at {'/'.join(map(str, error.instance_path)) or 'the top'}: {error.message}"
        return None

    return check


def _refuse(uri: str) -> Any:
    raise ValueError(f"A schema of answers cannot refer to '{uri}': nothing is fetched")
