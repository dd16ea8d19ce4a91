"""Brings a database's tables to the form this version writes: migrations by number, in one
transaction that the caller holds, so that racing processes see all of it or nothing.

The version is read when a file is opened, not at each commit. A migration after which the version
before would write rows that are wrong must make its statements fail, as 0002 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol

from abstractruntime.errors import StoreTooNew
from abstractruntime.storage.sql import script, scripts


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a dialect's schema."""

    number: int
    name: str
    text: str


class Schema(Protocol):
    """The tables of one database, inside a transaction that excludes other writers."""

    def version(self) -> int:
        """The number of the last migration; 0 when there are no tables."""

    def apply(self, text: str, version: int) -> None:
        """Execute a script and note what version the tables have now."""


@cache
def migrations(dialect: str) -> tuple[Migration, ...]:
    """All of a dialect, in order; their numbers are 1, 2, 3, …"""
    found = []
    for file, text in scripts(dialect, "migrations"):
        number, _, name = file.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, text))
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    return tuple(found)


def newest(dialect: str) -> int:
    """The version of the tables this version of the library writes."""
    return len(migrations(dialect))


def refuse_newer(version: int, dialect: str, url: str) -> None:
    """StoreTooNew when a later version of the library made the tables."""
    known = newest(dialect)
    if version > known:
        raise StoreTooNew(
            f"{url} has tables of version {version}, this version of abstractruntime knows "
            f"up to {known}",
            url=url,
            recorded=version,
            known=known,
        )


def bring_up_to_date(schema: Schema, dialect: str, url: str) -> None:
    """Make or migrate the tables; nothing when they are up to date. StoreTooNew."""
    version = schema.version()
    refuse_newer(version, dialect, url)
    if version == 0:
        schema.apply(script(dialect, "schema.sql"), newest(dialect))
        return
    for each in migrations(dialect)[version:]:
        schema.apply(each.text, each.number)
