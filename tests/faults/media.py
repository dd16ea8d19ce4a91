"""Media that fill up and that refuse writes: a small file system where one can be mounted, else
what the system has that comes near it."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SIZE_KIB = 2048
CAPABILITIES = 0x20080522
"""The version of capget(2) and capset(2): effective, permitted, inheritable; low bits, high."""
SETS = ctypes.c_uint32 * 6
BEYOND_MODES = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


class Mounted:
    """A tmpfs of two MiB."""

    name = "tmpfs"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def full(self, *, but: int) -> Iterator[None]:
        """While entered only `but` more bytes fit."""
        ballast = self.folder / "ballast"
        free = os.statvfs(self.folder)
        room = free.f_bavail * free.f_frsize - but
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room, 1))
        try:
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """While entered nothing can be written; no file may be open for writing before."""
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True)


class Limited:
    """A plain folder: files may not grow past a limit; its mode bits refuse writes."""

    name = "limits and modes"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def full(self, *, but: int) -> Iterator[None]:
        """While entered no file grows by more than `but` bytes past the largest there is."""
        largest = max((path.stat().st_size for path in self.folder.iterdir()), default=0)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + but, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """While entered nothing can be written, by root neither."""
        paths = [self.folder, *self.folder.iterdir()]
        modes = [path.stat().st_mode for path in paths]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            with bound_by_modes():
                yield
        finally:
            for path, mode in zip(paths, modes, strict=True):
                path.chmod(mode)


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """While entered, the modes of files bind this thread and those it starts, root's too."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, before, bound = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), SETS(), SETS()
    for sets in (before, bound):
        assert libc.capget(header, sets) == 0, os.strerror(ctypes.get_errno())
    bound[0] &= ~BEYOND_MODES  # effective only: what stays permitted can be taken again
    assert libc.capset(header, bound) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0, os.strerror(ctypes.get_errno())


@contextmanager
def medium_at(folder: Path) -> Iterator[Mounted | Limited]:
    """A medium at `folder`: mounted when this process may, for modes bind all others."""
    folder.mkdir()
    with ExitStack() as unmounting:
        if os.geteuid() != 0:
            yield Limited(folder)
            return
        options = ["-t", "tmpfs", "-o", f"size={SIZE_KIB}k"]
        mounted = subprocess.run(["mount", *options, "none", str(folder)], check=False)
        if mounted.returncode:  # in a container, say
            yield Limited(folder)
            return
        unmounting.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
        yield Mounted(folder)
