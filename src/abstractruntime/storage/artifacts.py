"""Where artifacts are kept: bulk data that vars only refer to, so that state stays small.

Two stores with one contract; deleting a run's artifacts never takes what another run stored.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from abstractruntime.core.canonical import decode, encode
from abstractruntime.core.models import utc_now
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.artifact_values import (
    Artifact,
    ArtifactMetadata,
    Owners,
    artifact_ref,
    compute_artifact_id,
    get_artifact_id,
    is_artifact_ref,
    newest_first,
    owned_by,
    resolve_artifact,
    validate_artifact_id,
)
from abstractruntime.storage.durable_files import (
    file_name,
    lock_of,
    make_folder,
    read_whole,
    remove,
    translated,
    write_whole,
)
from abstractruntime.storage.json_files import readable

__all__ = [
    "Artifact",
    "ArtifactMetadata",
    "ArtifactStore",
    "FileArtifactStore",
    "InMemoryArtifactStore",
    "artifact_ref",
    "compute_artifact_id",
    "get_artifact_id",
    "is_artifact_ref",
    "resolve_artifact",
    "validate_artifact_id",
]

MAX_JSON_BYTES = 1024 * 1024 * 1024


class ArtifactStore(ABC):
    """Artifacts by id. Without an id of its own, content is kept under the id it has by itself."""

    @abstractmethod
    def store(
        self,
        content: bytes,
        *,
        content_type: str = "application/octet-stream",
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        """Keep `content`; under an `artifact_id` that is taken it replaces what was there.

        Stored by several runs, it is one artifact with each of them as owner.
        """

    @abstractmethod
    def load(self, artifact_id: str) -> Artifact | None:
        """The artifact; None when unknown."""

    @abstractmethod
    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        """Its metadata as last stored; None when unknown."""

    @abstractmethod
    def exists(self, artifact_id: str) -> bool:
        """Whether it is there."""

    @abstractmethod
    def delete(self, artifact_id: str) -> bool:
        """Remove it, whoever owns it; whether it was there."""

    @abstractmethod
    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        """What a run stored, newest first, as that run stored it."""

    def owners(self, artifact_id: str) -> list[str | None]:
        """The runs that stored it, None standing for no run; empty when unknown."""
        found = self.get_metadata(artifact_id)
        return [] if found is None else [found.run_id]

    @abstractmethod
    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        """Everything, newest first."""

    def delete_by_run(self, run_id: str) -> int:
        """Let go of all a run stored; how many. What another run stored too stays there for it.

        A store that knows several owners of one artifact says so by a method of its own.
        """
        return sum(self.delete(mine.artifact_id) for mine in self.list_by_run(run_id))

    def store_text(
        self,
        text: str,
        *,
        content_type: str = "text/plain",
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
        encoding: str = "utf-8",
    ) -> ArtifactMetadata:
        """Keep a text in `encoding`."""
        return self.store(
            text.encode(encoding),
            content_type=content_type,
            run_id=run_id,
            tags=tags,
            artifact_id=artifact_id,
        )

    def store_json(
        self,
        data: Any,
        *,
        content_type: str = "application/json",
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        """Keep a value as compact JSON; NotJson names the path of what JSON cannot hold."""
        return self.store(
            encode(data, max_bytes=MAX_JSON_BYTES),
            content_type=content_type,
            run_id=run_id,
            tags=tags,
            artifact_id=artifact_id,
        )

    def load_text(self, artifact_id: str, *, encoding: str = "utf-8") -> str | None:
        """The content as text; None when unknown."""
        artifact = self.load(artifact_id)
        return None if artifact is None else artifact.as_text(encoding)

    def load_json(self, artifact_id: str) -> Any:
        """The content as a JSON value; None when unknown. ValueError when it is none."""
        artifact = self.load(artifact_id)
        return None if artifact is None else artifact.as_json()

    def search(
        self,
        *,
        run_id: str | None = None,
        content_type: str | None = None,
        tags: dict[str, str] | None = None,
        limit: int = 1000,
    ) -> list[ArtifactMetadata]:
        """What matches all given, newest first; `tags` must all be there with equal values."""
        found = self.list_all(limit=2**63 - 1) if run_id is None else self.list_by_run(run_id)
        matching = [
            metadata
            for metadata in found
            if (content_type is None or metadata.content_type == content_type)
            and (tags or {}).items() <= metadata.tags.items()
        ]
        return matching[: max(limit, 0)]


def _described(
    content: bytes,
    *,
    content_type: str,
    run_id: str | None,
    tags: dict[str, str] | None,
    artifact_id: str | None,
) -> tuple[ArtifactMetadata, bool]:
    """The metadata of content about to be stored, and whether its id is that of its content."""
    own_id = compute_artifact_id(content)
    if artifact_id is not None:
        validate_artifact_id(artifact_id)
    metadata = ArtifactMetadata(
        artifact_id=own_id if artifact_id is None else artifact_id,
        content_type=content_type,
        size_bytes=len(content),
        created_at=utc_now(),
        run_id=run_id,
        tags=dict(tags or {}),
    )
    return metadata, metadata.artifact_id == own_id


class InMemoryArtifactStore(ArtifactStore):
    """Artifacts in memory. Any thread may call; nothing outlives the process."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Owners, bytes]] = {}
        self._lock = threading.Lock()

    def store(
        self,
        content: bytes,
        *,
        content_type: str = "application/octet-stream",
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        content = bytes(content)
        metadata, by_content = _described(
            content, content_type=content_type, run_id=run_id, tags=tags, artifact_id=artifact_id
        )
        with self._lock:
            before = self._kept.get(metadata.artifact_id)
            owners = owned_by(metadata, before and before[0], by_content=by_content)
            self._kept[metadata.artifact_id] = owners, content
        return _copy(metadata)

    def load(self, artifact_id: str) -> Artifact | None:
        validate_artifact_id(artifact_id)
        kept = self._kept.get(artifact_id)
        return None if kept is None else Artifact(_copy(kept[0].latest), kept[1])

    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        artifact = self.load(artifact_id)
        return None if artifact is None else artifact.metadata

    def exists(self, artifact_id: str) -> bool:
        return self.load(artifact_id) is not None

    def delete(self, artifact_id: str) -> bool:
        validate_artifact_id(artifact_id)
        return self._kept.pop(artifact_id, None) is not None

    def owners(self, artifact_id: str) -> list[str | None]:
        kept = self._kept.get(artifact_id)
        return [] if kept is None else kept[0].run_ids

    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        mine = (owners.of(run_id) for owners in self._owners())
        return newest_first(_copy(each) for each in mine if each is not None)

    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        return newest_first(_copy(owners.latest) for owners in self._owners())[: max(limit, 0)]

    def delete_by_run(self, run_id: str) -> int:
        count = 0
        with self._lock:
            for artifact_id, (owners, content) in list(self._kept.items()):
                if owners.of(run_id) is not None:
                    count += 1
                    rest = owners.without(run_id)
                    if rest is None:
                        del self._kept[artifact_id]
                    else:
                        self._kept[artifact_id] = rest, content
        return count

    def _owners(self) -> list[Owners]:
        with self._lock:
            return [owners for owners, _ in self._kept.values()]


def _copy(metadata: ArtifactMetadata) -> ArtifactMetadata:
    return replace(metadata, tags=dict(metadata.tags))


class FileArtifactStore(ArtifactStore):
    """Artifacts as `artifacts/{id}.bin` with `artifacts/{id}.meta` beside it, below a folder.

    `store` is durable on return. The `.meta` file makes an artifact: it is written last and
    removed first, so a crash leaves at most content that nobody sees. One process at a time
    writes to a folder.
    """

    def __init__(self, base_dir: str | os.PathLike[str]) -> None:
        self._base = make_folder(Path(base_dir) / "artifacts")

    def store(
        self,
        content: bytes,
        *,
        content_type: str = "application/octet-stream",
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        content = bytes(content)
        metadata, by_content = _described(
            content, content_type=content_type, run_id=run_id, tags=tags, artifact_id=artifact_id
        )
        path = self._path(metadata.artifact_id, ".meta")
        with lock_of(path):
            owners = owned_by(
                metadata, _read_owners(path, metadata.artifact_id), by_content=by_content
            )
            content_path = self._path(metadata.artifact_id, ".bin")
            if not by_content or read_whole(content_path) != content:
                write_whole(content_path, content)
            write_whole(path, readable(owners.to_dict()))
        return metadata

    def load(self, artifact_id: str) -> Artifact | None:
        """The artifact; StoreCorrupt when its content is not what its id says, or is missing."""
        path = self._path(artifact_id, ".meta")
        with lock_of(path):
            owners = _read_owners(path, artifact_id)
            if owners is None:
                return None
            content_path = self._path(artifact_id, ".bin")
            content = read_whole(content_path)
        if content is None:
            raise StoreCorrupt(f"{content_path} is missing", path=str(content_path))
        if owners.by_content and compute_artifact_id(content) != artifact_id:
            raise StoreCorrupt(
                f"{content_path} does not hold the content of its id", path=str(content_path)
            )
        # A crash while content under a chosen id was replaced leaves the old size beside it.
        return Artifact(replace(owners.latest, size_bytes=len(content)), content)

    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        owners = _read_owners(self._path(artifact_id, ".meta"), artifact_id)
        return None if owners is None else owners.latest

    def exists(self, artifact_id: str) -> bool:
        return self.get_metadata(artifact_id) is not None

    def delete(self, artifact_id: str) -> bool:
        path = self._path(artifact_id, ".meta")
        with lock_of(path):
            there = remove(path)
            remove(self._path(artifact_id, ".bin"))
        return there

    def owners(self, artifact_id: str) -> list[str | None]:
        owners = _read_owners(self._path(artifact_id, ".meta"), artifact_id)
        return [] if owners is None else owners.run_ids

    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        mine = (owners.of(run_id) for owners in self._all())
        return newest_first(each for each in mine if each is not None)

    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        return newest_first(owners.latest for owners in self._all())[: max(limit, 0)]

    def delete_by_run(self, run_id: str) -> int:
        return sum(self._let_go(mine.artifact_id, run_id) for mine in self.list_by_run(run_id))

    def _let_go(self, artifact_id: str, run_id: str) -> bool:
        path = self._path(artifact_id, ".meta")
        with lock_of(path):
            owners = _read_owners(path, artifact_id)
            if owners is None or owners.of(run_id) is None:
                return False
            rest = owners.without(run_id)
            if rest is None:
                return self.delete(artifact_id)
            write_whole(path, readable(rest.to_dict()))
            return True

    def _path(self, artifact_id: str, suffix: str) -> Path:
        validate_artifact_id(artifact_id)
        return self._base / file_name("", artifact_id, suffix)

    def _all(self) -> Iterator[Owners]:
        with translated(self._base):
            names = sorted(os.listdir(self._base))
        for name in names:
            if name.endswith(".meta"):
                owners = _read_owners(self._base / name)
                if owners is not None:  # None: removed since the folder was read
                    yield owners


def _read_owners(path: Path, artifact_id: str | None = None) -> Owners | None:
    """What a `.meta` file says; None when there is no file, StoreCorrupt when it says nothing."""
    text = read_whole(path)
    if text is None:
        return None
    try:
        owners = Owners.from_dict(decode(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorrupt(f"{path} holds no metadata: {error!r}", path=str(path)) from error
    # File systems that ignore case hold two ids in one file.
    if artifact_id is not None and owners.latest.artifact_id != artifact_id:
        raise StoreCorrupt(
            f"{path} is of the artifact '{owners.latest.artifact_id}', not '{artifact_id}'",
            path=str(path),
        )
    return owners
