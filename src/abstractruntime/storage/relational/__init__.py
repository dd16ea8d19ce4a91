"""A Store over any SQL database: rows, group commit and reading back; it knows no driver."""

from __future__ import annotations

__all__: list[str] = []
