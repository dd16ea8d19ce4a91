"""`@value`: a class of frozen values, as the type checker sees it.

Each step makes a dozen of them, and a class that freezes its instances by itself takes four times
as long to make one. What programs hold (effects, plans, outcomes) is frozen at run time as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(kind: type[T]) -> type[T]:
    """A dataclass with slots whose fields nobody sets after it is made: mypy refuses that."""
    return dataclass(slots=True)(kind)
