"""Shipped for the tests of other people's stores and workflows; nothing in production imports it.

`StoreContract` needs pytest, so every name is imported only when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abstractruntime.testing.clock import VirtualClock
    from abstractruntime.testing.crashes import Crash, CrashingStore, Fuse, When
    from abstractruntime.testing.host import Host, ScheduledHost
    from abstractruntime.testing.store_contract import StoreContract
    from abstractruntime.testing.witness import FileWitness, Witness
    from abstractruntime.testing.workflows import build, random_shape

__all__ = [
    "Crash",
    "CrashingStore",
    "FileWitness",
    "Fuse",
    "Host",
    "ScheduledHost",
    "StoreContract",
    "VirtualClock",
    "When",
    "Witness",
    "build",
    "random_shape",
]

_HOMES = {
    "clock": "VirtualClock",
    "crashes": "Crash CrashingStore Fuse When",
    "host": "Host ScheduledHost",
    "store_contract": "StoreContract",
    "witness": "FileWitness Witness",
    "workflows": "build random_shape",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
