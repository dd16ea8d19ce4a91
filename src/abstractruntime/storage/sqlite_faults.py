"""SQLite's errors as the store faults they mean: what, which file, found, how to mend."""

from __future__ import annotations

import os
from types import ModuleType

from abstractruntime.errors import (
    RuntimeFault,
    StoreBusy,
    StoreClosed,
    StoreCorrupt,
    StoreFault,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

_FAILED = ("IOError", "CantOpenError", "ProtocolError", "NoMemError")
_KINDS: dict[str, type[RuntimeFault]] = {
    "BusyError": StoreBusy,
    "LockedError": StoreBusy,
    "FullError": StoreFull,
    "ReadOnlyError": StoreReadOnly,
    "PermissionsError": StoreReadOnly,
    "NotADBError": StoreCorrupt,
    "CorruptError": StoreCorrupt,
    "FormatError": StoreCorrupt,
    "ConnectionClosedError": StoreClosed,
    "CursorClosedError": StoreClosed,
    **dict.fromkeys(_FAILED, StoreUnavailable),
}
_SAYS: dict[type[RuntimeFault], str] = {
    StoreBusy: "stayed locked by another process for {patience:g} s",
    StoreFull: "has no space left on its medium",
    StoreReadOnly: "cannot be written",
    StoreClosed: "is closed",
    StoreUnavailable: "failed",
    StoreFault: "refused a statement",
}
_FIXES: dict[type[RuntimeFault], str] = {
    StoreClosed: "open it again",
    StoreUnavailable: "mend the medium, then close the store and open it again",
}


def url_of(path: str) -> str:
    """The URL of a file by its absolute path."""
    return f"sqlite:///{path}"


def fault_of(library: ModuleType, error: Exception, *, path: str, patience: float) -> RuntimeFault:
    """An error of `library` (apsw) as a fault of ours; its own words stand in brackets."""
    name = type(error).__name__
    kind = _KINDS.get(name, StoreFault)
    if name == "CantOpenError" and not os.access(os.path.dirname(path), os.W_OK):
        kind = StoreReadOnly
    if kind is StoreCorrupt:
        size = os.path.getsize(path) if os.path.exists(path) else 0
        said = f"is no SQLite database, {size} bytes" if name == "NotADBError" else "is damaged"
    else:
        said = _SAYS[kind].format(patience=patience)
    code = getattr(error, "extendedresult", None)
    symbol = (
        library.mapping_extended_result_codes.get(code)
        or library.mapping_result_codes.get(code)
        or name
    )
    return kind(
        f"{url_of(path)} {said} ({symbol}: {error})", fix=_FIXES.get(kind), url=url_of(path)
    )
