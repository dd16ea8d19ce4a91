"""Answers of a wanted shape: how a model is asked for one, and what is wrong with what it said.

A shape is a JSON Schema (`payload.response_schema`) or a pydantic model that the program gave by
name (`payload.response_model`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from abstractruntime.errors import TerminalError
from abstractruntime.integrations.abstractcore.extras import extra

PROBLEMS = 8
"""How many of the problems of an answer the model is told."""

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


class Mismatch(ValueError):
    """The answer has not the wanted shape; the text is written for the model."""


class Shape:
    """A JSON Schema, and `check`: a JSON value -> the data, raising Mismatch."""

    def __init__(self, schema: Any, check: Callable[[Any], Any]) -> None:
        self._schema = schema
        self._check = check

    def asked(self, system_prompt: str | None) -> str:
        """The system prompt that asks for it."""
        schema = json.dumps(self._schema, sort_keys=True, ensure_ascii=False)
        request = (
            "Answer with one JSON value and nothing else: no words around it. "
            f"It must be valid against this JSON Schema:\n{schema}"
        )
        return f"{system_prompt}\n\n{request}" if system_prompt else request

    def data(self, answer: Mapping[str, Any]) -> Any:
        """The data of an answer; Mismatch when its text holds none of the shape."""
        if answer.get("data") is not None:
            return self._check(answer["data"])
        content = str(answer.get("content") or "")
        fenced = _FENCED.search(content)
        try:
            found = json.loads(fenced[1] if fenced else content)
        except (ValueError, RecursionError) as error:
            raise Mismatch(f"it is not JSON: {error}") from None
        return self._check(found)


def wanted(payload: Mapping[str, Any], models: Mapping[str, Any]) -> Shape | None:
    """The shape a payload asks for; None when it asks for none. TerminalError for a bad schema."""
    schema, name = payload.get("response_schema"), payload.get("response_model")
    if name is not None:
        if name not in models:
            known = ", ".join(sorted(models)) or "none"
            raise TerminalError(f"Unknown response_model '{name}'; known: {known}")
        return _of_model(models[name])
    return None if schema is None else _of_schema(schema)


def repair(problem: Mismatch) -> str:
    """What the model is told of an answer that has not the shape."""
    return f"Your answer is not valid: {problem}\nAnswer again, with the JSON value alone."


def _of_schema(schema: Any) -> Shape:
    with extra("schema", "jsonschema_rs"):
        import jsonschema_rs
    try:
        validator = jsonschema_rs.validator_for(schema, retriever=_unreachable)
    except (ValueError, TypeError) as error:
        said = str(error).splitlines()[0]
        raise TerminalError(f"response_schema is no JSON Schema: {said}") from None

    def check(found: Any) -> Any:
        problems = [
            f"at {'/'.join(map(str, error.instance_path)) or 'the top'}: {error.message}"
            for error in validator.iter_errors(found)
        ]
        if problems:
            raise Mismatch("; ".join(problems[:PROBLEMS]))
        return found

    return Shape(schema, check)


def _of_model(model: Any) -> Shape:
    import pydantic

    def check(found: Any) -> Any:
        try:
            return model.model_validate(found).model_dump(mode="json")
        except pydantic.ValidationError as error:
            problems = [
                f"at {'/'.join(map(str, each['loc'])) or 'the top'}: {each['msg']}"
                for each in error.errors()
            ]
        raise Mismatch("; ".join(problems[:PROBLEMS]))

    return Shape(model.model_json_schema(), check)


def _unreachable(uri: str) -> Any:
    raise ValueError(f"{uri}: references to other documents are not followed")
