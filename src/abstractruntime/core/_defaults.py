"""Clock and ids for the default fields of api constructors: the kernel's one door to both.

The flow never relies on them: it passes times and ids in.
"""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

_second: tuple[int, str] = (0, "1970-01-01T00:00:00")
"""The last second that was asked for, and its text: formatting a time anew costs far more."""


def utc_now_iso() -> str:
    """Now in UTC as ISO-8601 with microseconds and "+00:00"."""
    global _second  # noqa: PLW0603 (one tuple, replaced whole: threads may race for it unharmed)
    second, rest = divmod(time.time_ns() // 1000, 1_000_000)
    known, text = _second
    if known != second:
        text = datetime.fromtimestamp(second, UTC).isoformat()[:19]
        _second = (second, text)
    return f"{text}.{rest:06d}+00:00"


def new_id() -> str:
    """A random UUID (version 4) as text."""
    return str(uuid.uuid4())
