"""Which ledger records still hold, when a later one declares some of them void."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

R = TypeVar("R", bound=Mapping[str, Any])


def holding(records: Sequence[R]) -> list[R]:
    """The records without those that a record of kind "voided" behind them declares void.

    A ledger with a hash chain of its own shows them: it could not be verified without. Others
    hide them and show the declaration, which then finds older records before it, if of the same
    step, and voids nothing.
    """
    held: list[R] = []
    for record in records:
        said = record.get("result")
        if not record.get("effect") and isinstance(said, Mapping) and said.get("kind") == "voided":
            left, step_ids = said.get("records") or 0, said.get("step_ids") or ()
            first = said.get("revision") or 0
            while left > 0 and held and held[-1].get("step_id") in step_ids:
                if (held[-1].get("revision") or first) < first:
                    break
                held.pop()
                left -= 1
        held.append(record)
    return held
