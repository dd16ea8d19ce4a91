"""Times as people say them: how long ago, in how long, at which moment."""

from __future__ import annotations

import math

from abstractruntime.core import times
from abstractruntime.errors import InvalidTime

_UNITS = ((60, "second"), (60, "minute"), (24, "hour"), (365, "day"), (math.inf, "year"))


def lasting(seconds: float) -> str:
    """A length of time in one unit, in words."""
    if seconds < 1:
        return "less than a second"
    place = 0
    while seconds >= _UNITS[place][0]:
        seconds /= _UNITS[place][0]
        place += 1
    whole, unit = int(seconds), _UNITS[place][1]
    return f"{whole} {unit}" if whole == 1 else f"{whole} {unit}s"


def ago(time: str | None, now: str) -> str:
    """How long before `now` it was; "" when that cannot be told."""
    passed = _between(time, now)
    return "" if passed is None else f"{lasting(max(0.0, passed))} ago"


def coming(time: str | None, now: str) -> str:
    """When it is, and how far that is from `now`."""
    passed = _between(time, now)
    if passed is None or time is None:
        return str(time)
    far = f"{lasting(passed)} ago" if passed >= 0 else f"in {lasting(-passed)}"
    return f"{moment(time, now)}, {far}"


def moment(time: str, now: str) -> str:
    """The time of day in UTC; with its date when that is not today's."""
    at, today = times.parse(time), times.parse(now)
    shape = "%H:%M:%S" if at.date() == today.date() else "%Y-%m-%d %H:%M"
    return f"{at.strftime(shape)} UTC"


def past(time: str | None, now: str) -> bool:
    """Whether it has come by `now`."""
    passed = _between(time, now)
    return passed is not None and passed >= 0


def _between(time: str | None, now: str) -> float | None:
    if time is None:
        return None
    try:
        return times.seconds_between(time, now)
    except InvalidTime:
        return None
