"""Values that JSON cannot hold, holds only in part, or holds at the edge of the limits."""

from __future__ import annotations

import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any

MAX_BYTES, MAX_DEPTH = 16 * 1024 * 1024, 200


class Colour(str, Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Text(str):
    """Not a plain str, and no enum: it would come back as another type."""


Point = namedtuple("Point", "x y")


@dataclass
class Thing:
    name: str = "thing"


@dataclass(frozen=True)
class Case:
    """A value and what comes of it: `back` when it is taken, else where in it the fault is."""

    name: str
    make: Callable[[], Any]
    back: Callable[[], Any] | None = None
    at: str = ""

    @property
    def taken(self) -> bool:
        return self.back is not None


def nested(depth: int, leaf: Any = 0) -> Any:
    """A list in a list …, `depth` of them."""
    for _ in range(depth):
        leaf = [leaf]
    return leaf


def doubling(times: int) -> Any:
    """Small in memory, but written out it is 2 to the `times`."""
    value: Any = ["leaf"]
    for _ in range(times):
        value = [value, value]
    return value


def shared() -> Any:
    one = [1, 2]
    return [one, one, {"again": one}]


def cycle() -> Any:
    value: list[Any] = [1]
    value.append({"again": value})
    return value


def kept(name: str, make: Callable[[], Any]) -> Case:
    return Case(name, make, make)


def changed(name: str, make: Callable[[], Any], back: Callable[[], Any]) -> Case:
    return Case(name, make, back)


def refused(name: str, make: Callable[[], Any], at: str = "") -> Case:
    return Case(name, make, None, at)


WHOLE = (
    kept("null", lambda: None),
    kept("empty", lambda: {"": {}, "list": [], "text": ""}),
    kept("booleans and numbers", lambda: [True, False, 0, -1, 0.5, -0.0, 5e-324, 1.7e308]),
    kept("integers beyond 64 bits", lambda: [2**63, -(2**63) - 1, 2**64, 10**30]),
    kept("an integer of 10,000 digits", lambda: 10**9_999 + 7),
    kept("a negative one", lambda: {"deep": [-(10**9_999)]}),
    kept("a float that looks whole", lambda: [1.0, 1e16, 1e22, 123456789012345680.0]),
    kept("NUL", lambda: {"a\x00b": "\x00", "\x00": ["\x00\x01"]}),
    kept("all control characters", lambda: "".join(map(chr, range(0x20))) + "\x7f\x85\u2028\u2029"),
    kept("astral text", lambda: {"\U0001f600": "\U0010ffff", "nfd": "e\u0301", "nfc": "\u00e9"}),
    kept("keys of other languages", lambda: {"__proto__": {"x": 1}, "constructor": 1, "$ref": "#"}),
    kept("keys of Python", lambda: {"__class__": 1, "__dict__": {}, "self": 2, "None": None}),
    kept("keys of ours", lambda: {"$artifact": "no", "kind": "edited", "wait": {}, "then": {}}),
    kept("dots in keys", lambda: {"a.b": 1, "a": {"b": 2}, ".": 3, "a..b": 4}),
    kept("many keys", lambda: {f"key {number}": number for number in range(20_000)}),
    kept("text that looks like JSON", lambda: '{"a": NaN}\n[1,\u2028'),
    kept("shared containers", shared),
)
TURNED = (
    changed("a tuple", lambda: (1, (2, ()), {"t": (3,)}), lambda: [1, [2, []], {"t": [3]}]),
    changed("a str enum", lambda: {"c": Colour.RED}, lambda: {"c": "red"}),
)
REFUSED = (
    refused("NaN", lambda: {"x": [1, float("nan")]}, ".x[1]"),
    refused("infinity", lambda: [float("inf")], "[0]"),
    refused("minus infinity", lambda: {"deep": {"er": float("-inf")}}, ".deep.er"),
    refused("a lone surrogate", lambda: ["fine", "\ud800"], "[1]"),
    refused("a lone surrogate as key", lambda: {"a\udfffb": 1}),
    refused("a datetime", lambda: {"when": datetime(2026, 1, 1, tzinfo=UTC)}, ".when"),
    refused("bytes", lambda: [b"abc"], "[0]"),
    refused("a bytearray", lambda: [bytearray(b"abc")], "[0]"),
    refused("a set", lambda: {"s": {1, 2}}, ".s"),
    refused("a UUID", lambda: {"id": uuid.UUID(int=7)}, ".id"),
    refused("a decimal", lambda: [0, Decimal("1.1")], "[1]"),
    refused("a fraction", lambda: Fraction(1, 3)),
    refused("a complex number", lambda: [1j], "[0]"),
    refused("an int enum", lambda: {"level": Level.HIGH}, ".level"),
    refused("a str subclass", lambda: [Text("text")], "[0]"),
    refused("an ordered dict", lambda: OrderedDict(a=1)),
    refused("a named tuple", lambda: {"p": Point(1, 2)}, ".p"),
    refused("a dataclass", lambda: [Thing()], "[0]"),
    refused("a function", lambda: {"f": nested}, ".f"),
    refused("a generator", lambda: {"g": iter([1])}, ".g"),
    refused("an int key", lambda: {"d": {1: "one"}}, ".d"),
    refused("a None key", lambda: [{None: 1}], "[0]"),
    refused("a cycle", cycle),
    refused("lists 100,000 deep", lambda: nested(100_000)),
    refused("tuples 100,000 deep", lambda: nested(100_000, ())),
)
CASES = (*WHOLE, *TURNED, *REFUSED)


def exactly(found: Any, expected: Any) -> bool:
    """Equal, and of equal types all the way down."""
    if type(found) is not type(expected):
        return False
    if type(found) is dict:
        return list(found) == list(expected) and all(
            exactly(found[name], expected[name]) for name in found
        )
    if type(found) is list:
        return len(found) == len(expected) and all(map(exactly, found, expected))
    return repr(found) == repr(expected) if type(found) is float else bool(found == expected)
