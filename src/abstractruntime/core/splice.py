"""What changed between two texts, in few bytes and cheap to find; it knows texts, not JSON.

A splice is [at, removed, inserted]: at byte `at` of the old text's UTF-8, `removed` bytes give way
to the text `inserted`. Splices are in order, do not overlap, and cut on character boundaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from abstractruntime.errors import StoreCorrupt

__all__ = ["apply_splices", "splices"]

# Equal text shorter than this is not worth a splice of its own, which takes some 15 bytes.
_ANCHOR: Final = 24
# How far behind a change equal text is looked for, nearest first. What stands there may have moved
# by about three times as far: longer insertions in the middle of a changed text are not seen.
_REACHES: Final = (8, 32, 96, 256, 1024, 4096, 16384)
_WINDOW: Final = 1024
# So much equal text is no accident; less is only if it is more than twice what was passed over.
_SURE: Final = 512
# Bounds on the search in hostile texts: bytes looked at, and splices.
_BUDGET: Final = 1 << 20
_MOST: Final = 4096
# Bytes a splice takes beside its numbers and its text: brackets, quotes and commas.
_FRAME: Final = 7
# Texts are compared in growing pieces. The place of a difference is found by halving a piece, and
# in one of this size at once, by arithmetic.
_WORD: Final = 512
_PIECE: Final = 64
_LARGEST_PIECE: Final = 65536


def splices(old: bytes, new: bytes) -> list[list[Any]] | None:
    """The splices that make `new` of `old`, both valid UTF-8; None when `new` whole is no larger.

    Empty for equal texts.
    """
    if old == new:
        return []
    shorter = min(len(old), len(new))
    start = _alike_from(old, 0, new, 0, shorter)
    start -= _into_character(old, start, new, start)
    tail = _alike_before(old, len(old), new, len(new), shorter - start)
    while _continues(old, len(old) - tail):
        tail -= 1
    old_end, new_end = len(old) - tail, len(new) - tail
    found: list[list[Any]] = []
    cost = 0
    for at, until, begin, end in _changes(old, new, start, old_end, new_end):
        found.append([at, until - at, new[begin:end].decode()])
        cost += _FRAME + len(str(at)) + len(str(until - at)) + end - begin
        if cost >= len(new):
            return None
    return found


def apply_splices(old: bytes | bytearray, changes: Sequence[Sequence[Any]]) -> bytearray:
    """The new text; a bytearray is changed in place.

    Raises StoreCorrupt when the splices cannot be of this text.
    """
    text = old if isinstance(old, bytearray) else bytearray(old)
    bound = len(text)
    # From the last to the first, so that offsets still mean the old text.
    for at, removed, inserted in reversed(changes):
        if not 0 <= at <= at + removed <= bound:
            raise StoreCorrupt(
                f"a splice of {removed} bytes at byte {at} does not fit: {bound} bytes are there"
            )
        text[at : at + removed] = inserted.encode()
        bound = at
    return text


def _changes(
    old: bytes, new: bytes, start: int, old_end: int, new_end: int
) -> list[tuple[int, int, int, int]]:
    """(at, until) of `old` and (begin, end) of `new`, one for each stretch that differs.

    Both texts are alike before `start`, and from their ends on.
    """
    if min(old_end - start, new_end - start) <= _ANCHOR:
        return [(start, old_end, start, new_end)]
    changes: list[tuple[int, int, int, int]] = []
    i = j = start
    budget = _BUDGET
    while min(old_end - i, new_end - j) > _ANCHOR and budget > 0 and len(changes) < _MOST:
        spent, p, q, run = _resync(old, i, new, j, (old_end, new_end))
        budget -= spent
        if not run:
            break
        while _continues(old, p):
            p, q, run = p + 1, q + 1, run - 1
        changes.append((i, p, j, q))
        run -= _into_character(old, p + run, new, q + run)
        i, j = p + run, q + run
    if i < old_end or j < new_end:
        changes.append((i, old_end, j, new_end))
    return changes


def _resync(
    old: bytes, i: int, new: bytes, j: int, ends: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Where both texts go on alike after they differ at `i` and `j`.

    Bytes looked at, the places in `old` and `new`, and for how long; 0 when no place was found.
    """
    old_end, new_end = ends
    spent, best = 0, (0, 0, 0)
    for reach in _REACHES:
        window = 4 * reach + _WINDOW
        for p, q in (
            _seek(old, i + reach, old_end, new, (j, min(j + window, new_end))),
            _seek(new, j + reach, new_end, old, (i, min(i + window, old_end)))[::-1],
        ):
            if p < 0:
                spent += window
                continue
            back = _alike_before(old, p, new, q, min(p - i, q - j))
            run = back + _alike_from(old, p, new, q, min(old_end - p, new_end - q))
            passed = max(p - i, q - j) - back
            spent += passed + min(run, _SURE)
            if run >= _SURE or run > 2 * passed:
                return spent, p - back, q - back, run
            best = max(best, (run, p - back, q - back))
    return spent, best[1], best[2], best[0]


def _seek(text: bytes, at: int, end: int, other: bytes, within: tuple[int, int]) -> tuple[int, int]:
    """`at` and where in `other` the text stands that `text` has there; -1 twice when nowhere."""
    if at + _ANCHOR > end:
        return -1, -1
    found = other.find(text[at : at + _ANCHOR], within[0], within[1])
    return (at, found) if found >= 0 else (-1, -1)


# ---- how far two texts are alike


def _alike_from(a: bytes, i: int, b: bytes, j: int, most: int) -> int:
    """How many bytes are alike from a[i] and b[j] on, up to `most`."""
    if most <= _WORD:
        return most - _differing(a[i : i + most], b[j : j + most], "big")
    same, size = 0, _PIECE
    while same < most:
        rest = most - same
        size = rest if size > rest else size
        at = i + same
        if b.startswith(a[at : at + size], j + same):
            same += size
            size = size * 4 if size < _LARGEST_PIECE else size
        elif size <= _WORD:
            pieces = a[at : at + size], b[j + same : j + same + size]
            return same + size - _differing(*pieces, "big")
        else:
            most = same + size  # the difference is in here
            size //= 2
    return same


def _alike_before(a: bytes, i: int, b: bytes, j: int, most: int) -> int:
    """How many bytes are alike before a[i] and b[j], up to `most`."""
    if most <= _WORD:
        return most - _differing(a[i - most : i], b[j - most : j], "little")
    same, size = 0, _PIECE
    while same < most:
        rest = most - same
        size = rest if size > rest else size
        at = i - same
        if b.endswith(a[at - size : at], 0, j - same):
            same += size
            size = size * 4 if size < _LARGEST_PIECE else size
        elif size <= _WORD:
            pieces = a[at - size : at], b[j - same - size : j - same]
            return same + size - _differing(*pieces, "little")
        else:
            most = same + size  # the difference is in here
            size //= 2
    return same


def _differing(one: bytes, other: bytes, order: Literal["big", "little"]) -> int:
    """How many bytes are left from the first that differs on; they are equally long.

    The first is the leftmost by order "big", the rightmost by "little".
    """
    differing = int.from_bytes(one, order) ^ int.from_bytes(other, order)
    return (differing.bit_length() + 7) // 8


def _continues(text: bytes, at: int) -> bool:
    """Whether byte `at` continues a character that began before it."""
    return at < len(text) and text[at] & 0xC0 == 0x80


def _into_character(a: bytes, i: int, b: bytes, j: int) -> int:
    """How many bytes before `i` and `j`, alike in both, begin a character that is not."""
    back = 0
    while _continues(a, i - back) or _continues(b, j - back):
        back += 1
    return back
