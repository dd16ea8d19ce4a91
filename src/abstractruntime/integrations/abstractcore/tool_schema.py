"""A tool's arguments by its signature: the JSON Schema models are shown, and the check before it
is called. Types are pydantic's business; without it names and missing arguments are checked."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from abstractruntime.integrations.abstractcore.answers import INVALID_JSON
from abstractruntime.integrations.abstractcore.extras import extra


class InvalidArguments(ValueError):
    """The arguments do not fit the tool; the text is written for the model."""


class Signature:
    """What a tool takes, read once."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._function = function
        self._signature = _signature_of(function)
        self._model = _model_of(name, function, self._signature)

    def checked(self, arguments: Any) -> dict[str, Any]:
        """The arguments to call the tool with, as its annotations say; InvalidArguments."""
        if isinstance(arguments, Mapping) and set(arguments) == {INVALID_JSON}:
            self._refuse([f"not a JSON object: {str(arguments[INVALID_JSON])[:200]}"])
        if not isinstance(arguments, Mapping):
            self._refuse([f"not a JSON object but {type(arguments).__name__}"])
        given = {str(name): each for name, each in arguments.items()}
        if self._signature is not None:
            self._check_names(given)
        return given if self._model is None else self._typed(given)

    def schema(self) -> dict[str, Any]:
        """The arguments as a JSON Schema; MissingExtra without pydantic."""
        if self._model is None:
            with extra("abstractcore", "pydantic"):
                import pydantic  # noqa: F401
            return {"type": "object", "properties": {}}
        found: dict[str, Any] = self._model.model_json_schema(by_alias=True)
        found.pop("title", None)
        for each in found.get("properties", {}).values():
            each.pop("title", None)
        return found

    def _check_names(self, given: dict[str, Any]) -> None:
        assert self._signature is not None
        named = _named(self._signature)
        problems = []
        if not _takes_any(self._signature):
            problems += [f"{name}: there is no such argument" for name in given.keys() - named]
        problems += [
            f"{name}: is missing"
            for name, each in named.items()
            if each.default is each.empty and name not in given
        ]
        if problems:
            self._refuse(sorted(problems))

    def _typed(self, given: dict[str, Any]) -> dict[str, Any]:
        from pydantic import ValidationError

        assert self._model is not None
        try:
            checked = self._model.model_validate(given)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
            ]
            raise self._refusal(problems) from None
        fields = type(checked).model_fields
        typed = {
            fields[name].alias: getattr(checked, name)
            for name in checked.model_fields_set
            if name in fields
        }
        return {**typed, **(checked.model_extra or {})}

    def _refuse(self, problems: list[str]) -> typing.NoReturn:
        raise self._refusal(problems)

    def _refusal(self, problems: list[str]) -> InvalidArguments:
        takes = "" if self._signature is None else f" It takes {_shown(self._signature)}."
        return InvalidArguments(
            f"Invalid arguments for tool '{self.name}': {'; '.join(problems)}.{takes}"
        )


def tool_definition(function: Callable[..., Any]) -> dict[str, Any]:
    """{"name", "description", "parameters"} of a function, for `llm_call` payloads.

    `parameters` is a JSON Schema made from its signature. MissingExtra without pydantic.
    """
    name = str(getattr(function, "__name__", "") or "")
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    return {
        "name": name,
        "description": lines[0] if lines else name,
        "parameters": Signature(name, function).schema(),
    }


def _signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None  # some builtins tell nothing


def _named(signature: inspect.Signature) -> dict[str, inspect.Parameter]:
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return {name: each for name, each in signature.parameters.items() if each.kind in kinds}


def _takes_any(signature: inspect.Signature) -> bool:
    return any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())


def _shown(signature: inspect.Signature) -> str:
    named = [str(each) for each in _named(signature).values()]
    return f"({', '.join(named)})"


def _model_of(
    name: str, function: Callable[..., Any], signature: inspect.Signature | None
) -> Any | None:
    """A pydantic model of the arguments; None without pydantic, or for types it cannot check."""
    try:
        import pydantic
    except ImportError:
        return None
    if signature is None:
        return None
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        hints = {}
    fields: dict[str, Any] = {}
    # Fields get names of their own, as "schema" or "_x" may not be the name of one.
    for at, (argument, each) in enumerate(_named(signature).items()):
        kind = hints.get(argument, Any)
        if each.default is None:
            kind = typing.Optional[kind]  # noqa: UP045 - `x: str = None` means that too
        default = ... if each.default is each.empty else each.default
        fields[f"argument_{at}"] = (kind, pydantic.Field(default, alias=argument))
    rest: Any = "allow" if _takes_any(signature) else "forbid"
    config = pydantic.ConfigDict(extra=rest, arbitrary_types_allowed=True)
    try:
        return pydantic.create_model(name or "tool", __config__=config, **fields)
    except (pydantic.PydanticUserError, TypeError):
        return None
