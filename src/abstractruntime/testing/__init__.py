"""Shipped for the tests of other people's stores and workflows; nothing in production imports it.

`StoreContract` needs pytest, which is imported only when the name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abstractruntime.testing.store_contract import StoreContract

__all__ = ["StoreContract"]


def __getattr__(name: str) -> Any:
    if name == "StoreContract":
        from abstractruntime.testing.store_contract import StoreContract

        return StoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
