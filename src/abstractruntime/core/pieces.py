"""A large object as a tree of encoded pieces, so that finding a change costs what changed.

A branch is an object that is gone into, a leaf any other value with its JSON text. The tree knows
the live objects that were handed on for it, and finds what was done to them in place.
"""

from __future__ import annotations

import marshal
from typing import Any, Final, NamedTuple

import orjson

from abstractruntime.core.canonical import MAX_DEPTH, decode, encode, exact
from abstractruntime.core.exact import step
from abstractruntime.core.splice import splices

MAX_VARS_BYTES: Final = 64 * 1024 * 1024
"""Bytes of UTF-8 that all variables of a run may take together."""

Delta = list[list[Any]]
"""Edits as `core.delta` describes them; the edits of two deltas in a row are the delta of both."""

# An object is gone into when it is neither smaller, nor deeper, nor wider than this.
_LEAF_BYTES: Final = 2048
_LEVELS: Final = 4
_WIDTH: Final = 256
# From this version on marshal marks what is referenced more than once.
_MARKS_SHARING: Final = 4
_EXACT_STR: Final = frozenset({str})


class Leaf:
    """One encoded value, and the object handed on for it."""

    __slots__ = ("mark", "size", "text", "value")

    def __init__(self, text: bytes, value: Any) -> None:
        self.text = text
        self.size: int = len(text)
        self.value = value
        # Of a container: made while nothing but its parent refers to anything in it.
        boxed = type(value) is dict or type(value) is list
        self.mark = _mark(value) if boxed else None

    def holds(self, live: Any) -> bool:
        """Whether `live` is the very object handed on, unchanged, and nobody else's inside.

        A doubt counts as no; it costs an encoding and harms nothing.
        """
        return live is self.value and (self.mark is None or _mark(live) == self.mark)


class Branch:
    """An object that is gone into: its pieces in the order of its keys, and its live dict.

    `frame` is the size of what its text has beside them: keys and punctuation.
    """

    __slots__ = ("frame", "kids", "size", "value")

    def __init__(self, kids: dict[str, Node], frame: int, value: dict[str, Any]) -> None:
        self.kids = kids
        self.frame = frame
        self.size: int = frame + sum([kid.size for kid in kids.values()])
        self.value = value


Node = Leaf | Branch


class Place(NamedTuple):
    """Where a value stands: its keys below the root, its path for messages, how deep."""

    keys: tuple[str, ...]
    path: str
    level: int

    def down(self, key: str) -> Place:
        return Place((*self.keys, key), step(self.path, key), self.level + 1)


# ---- making trees


def plant(value: Any, text: bytes, level: int) -> Node:
    """The tree of a value that was decoded from `text` and is nobody else's yet.

    Level 0 is the root, which is always gone into.
    """
    if type(value) is not dict or not _is_branch(len(value), len(text), level):
        return Leaf(text, value)
    kids = {key: plant(item, write(item), level + 1) for key, item in value.items()}
    return Branch(kids, len(text) - sum([kid.size for kid in kids.values()]), value)


def write(value: Any) -> bytes:
    """The text of a value that was decoded, hence is known to be exact."""
    try:
        return orjson.dumps(value)
    except TypeError:  # it holds integers beyond 64 bits
        return encode(value, max_bytes=MAX_VARS_BYTES, max_depth=MAX_DEPTH + 1)


def read(value: Any, place: Place) -> tuple[bytes, Any]:
    """The text of a value of unknown make, and the value as it reads back; may raise.

    Depth counts from the variable on, which is level 1.
    """
    return exact(
        value,
        path=place.path,
        max_bytes=MAX_VARS_BYTES,
        max_depth=MAX_DEPTH + 1 - place.level,
    )


def text_of(node: Node) -> bytes:
    """The JSON text of the whole tree."""
    if type(node) is Leaf:
        return node.text
    assert type(node) is Branch
    return join({key: text_of(kid) for key, kid in node.kids.items()})


def join(pieces: dict[str, bytes]) -> bytes:
    """The text of an object from the texts of its values."""
    return b"{" + b",".join([write(key) + b":" + text for key, text in pieces.items()]) + b"}"


def _is_branch(width: int, size: int, level: int) -> bool:
    return level == 0 or (level <= _LEVELS and width <= _WIDTH and size >= _LEAF_BYTES)


def _mark(value: Any) -> bytes | None:
    """Bytes that are equal only for equal values of equal types, of which no part is shared.

    marshal flags whatever has more than one reference: a container that was put elsewhere as well,
    inside or outside, makes another mark than one that stands in its place alone. None: not JSON.
    """
    try:
        return marshal.dumps(value, _MARKS_SHARING)
    except ValueError:
        return None


# ---- following what was done to the live objects


def follow(node: Node, live: Any, place: Place, edits: Delta) -> Node:
    """The tree of `live`, which was handed on as `node.value` and may have been changed since.

    It is `node` itself when nothing changed, and shares with it what did not. What changed goes to
    `edits`. Raises NotJson and LimitExceeded.
    """
    if type(node) is Leaf or type(live) is not dict or not _EXACT_STR.issuperset(map(type, live)):
        return _renew(node, live, place, edits)
    assert type(node) is Branch
    kids = node.kids
    inner = edits
    stays = list(live) == list(kids)
    if not stays:
        kept = [key for key in kids if key in live]
        if list(live)[: len(kept)] != kept:
            inner = []  # taking keys away and adding some behind does not lead to this order
        inner += [[[*place.keys, key], "-"] for key in kids if key not in live]
    now: dict[str, Node] = {}
    changed = not stays or live is not node.value
    for key, item in live.items():
        kid = kids.get(key)
        if type(kid) is Leaf and kid.holds(item):
            now[key] = kid
            continue
        there = place.down(key)
        now[key] = _sprout(item, there, inner) if kid is None else follow(kid, item, there, inner)
        changed = changed or now[key] is not kid
    if not changed:
        return node
    made = _gather(now, node.frame if stays else _frame(now), place.level)
    if inner is not edits:
        edits.append(edit(place.keys, text_of(node), text_of(made)))
    return made


def restored(node: Node, live: Any) -> Any:
    """The value of `node`: whatever of `live` still is it, and the rest decoded anew."""
    if type(node) is Leaf:
        if node.holds(live):
            return live
        return node.value if node.mark is None else decode(node.text)
    assert type(node) is Branch
    known = live if type(live) is dict else {}
    return {key: restored(kid, known.get(key)) for key, kid in node.kids.items()}


def edit(keys: tuple[str, ...], before: bytes, after: bytes) -> list[Any]:
    """The smaller one of splices and replacement."""
    found = splices(before, after)
    return [list(keys), "=", after.decode()] if found is None else [list(keys), "~", found]


def _renew(node: Node, live: Any, place: Place, edits: Delta) -> Node:
    """A tree of `live` in the place of `node`, encoded as a whole."""
    text, value = read(live, place)
    before = text_of(node)
    if text != before:
        edits.append(edit(place.keys, before, text))
    return plant(value, text, place.level)


def _sprout(live: Any, place: Place, edits: Delta) -> Node:
    """A tree of `live` under a new key."""
    text, value = read(live, place)
    edits.append([list(place.keys), "+", text.decode()])
    return plant(value, text, place.level)


def _gather(kids: dict[str, Node], frame: int, level: int) -> Node:
    """The branch of these pieces, or a leaf when it is no longer to be gone into."""
    branch = Branch(kids, frame, {key: kid.value for key, kid in kids.items()})
    if _is_branch(len(kids), branch.size, level):
        return branch
    text = text_of(branch)
    return Leaf(text, decode(text))


def _frame(kids: dict[str, Node]) -> int:
    return len(join(dict.fromkeys(kids, b"")))
