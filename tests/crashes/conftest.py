"""Threads of a process that is dead end in silence, whenever that is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from unittest import mock

import pytest

from abstractruntime.testing.crashes import Crash


@pytest.fixture(scope="session", autouse=True)
def silent_deaths() -> Iterator[None]:
    tell = threading.excepthook

    def hook(ended: threading.ExceptHookArgs) -> None:
        if not issubclass(ended.exc_type, Crash):
            tell(ended)

    with mock.patch("threading.excepthook", hook):
        yield
