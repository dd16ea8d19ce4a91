"""From whatever providers and tools return to JSON values that a ledger can hold."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from enum import Enum
from typing import Any

DEPTH = 100
"""What is deeper is left out: a ledger refuses more than 200 levels."""


def jsonable(found: Any, depth: int = 0) -> Any:
    """`found` as JSON; what JSON has no form for becomes text, NaN and infinities None."""
    if found is None or isinstance(found, bool):
        return found
    if isinstance(found, Enum):
        return jsonable(found.value, depth)
    if isinstance(found, int):
        return int(found)
    if isinstance(found, float):
        return float(found) if math.isfinite(found) else None
    if isinstance(found, str):
        return str(found).encode("utf-8", "replace").decode("utf-8")
    if depth >= DEPTH:
        return f"<{type(found).__name__} below {DEPTH} levels>"
    return _composed(found, depth + 1)


def _composed(found: Any, depth: int) -> Any:
    if isinstance(found, Mapping):
        return {str(jsonable(name)): jsonable(each, depth) for name, each in found.items()}
    if isinstance(found, list | tuple):
        return [jsonable(each, depth) for each in found]
    if isinstance(found, set | frozenset):
        return sorted((jsonable(each, depth) for each in found), key=repr)
    if isinstance(found, datetime | date | time):
        return found.isoformat()
    if isinstance(found, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(found)).decode("ascii")
    if is_model(found):
        return jsonable(found.model_dump(mode="json"), depth)
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        fields = dataclasses.fields(found)
        return {each.name: jsonable(getattr(found, each.name), depth) for each in fields}
    return str(found)


def is_model(found: Any) -> bool:
    """Whether `found` is a pydantic object, told without importing pydantic."""
    return not isinstance(found, type) and callable(getattr(found, "model_dump", None))
