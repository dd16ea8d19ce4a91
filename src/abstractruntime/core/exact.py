"""The slow, exact walk through a value that is to become JSON: it mends what JSON can hold exactly
and names the place of what it cannot. `core.canonical` takes it when its fast look has a doubt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from enum import Enum
from math import isfinite
from typing import Any, Final, NoReturn

import orjson

from abstractruntime.errors import LimitExceeded, NotJson

_BOXES: Final = frozenset({dict, list, tuple})
MAX_DEPTH: Final = 200
"""Containers that may stand inside each other in one payload, result or variable."""

# Whatever limit the interpreter has for digits in int <-> str, it is never below 640.
_SAFE_DIGITS: Final = 600
_SAFE_BITS: Final = 1990


def exact_tree(
    root: Any, *, path: str, max_depth: int, max_bytes: int, number: Callable[[Any], Any]
) -> Any:
    """A copy of `root` that orjson writes exactly: tuples as lists, str enums as str.

    `number` says how an int or float is written. Raises NotJson, or LimitExceeded when it is deeper
    than `max_depth` or surely larger than `max_bytes`. The walk keeps its own stack, so neither
    depth nor a cycle exhausts the interpreter's.
    """
    # An item takes two bytes at least, itself and a separator: what shares one container many times
    # over is stopped here and not by the memory it would fill.
    if _items(root, max_depth) * 2 > max_bytes + 2:
        raise too_large(path, f"more than {max_bytes}", max_bytes)
    top: list[Any] = []
    frames = [_Frame([root], top)]
    open_boxes: set[int] = set()
    while frames:
        frame = frames[-1]
        for key, item in frame.pairs:
            frame.at = None
            name = key if type(frame.copy) is list else _name(key, path, frames)
            frame.at = name
            if type(item) is dict or type(item) is list or type(item) is tuple:
                if id(item) in open_boxes:
                    _refuse("contains itself", path, frames)
                if len(frames) > max_depth:
                    raise too_deep(_where(path, frames))
                open_boxes.add(id(item))
                inner: Any = {} if type(item) is dict else []
                _put(frame.copy, name, inner)
                frames.append(_Frame(item, inner))
                break
            _put(frame.copy, name, _scalar(item, number, path, frames))
        else:
            open_boxes.discard(id(frame.box))
            frames.pop()
    return top[0]


def _items(root: Any, max_depth: int) -> int:
    """How many items the walk would come to: those of a container as often as it stands there.

    Each container is looked at once, so what doubles on every level is counted at once. One that
    contains itself counts for one, and what is deeper than `max_depth` for nothing: the walk
    refuses both.
    """
    if type(root) not in _BOXES:
        return 1
    counts = {id(root): 1}
    stack = [(root, iter(_inside(root)))]
    while stack:
        box, rest = stack[-1]
        if len(stack) > max_depth:
            return 0
        for item in rest:
            if type(item) in _BOXES and id(item) not in counts:
                counts[id(item)] = 1
                stack.append((item, iter(_inside(item))))
                break
        else:
            stack.pop()
            counts[id(box)] += sum([counts.get(id(item), 1) for item in _inside(box)])
    return counts[id(root)]


def _inside(box: Any) -> Iterable[Any]:
    return box.values() if type(box) is dict else box


class _Frame:
    """One open container: what is left of it, its copy, and the key reached (None: none yet)."""

    __slots__ = ("at", "box", "copy", "pairs")

    def __init__(self, box: Any, copy: Any) -> None:
        self.box = box
        self.copy = copy
        pairs: Iterable[tuple[Any, Any]] = box.items() if type(box) is dict else enumerate(box)
        self.pairs = iter(pairs)
        self.at: Any = None


def _put(copy: Any, name: Any, made: Any) -> None:
    if type(copy) is list:
        copy.append(made)
    else:
        copy[name] = made


def _scalar(item: Any, number: Callable[[Any], Any], path: str, frames: list[_Frame]) -> Any:
    if item is None or item is True or item is False:
        return item
    if type(item) is int or type(item) is float:
        if type(item) is float and not isfinite(item):
            _refuse(f"is the float {item!r}", path, frames)
        return number(item)
    text = _plain_text(item)
    if text is None:
        _refuse(f"is of type {type_name(item)}", path, frames)
    if not _is_unicode(text):
        _refuse("is a str with a lone surrogate, which is no Unicode text", path, frames)
    return text


def _name(key: Any, path: str, frames: list[_Frame]) -> str:
    name = _plain_text(key)
    if name is None:
        _refuse(f"has the key {key!r} of type {type_name(key)}", path, frames)
    if not _is_unicode(name):
        _refuse(f"has the key {key!r} with a lone surrogate", path, frames)
    return name


def _plain_text(item: Any) -> str | None:
    """The str, a str enum's text as one; None for everything else, other subclasses of str too."""
    if type(item) is str:
        return item
    if isinstance(item, str) and isinstance(item, Enum):
        return str.__str__(item)
    return None


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---- numbers


def as_stored(number: int | float) -> Any:
    """As orjson writes it, and an integer beyond 64 bits with all its digits."""
    if type(number) is int and not -(2**63) <= number < 2**64:
        return orjson.Fragment(digits_of(number).encode("ascii"))
    return number


def as_python_writes(number: int | float) -> Any:
    """As the stdlib's json writes it: it takes to exponents elsewhere than orjson."""
    return (
        orjson.Fragment(repr(number).encode("ascii"))
        if type(number) is float
        else as_stored(number)
    )


def digits_of(number: int) -> str:
    """str(number), without the interpreter's limit on how long that may get."""
    if number.bit_length() <= _SAFE_BITS:
        return str(number)
    half = number.bit_length() * 3 // 20  # about half of the decimal digits
    high, low = divmod(abs(number), 10**half)
    return "-" * (number < 0) + digits_of(high) + digits_of(low).zfill(half)


def int_of(digits: str) -> int:
    """int(digits), without the interpreter's limit on how long that may be."""
    if len(digits) <= _SAFE_DIGITS:
        return int(digits)
    if digits[0] == "-":
        return -int_of(digits[1:])
    half = len(digits) // 2
    scale: int = 10**half
    return int_of(digits[:-half]) * scale + int_of(digits[-half:])


# ---- how a refusal names the place


def _where(path: str, frames: list[_Frame]) -> str:
    for frame in frames[1:]:
        if frame.at is not None:
            path = step(path, frame.at)
    return path


def step(path: str, key: str | int) -> str:
    """`path` and one key further: `$.items[3]["a b"]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{json.dumps(key)}]"


def _refuse(fault: str, path: str, frames: list[_Frame]) -> NoReturn:
    where = _where(path, frames)
    raise NotJson(f"{where} {fault}", path=where)


def type_name(item: Any) -> str:
    """The type's name, with its module unless it is a builtin."""
    kind = type(item)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def too_deep(path: str) -> LimitExceeded:
    """LimitExceeded for a container inside too many others; the message shortens a long path."""
    short = path if len(path) <= 80 else f"{path[:40]} … {path[-30:]}"
    return LimitExceeded(
        f"{short} is nested too deep: a value may have {MAX_DEPTH} levels", path=path
    )


def too_large(path: str, size: int | str, max_bytes: int) -> LimitExceeded:
    """LimitExceeded for a value whose JSON takes more than `max_bytes` bytes."""
    return LimitExceeded(f"{path} takes {size} bytes as JSON; the limit is {max_bytes}", path=path)
