"""Strict JSON: one exact way in (`encode`), its inverse (`decode`), and three canonical forms.

It owns what counts as JSON and its limits; it knows nothing of runs. orjson writes everything, but
it lets things pass, so a value is looked through first; in doubt `core.exact` walks it.
"""

from __future__ import annotations

import json
import re
from math import isinf
from sys import float_info
from typing import Any, Final

import orjson

from abstractruntime.core.exact import (
    MAX_DEPTH,
    as_python_writes,
    as_stored,
    exact_tree,
    int_of,
    step,
    too_large,
)
from abstractruntime.errors import NotJson

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "chain_form",
    "decode",
    "encode",
    "exact",
    "key_form",
    "rfc8785",
]

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of UTF-8 that one payload, result or variable may take."""

_ATOMS: Final = frozenset({str, int, bool, type(None)})
_FINITE: Final = (0.0, float_info.max)
# Here orjson and the stdlib write a float alike; outside of it one of them takes an exponent.
_ALIKE: Final = (1e-4, 9999999999999998.0)
# The forms are made of whole records too, whose payload may be MAX_DEPTH deep; orjson stops at 254.
_FORM_DEPTH: Final = 250
_FORM_BYTES: Final = 1 << 30
# From this length on, one pass over the types is faster than the loop.
_MANY: Final = 32

# A digit or a minus sign as "0", all else as a blank.
_DIGITS: Final = bytes(0x30 if chr(code) in "-0123456789" else 0x20 for code in range(256))
_LONG: Final = b"0" * 20
_LONG_INTEGER: Final = re.compile(rb"-[0-9]{19}|[0-9]{20}")
_LONG_RUN: Final = re.compile(rb"([0-9]{4})[0-9]{15,}")


def encode(
    value: Any, *, path: str = "$", max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH
) -> bytes:
    """`value` as compact UTF-8 JSON, keys in insertion order; equal values give equal bytes.

    Tuples are written as lists, str enums as str, integers of any size with all their digits.
    Raises NotJson for anything that would not come back as it is, LimitExceeded when it is too deep
    or too large; `where["path"]` of both begins with `path` and names the place.
    """
    return _encode(value, path, max_bytes, max_depth)[0]


def exact(
    value: Any, *, path: str = "$", max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH
) -> tuple[bytes, Any]:
    """As `encode`, and the value as it will be read back; it shares nothing with the one given."""
    data, plain = _encode(value, path, max_bytes, max_depth)
    return data, orjson.loads(data) if plain else decode(data)


def decode(data: bytes | str) -> Any:
    """The value that `data` holds, integers of any size exact; NaN and infinity are no JSON.

    Raises the JSON library's ValueError when `data` is not JSON.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    # orjson reads an integer beyond 64 bits as a float without a word.
    if _LONG in raw.translate(_DIGITS) and _LONG_INTEGER.search(raw):
        return _decode_long_integers(raw)
    return orjson.loads(raw)


# ---- canonical forms: the same bytes for the same value, whatever the order of its keys


def chain_form(value: Any) -> bytes:
    """json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode().

    It takes what the stdlib takes (NaN too), and integers longer than the stdlib agrees to write.
    """
    flat = type(value) is dict and _ATOMS.issuperset(map(type, value.values()))
    if flat or _plain(value, _FORM_DEPTH, _ALIKE):
        try:
            return orjson.dumps(value, None, orjson.OPT_SORT_KEYS)
        except TypeError:
            pass
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()
    except ValueError:
        tree = exact_tree(
            value, path="$", max_depth=_FORM_DEPTH, max_bytes=_FORM_BYTES, number=as_python_writes
        )
        return orjson.dumps(tree, None, orjson.OPT_SORT_KEYS)


def key_form(value: Any) -> str:
    """json.dumps(value, sort_keys=True, separators=(",", ":")): `chain_form` in ASCII."""
    data = chain_form(value)
    if data.isascii() and b"\x7f" not in data:
        return data.decode("ascii")
    # The stdlib's escaper is the fast one, but would escape quotes and backslashes a second time.
    # Compact JSON holds no control characters, so two of them stand in for these meanwhile.
    masked = data.decode().replace('"', "\x01").replace("\\", "\x02")
    escaped = json.dumps(masked)[1:-1]
    return escaped.replace("\\u0001", '"').replace("\\u0002", "\\")


def rfc8785(value: Any, *, path: str = "$") -> bytes:
    """JCS, RFC 8785: numbers as ECMAScript writes them, keys by UTF-16 code units.

    Takes what `encode` takes except integers beyond 2**53 - 1; raises NotJson with the path.
    """
    _, tree = exact(value, path=path)
    return _jcs(tree, path).encode()


# ---- reading and writing


def _encode(value: Any, path: str, max_bytes: int, max_depth: int) -> tuple[bytes, bool]:
    """The bytes, and whether orjson reads them back exactly."""
    data = None
    if _plain(value, max_depth, _FINITE):
        try:
            data = orjson.dumps(value)
        except TypeError:
            data = None  # a lone surrogate, a key that is no str, a long integer
    plain = data is not None
    if data is None:
        tree = exact_tree(
            value, path=path, max_depth=max_depth, max_bytes=max_bytes, number=as_stored
        )
        data = orjson.dumps(tree)
    if len(data) > max_bytes:
        raise too_large(path, len(data), max_bytes)
    return data, plain


def _plain(root: Any, max_depth: int, floats: tuple[float, float]) -> bool:
    """Whether all of `root` is of types that orjson keeps, not too deep, floats within `floats`.

    Keys are left to orjson, which refuses all but exact str. A tuple is never plain: orjson does
    not count it as depth, and corrupts memory when they nest by the thousand or form a cycle.
    """
    least, most = floats
    level: list[Any] = [(root,)]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for box in level:
            items = box.values() if type(box) is dict else box
            if len(box) > _MANY and _ATOMS.issuperset(map(type, items)):
                continue
            for item in items:
                kind = type(item)
                if kind is str or kind is int:
                    continue
                if kind is dict or kind is list:
                    below.append(item)
                elif kind is float:
                    if item and not least <= abs(item) <= most:
                        return False
                elif kind not in _ATOMS:
                    return False
        if not below:
            return True
        # A container that stands twice on a level may double at each: the walk has a budget.
        if len(below) > 1 and len(set(map(id, below))) != len(below):
            return False
        level = below
    return False


def _decode_long_integers(raw: bytes) -> Any:
    # The stdlib keeps long integers but takes NaN and lone surrogates. orjson refuses these, but
    # also numbers too long for it: it is asked about the same text with short ones.
    orjson.loads(_LONG_RUN.sub(rb"\1", raw))
    return json.loads(raw.decode(), parse_int=int_of, parse_float=_finite)


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise ValueError(f"number is infinity when parsed as double: {digits[:40]}")
    return number


# ---- RFC 8785


def _jcs(value: Any, path: str) -> str:
    # `value` comes from `decode`, so its types are exact and MAX_DEPTH bounds the recursion.
    if type(value) is dict:
        members = []
        for name in sorted(value, key=_utf16):
            members.append(f"{_quoted(name)}:{_jcs(value[name], step(path, name))}")
        return "{" + ",".join(members) + "}"
    if type(value) is list:
        items = []
        for index, item in enumerate(value):
            items.append(_jcs(item, step(path, index)))
        return "[" + ",".join(items) + "]"
    if type(value) is int:
        if abs(value) > 2**53 - 1:
            raise NotJson(
                f"{path} is an integer beyond 2**53 - 1, which RFC 8785 cannot hold exactly",
                path=path,
            )
        return str(value)
    return _ecmascript(value) if type(value) is float else _quoted(value)


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _quoted(value: Any) -> str:
    """A str with the shortest escapes, or null, true, false."""
    return orjson.dumps(value).decode()


def _ecmascript(number: float) -> str:
    """Number::toString of ECMA-262: the digits of repr(), set out by other rules."""
    if number == 0:
        return "0"
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    # number == 0.DIGITS * 10**point; repr() leaves zeros in front only where they are to be shown.
    digits = (whole + fraction).rstrip("0")
    point = len(whole) + int(exponent or "0")
    if len(digits) <= point <= 21:
        text = digits + "0" * (point - len(digits))
    elif 0 < point < len(digits):
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        tail = "." + digits[1:] if len(digits) > 1 else ""
        text = f"{digits[0]}{tail}e{point - 1:+d}"
    return "-" + text if number < 0 else text
