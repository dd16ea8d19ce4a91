"""Says which extra to install when an optional package is missing where it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from abstractruntime.errors import TerminalError


class MissingExtra(TerminalError, ImportError):
    """A package that an extra brings is not installed; trying again does not help."""


@contextmanager
def extra(name: str, *packages: str) -> Iterator[None]:
    """Around an import of `packages`: MissingExtra names the extra when one is not installed."""
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in packages:
            raise
        raise MissingExtra(
            f"This needs {package}, which is not installed: pip install 'abstractruntime[{name}]'"
        ) from error
