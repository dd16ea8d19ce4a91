"""What changed in a run's variables since they were last committed, and how to apply it to a text.

`Encoding` holds `vars` as last committed and finds what a node changed; it knows no store.

A delta is a JSON list of edits, made one after the other to the JSON text of `vars`. An edit is
[path, op, …]; its path is the list of keys that leads to a value, [] being `vars` itself:

    [path, "~", [[at, removed, inserted], …]]   splices of the value's text (see core.splice)
    [path, "=", text]                           the value's text is replaced by this JSON text
    [path, "-"]                                 the last key of the path goes, with its value
    [path, "+", text]                           the last key is new, behind those its object has

A text has no blanks: {"key":value,…}. Offsets are bytes of UTF-8 in the text before the edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json import JSONDecoder
from typing import Any, Final

from abstractruntime.core.canonical import MAX_BYTES, MAX_DEPTH, decode, exact
from abstractruntime.core.exact import step, too_large, type_name
from abstractruntime.core.pieces import (
    MAX_VARS_BYTES,
    Branch,
    Delta,
    Node,
    Place,
    edit,
    follow,
    join,
    plant,
    restored,
    text_of,
    write,
)
from abstractruntime.core.splice import apply_splices
from abstractruntime.errors import NotJson, StoreCorrupt

__all__ = ["MAX_VARS_BYTES", "SMALL_BYTES", "Delta", "Encoding", "apply_delta"]

SMALL_BYTES: Final = 4096
"""Up to this size `vars` are one text, written and read as a whole."""


class Encoding:
    """A run's `vars` as last committed, in encoded form. It does not change: `step` makes another.

    It knows the objects it handed on, and so sees what a node did to them in place.
    """

    __slots__ = ("_root", "_same", "_text", "size")

    size: int
    """Bytes of `text()`."""

    def __init__(self, text: bytes = b"", same: bytes = b"", root: Node | None = None) -> None:
        # Either one text, and what we would write in its stead, which differs if another version
        # wrote it; or a tree.
        self._text = text
        self._same = same
        self._root = root
        self.size = len(text) if root is None else root.size

    @classmethod
    def of(cls, vars: dict[str, Any], *, path: str = "$.vars") -> tuple[Encoding, dict[str, Any]]:
        """The encoding of new vars, and the vars to hand on, which share nothing with the given.

        Raises NotJson and LimitExceeded; their paths begin with `path`.
        """
        return cls._of_text(*_read_whole(vars, path), path)

    @classmethod
    def parse(cls, text: bytes) -> tuple[Encoding, dict[str, Any]]:
        """The encoding that a stored text is, and its vars.

        Raises ValueError when it is no JSON, StoreCorrupt when it is no object.
        """
        vars = decode(text)
        if type(vars) is not dict:
            raise StoreCorrupt(f"stored vars are of type {type_name(vars)}, not an object")
        same = write(vars)
        if same == text and len(text) > SMALL_BYTES:
            return cls(root=plant(vars, text, 0)), vars
        return cls(text, same), vars

    @classmethod
    def _of_text(
        cls, text: bytes, vars: dict[str, Any], path: str
    ) -> tuple[Encoding, dict[str, Any]]:
        if len(text) <= SMALL_BYTES:
            return cls(text, text), vars
        return cls._of_tree(plant(vars, text, 0), path), vars

    @classmethod
    def _of_tree(cls, root: Node, path: str) -> Encoding:
        assert type(root) is Branch
        for key, kid in root.kids.items():
            if kid.size > MAX_BYTES:
                raise too_large(step(path, key), kid.size, MAX_BYTES)
        if root.size > MAX_VARS_BYTES:
            raise too_large(path, root.size, MAX_VARS_BYTES)
        return cls(root=root)

    def text(self) -> bytes:
        """The JSON text of the vars."""
        return self._text if self._root is None else text_of(self._root)

    def step(
        self, vars: dict[str, Any], *, path: str = "$.vars"
    ) -> tuple[Encoding, dict[str, Any], Delta | None]:
        """The encoding of the vars as they are now, the vars to hand on, and what changed.

        In the vars handed on every value that changed is the one its encoding reads back as, and
        no container stands twice. The delta is None when the text is the same. Raises NotJson and
        LimitExceeded; their paths begin with `path`.
        """
        if self._root is None or type(vars) is not dict:
            text, fresh = _read_whole(vars, path)
            if text == self._same:
                return self, fresh, None
            change = edit((), self.text(), text)
            encoding, fresh = self._of_text(text, fresh, path)
            return encoding, fresh, [change]
        edits: Delta = []
        root = follow(self._root, vars, Place((), path, 0), edits)
        if root is self._root:
            return self, vars, None
        if root.size <= SMALL_BYTES:
            text = text_of(root)
            return Encoding(text, text), decode(text), edits or None
        return self._of_tree(root, path), root.value, edits or None

    def restore(self, vars: dict[str, Any]) -> dict[str, Any]:
        """The vars as committed, whatever was done to `vars`; shares nothing that was changed."""
        whole: dict[str, Any] = (
            decode(self._text) if self._root is None else restored(self._root, vars)
        )
        return whole


def _read_whole(vars: Any, path: str) -> tuple[bytes, dict[str, Any]]:
    if type(vars) is not dict:
        raise NotJson(f"{path} is of type {type_name(vars)}, not a dict", path=path)
    return exact(vars, path=path, max_bytes=MAX_VARS_BYTES, max_depth=MAX_DEPTH + 1)


# ---- applying


def apply_delta(text: bytes, deltas: Iterable[Sequence[Any]]) -> bytes:
    """The text of vars after these deltas, in order: byte for byte what was committed.

    Raises StoreCorrupt when a delta cannot be of this text.
    """
    whole: dict[str, Any] = {"": text}
    for delta in deltas:
        for one in delta:
            try:
                _make(one, whole)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as fault:
                raise StoreCorrupt(f"the edit {str(one)[:200]} does not fit: {fault!r}") from fault
    return bytes(_text_of(whole[""]))


def _make(change: Sequence[Any], whole: dict[str, Any]) -> None:
    """One edit. An object is a dict of its pieces from the first edit on that goes into it."""
    path, op, *rest = change
    box, key = whole, ""
    for inner in path:
        if type(box[key]) is not dict:
            box[key] = _split(bytes(box[key]))
        box, key = box[key], inner
    if op == "~":
        (found,) = rest
        box[key] = apply_splices(_text_of(box[key]), found)
        return
    if (key in box) is (op == "+"):
        raise ValueError("the key is there already" if op == "+" else "the key is not there")
    match op, rest:
        case "=" | "+", [str(text)]:
            box[key] = text.encode()
        case "-", [] if path:
            del box[key]
        case _:
            raise ValueError("no such edit")


def _text_of(piece: Any) -> bytes | bytearray:
    if type(piece) is not dict:
        text: bytes | bytearray = piece
        return text
    return join({key: bytes(_text_of(inner)) for key, inner in piece.items()})


def _split(text: bytes) -> dict[str, bytes]:
    """The texts of an object's values, exactly as they stand in its own."""
    pieces = {key: write(value) for key, value in decode(text).items()}
    if join(pieces) == text:
        return pieces
    # Another version wrote this and sets out numbers otherwise: look where each value ends.
    pieces = {}
    whole, at = text.decode(), 1
    scan = JSONDecoder(parse_int=str, parse_float=str).raw_decode
    while at < len(whole):
        key, at = scan(whole, at)
        begin = at + 1
        _, at = scan(whole, begin)
        pieces[key] = whole[begin:at].encode()
        at += 1
    if join(pieces) != text:
        raise ValueError("its object is not set out as ours are")
    return pieces
