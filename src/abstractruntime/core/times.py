"""Times as text: one normal form that sorts as it reads (UTC, microseconds, "+00:00")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from abstractruntime.errors import InvalidTime


def parse(text: Any, *, what: str = "time") -> datetime:
    """An ISO-8601 text with any offset as an aware UTC time; InvalidTime when naive or no time."""
    if not isinstance(text, str):
        raise InvalidTime(f"{what} must be an ISO-8601 text, found {type(text).__name__}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidTime(f"{what} is not an ISO-8601 time: {text!r}", found=text) from None
    if moment.tzinfo is None:
        raise InvalidTime(f"{what} has no offset: {text!r}", found=text)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidTime(f"{what} is out of range: {text!r}", found=text) from None


def normal(text: Any, *, what: str = "time") -> str:
    """The normal form of a time; what is in it already comes back unchanged and fast."""
    moment = parse(text, what=what)
    if len(text) == 32 and text[26:] == "+00:00" and text[4:11:3] == "--T" and text[19] == ".":
        return str.__str__(text)
    return moment.isoformat(timespec="microseconds")


def plus(text: str, seconds: float) -> str:
    """`seconds` after the time `text`, in normal form."""
    try:
        moment = parse(text) + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise InvalidTime(f"{seconds} seconds after {text} is out of range") from None
    return moment.isoformat(timespec="microseconds")


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from `earlier` to `later`; negative when it is the other way round."""
    return (parse(later) - parse(earlier)).total_seconds()
