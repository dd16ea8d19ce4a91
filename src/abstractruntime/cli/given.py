"""Values people type: JSON as text or from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from abstractruntime.cli.console import safe
from abstractruntime.core.canonical import decode


@dataclass(frozen=True)
class Parsed:
    """A value that was given, which may be null."""

    value: Any


class JsonValue(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """JSON as it stands, or `@file`."""

    name = "JSON|@file"

    def __init__(self, *, only_object: bool = False) -> None:
        self._only_object = only_object

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        text, where = value, ""
        if value.startswith("@"):
            where = f" in {safe(value[1:], 80)}"
            try:
                text = Path(value[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                self.fail(f"cannot read {safe(value[1:], 80)}: {error}", param, ctx)
        try:
            found = decode(text)
        except (ValueError, RecursionError) as error:
            hint = "" if where else " (text needs quotes of its own: '\"text\"')"
            self.fail(f"this is not JSON{where}: {error}{hint}", param, ctx)
        if self._only_object and not isinstance(found, dict):
            kind = type(found).__name__
            self.fail(f'a JSON object is needed, e.g. {{"name": 1}}; found {kind}', param, ctx)
        return Parsed(found)
