"""Ids and salts from the system's entropy, fetched a page at a time.

Each fetch is a system call that gives up the interpreter lock; with many runs in flight, asking for
every id alone costs more than the rest of a step.
"""

from __future__ import annotations

import os

_PAGE = 4096
_chunks: list[bytes] = []


def salt() -> bytes:
    """16 random bytes."""
    try:
        return _chunks.pop()
    except IndexError:
        page = os.urandom(_PAGE)
        _chunks.extend(page[at : at + 16] for at in range(16, _PAGE, 16))
        return page[:16]


def new_id() -> str:
    """A random UUID (version 4, RFC 9562) as text."""
    digits = salt().hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


# A forked child would draw the same bytes as its parent.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chunks.clear)
