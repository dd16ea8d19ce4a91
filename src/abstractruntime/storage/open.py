"""From a URL to the store it names. Each kind of store is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from abstractruntime.errors import InvalidStoreUrl
from abstractruntime.storage.base import Store

_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}


def open_store(url: str, **options: Any) -> Store:
    """The store at `url`; options are keywords or stand in the URL's query.

    `memory://`, `files:///relative-folder`, `files:////absolute-folder`, `sqlite:///relative.db`,
    `sqlite:////absolute.db`. Options: `hash_chain` (default True), `clock`; SQLite also takes
    `durability` ("power" or "process") and `busy_timeout` (seconds). Raises InvalidStoreUrl.
    """
    if not isinstance(url, str):
        raise InvalidStoreUrl(f"a store URL is text, found {type(url).__name__}")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidStoreUrl(f"not the URL of a store: {url!r}", url=url) from None
    kind = _KINDS.get(parts.scheme)
    if kind is None or parts.netloc or parts.fragment:
        raise InvalidStoreUrl(f"not the URL of a store: {url!r}", url=url)
    allowed, opener = kind
    given = {**_from_query(url, parts.query), **options}
    unknown = sorted(given.keys() - allowed)
    if unknown:
        raise InvalidStoreUrl(
            f"{url!r} does not take {', '.join(unknown)}",
            fix=f"its options are {', '.join(sorted(allowed))}",
            url=url,
        )
    # sqlite:///a is relative, sqlite:////a absolute: the first slash ends the empty host.
    return opener(url, unquote(parts.path[1:]), given)


def _from_query(url: str, query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        found[name] = text
        try:
            if name == "hash_chain":
                found[name] = _BOOLEANS[text.lower()]
            elif name == "busy_timeout":
                found[name] = float(text)
        except (KeyError, ValueError):
            raise InvalidStoreUrl(f"{url!r}: {name} cannot be {text!r}", url=url) from None
    if "clock" in found:
        raise InvalidStoreUrl(f"{url!r}: clock is a function, give it as a keyword", url=url)
    return found


def _memory(url: str, path: str, options: Mapping[str, Any]) -> Store:
    from abstractruntime.storage.memory_store import MemoryStore

    if path:
        raise InvalidStoreUrl(f"memory:// has no path, found {url!r}", url=url)
    return MemoryStore(**_chained(options))


def _files(url: str, path: str, options: Mapping[str, Any]) -> Store:
    from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
    from abstractruntime.storage.paired import PairedStore

    if not path:
        raise InvalidStoreUrl(f"{url!r} names no folder", url=url)
    pair = JsonFileRunStore(path), JsonlLedgerStore(path)
    return PairedStore(*pair, url=url, folder=path, **_chained(options))


def _sqlite(url: str, path: str, options: Mapping[str, Any]) -> Store:
    if not path or path == ":memory:":
        raise InvalidStoreUrl(
            f"{url!r} names no file", fix="name one, or use memory:// to keep nothing", url=url
        )
    from abstractruntime.storage.sqlite import open_sqlite

    return open_sqlite(path, **options)


def _chained(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with `hash_chain` as the number of its format."""
    chosen = dict(options)
    chosen["hash_chain"] = 2 if chosen.get("hash_chain", True) else None
    return {name: value for name, value in chosen.items() if name != "clock" or value is not None}


Opener = Callable[[str, str, Mapping[str, Any]], Store]
_KINDS: Final[dict[str, tuple[frozenset[str], Opener]]] = {
    "memory": (frozenset({"hash_chain", "clock"}), _memory),
    "files": (frozenset({"hash_chain", "clock"}), _files),
    "sqlite": (frozenset({"hash_chain", "clock", "durability", "busy_timeout"}), _sqlite),
}
