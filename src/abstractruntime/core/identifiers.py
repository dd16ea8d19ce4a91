"""What may name a run, node, workflow or wait: text of 1 to 256 characters that UTF-8 can hold."""

from __future__ import annotations

from typing import Any

from abstractruntime.errors import InvalidIdentifier

MAX_LENGTH = 256


def checked(name: Any, what: str) -> str:
    """The name itself; InvalidIdentifier, saying what it should have named."""
    if not isinstance(name, str) or not name:
        raise InvalidIdentifier(f"{what} must be text of 1 to {MAX_LENGTH} characters", found=name)
    if len(name) > MAX_LENGTH:
        raise InvalidIdentifier(
            f"{what} has {len(name)} characters, at most {MAX_LENGTH} are taken", found=name[:40]
        )
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidIdentifier(f"{what} has half of a surrogate pair", found=ascii(name))
    return name
