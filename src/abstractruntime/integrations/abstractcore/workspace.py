"""Tools on files that do not leave one folder, however a path is written.

Each part of a path is opened below the one before it without following links, so that nothing can
be put in its way between a check and its use. Needs a POSIX system.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from abstractruntime.errors import InvalidInput

MAX_READ_BYTES = 16 * 1024 * 1024
MAX_LISTED = 1000

_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# Without O_NONBLOCK, opening a pipe that somebody put there would wait for its other end.
_READ: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LINKS: Final = {errno.ELOOP, errno.EMLINK}


class OutsideWorkspace(ValueError):
    """The path does not name something inside the workspace, or goes through a link."""


def workspace_tools(folder: str | Path) -> list[Callable[..., Any]]:
    """The functions list_files, read_file, write_file and delete_file on `folder`, which exists.

    For `MappingToolExecutor.from_tools`. Paths are relative to the folder, with "/". Absolute
    paths, "..", and symbolic links, also those that lead back inside, raise OutsideWorkspace.
    """
    return Workspace(folder).tools()


class Workspace:
    """One folder, and what may be done in it."""

    def __init__(self, folder: str | Path) -> None:
        if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
            raise InvalidInput("workspace tools need a POSIX system")
        self._folder = Path(folder).resolve()
        if not self._folder.is_dir():
            raise InvalidInput(f"the workspace is a folder that exists, found {folder}")

    def tools(self) -> list[Callable[..., Any]]:
        """The functions, as tools."""

        def list_files(path: str = ".") -> list[dict[str, Any]]:
            """List a folder of the workspace: names, kinds and sizes."""
            return self.entries(path)

        def read_file(path: str, start: int = 0, length: int = 100_000) -> dict[str, Any]:
            """Read a text file of the workspace: `length` characters from `start`."""
            return self.read(path, start, length)

        def write_file(path: str, content: str) -> dict[str, Any]:
            """Write a text file of the workspace, replacing it whole; folders are made."""
            return self.write(path, content)

        def delete_file(path: str) -> dict[str, Any]:
            """Delete a file of the workspace."""
            return self.delete(path)

        return [list_files, read_file, write_file, delete_file]

    def entries(self, path: str) -> list[dict[str, Any]]:
        """[{name, kind: file | folder | link | other, size}], at most MAX_LISTED, by name."""
        with self._opened(path, _parts(path)) as folder, os.scandir(folder) as entries:
            found = sorted(entries, key=lambda each: each.name)[:MAX_LISTED]
            return [
                {
                    "name": each.name,
                    "kind": _kind(each),
                    "size": each.stat(follow_symlinks=False).st_size,
                }
                for each in found
            ]

    def read(self, path: str, start: int, length: int) -> dict[str, Any]:
        """{content, start, characters}; `characters` is how many the file has in all."""
        *parents, name = _named(path)
        with self._opened(path, parents) as folder:
            file = _open(path, name, _READ, folder)
            with os.fdopen(file, "rb") as opened:
                size = os.fstat(file)
                if not stat.S_ISREG(size.st_mode):
                    raise OutsideWorkspace(f"{path!r} is no file")
                if size.st_size > MAX_READ_BYTES:
                    raise ValueError(f"{path!r} is larger than {MAX_READ_BYTES} bytes")
                text = opened.read().decode("utf-8", "replace")
        first = max(start, 0)
        part = text[first : first + max(length, 0)]
        return {"content": part, "start": first, "characters": len(text)}

    def write(self, path: str, content: str) -> dict[str, Any]:
        """{path, bytes}; readers see the old file or the new one, never a part."""
        *parents, name = _named(path)
        encoded = content.encode("utf-8")
        with self._opened(path, parents, make=True) as folder:
            _refuse_link(path, name, folder)
            temporary = f".{uuid4().hex}.tmp"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            file = os.open(temporary, flags, 0o644, dir_fd=folder)
            try:
                with os.fdopen(file, "wb") as opened:
                    opened.write(encoded)
                    opened.flush()
                    os.fsync(opened.fileno())
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
        return {"path": path, "bytes": len(encoded)}

    def delete(self, path: str) -> dict[str, Any]:
        """{path, deleted}; a file that is not there is not deleted, and no error."""
        *parents, name = _named(path)
        with self._opened(path, parents) as folder:
            _refuse_link(path, name, folder)
            try:
                os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return {"path": path, "deleted": False}
        return {"path": path, "deleted": True}

    @contextmanager
    def _opened(self, path: str, parts: list[str], *, make: bool = False) -> Iterator[int]:
        """The folder that `parts` lead to from the workspace, opened."""
        folder = os.open(self._folder, _DIRECTORY)
        try:
            for part in parts:
                if make:
                    _make(part, folder)
                below = _open(path, part, _DIRECTORY, folder)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)


def _parts(path: str) -> list[str]:
    """The names a path goes through; OutsideWorkspace for one that may lead elsewhere."""
    if "\0" in path or path.startswith(("/", "~")) or "\\" in path or path[1:2] == ":":
        raise OutsideWorkspace(f"{path!r} is not a path relative to the workspace, with '/'")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OutsideWorkspace(f"{path!r} may not contain '..'")
    return parts


def _named(path: str) -> list[str]:
    parts = _parts(path)
    if not parts:
        raise OutsideWorkspace(f"{path!r} names no file")
    return parts


def _open(path: str, name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        _refuse_link(path, name, folder)
        if error.errno in _LINKS:
            raise OutsideWorkspace(f"{path!r} goes through a link") from None
        raise OSError(error.errno, error.strerror, path) from None


def _refuse_link(path: str, name: str, folder: int) -> None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise OutsideWorkspace(f"{path!r} goes through a link")


def _make(part: str, folder: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(part, 0o755, dir_fd=folder)


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "other"
