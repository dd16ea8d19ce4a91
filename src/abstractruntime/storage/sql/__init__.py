"""Reads the `.sql` files beside it: whole scripts, and queries by their `-- name: x` line."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def script(dialect: str, name: str) -> str:
    """The text of one `.sql` file of a dialect."""
    return (files(__name__) / dialect / name).read_text(encoding="utf-8")


def scripts(dialect: str, folder: str) -> list[tuple[str, str]]:
    """(file name, text) of every `.sql` file in a folder of a dialect, by name."""
    found = (files(__name__) / dialect / folder).iterdir()
    texts = {each.name: each.read_text(encoding="utf-8") for each in found}
    return sorted(pair for pair in texts.items() if pair[0].endswith(".sql"))


@cache
def queries(dialect: str) -> MappingProxyType[str, str]:
    """The dialect's queries by name; comments between name and statement stay in the file."""
    _, *parts = _NAME.split(script(dialect, "queries.sql"))
    texts = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        assert name not in texts, f"two queries are named {name}"
        lines = [line for line in text.splitlines() if not line.startswith("--")]
        texts[name] = " ".join(" ".join(lines).split()).rstrip(";")
    return MappingProxyType(texts)
