"""JSON texts of what a store is handed: the quick way for what the kernel has checked already."""

from __future__ import annotations

from typing import Any

import orjson

from abstractruntime.core.canonical import MAX_DEPTH, encode

# A head or a record holds values that may each stand at the limits of core.canonical.
_WHOLE_BYTES = 256 * 1024 * 1024
_WHOLE_DEPTH = MAX_DEPTH + 16


def text_of(value: Any) -> bytes:
    """Compact JSON of a value the kernel made; NotJson when it cannot be."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # An integer beyond 64 bits, or what is no JSON: the strict encoder knows.
        return encode(value, max_bytes=_WHOLE_BYTES, max_depth=_WHOLE_DEPTH)


def strict_text_of(value: Any) -> bytes:
    """The same of a value nobody checked yet."""
    return encode(value, max_bytes=_WHOLE_BYTES, max_depth=_WHOLE_DEPTH)
