"""What an artifact is: content with metadata, its id, and the reference that stands for it in vars.

It keeps nothing; `storage.artifacts` does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from abstractruntime.core.canonical import decode
from abstractruntime.errors import InvalidIdentifier
from abstractruntime.storage.durable_files import MAX_IDENTIFIER

REFERENCE = "$artifact"
_ID_LENGTH = 32
_ID = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class ArtifactMetadata:
    """What is known of an artifact without reading it; `run_id` is the run that stored it."""

    artifact_id: str
    content_type: str
    size_bytes: int
    created_at: str
    run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form, keys in field order."""
        return {
            "artifact_id": self.artifact_id,
            "content_type": self.content_type,
            "size_bytes": self.size_bytes,
            "created_at": self.created_at,
            "run_id": self.run_id,
            "tags": dict(self.tags),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArtifactMetadata:
        """The inverse of `to_dict`; keys it does not know are ignored."""
        return cls(
            artifact_id=data["artifact_id"],
            content_type=data["content_type"],
            size_bytes=data["size_bytes"],
            created_at=data["created_at"],
            run_id=data.get("run_id"),
            tags=dict(data.get("tags") or {}),
        )


@dataclass(frozen=True)
class Artifact:
    """An artifact whole."""

    metadata: ArtifactMetadata
    content: bytes

    @property
    def artifact_id(self) -> str:
        return self.metadata.artifact_id

    @property
    def content_type(self) -> str:
        return self.metadata.content_type

    def as_text(self, encoding: str = "utf-8") -> str:
        """The content as text; UnicodeDecodeError when it is none."""
        return self.content.decode(encoding)

    def as_json(self) -> Any:
        """The content as a JSON value; ValueError when it is none."""
        return decode(self.content)


class LoadsArtifacts(Protocol):
    """The part of a store that references need."""

    def load(self, artifact_id: str) -> Artifact | None: ...


def compute_artifact_id(content: bytes) -> str:
    """The id that content has by itself: 32 hex digits of its sha256."""
    return hashlib.sha256(content).hexdigest()[:_ID_LENGTH]


def validate_artifact_id(artifact_id: str) -> None:
    """InvalidIdentifier (a ValueError) unless it is 1..256 of A-Z a-z 0-9 - and _."""
    if not artifact_id:
        raise InvalidIdentifier("artifact_id cannot be empty")
    if not _ID.fullmatch(artifact_id):
        raise InvalidIdentifier(
            f"Invalid artifact_id '{artifact_id}': "
            "must contain only alphanumeric characters, hyphens, and underscores"
        )
    if len(artifact_id) > MAX_IDENTIFIER:
        raise InvalidIdentifier(
            f"Invalid artifact_id '{artifact_id[:40]}…': longer than {MAX_IDENTIFIER} characters"
        )


def artifact_ref(artifact_id: str) -> dict[str, str]:
    """The reference that stands for an artifact in vars, payloads and results."""
    return {REFERENCE: artifact_id}


def is_artifact_ref(value: Any) -> bool:
    """Whether `value` is such a reference."""
    return isinstance(value, dict) and isinstance(value.get(REFERENCE), str)


def get_artifact_id(ref: Mapping[str, Any]) -> str:
    """The id a reference names; InvalidIdentifier when it is no reference."""
    if not is_artifact_ref(ref):
        raise InvalidIdentifier(f"not an artifact reference: {str(ref)[:80]}")
    artifact_id: str = ref[REFERENCE]
    return artifact_id


def resolve_artifact(ref: Any, store: LoadsArtifacts) -> Artifact | None:
    """The artifact a reference names; None when it is no reference or the store has it not."""
    return store.load(get_artifact_id(ref)) if is_artifact_ref(ref) else None


@dataclass(frozen=True)
class Owners:
    """What each run that stored one artifact said of it, the latest last; one entry per run.

    The same content stored by two runs is one artifact: it goes when its last owner lets go.
    """

    entries: tuple[ArtifactMetadata, ...]
    by_content: bool
    """Its id is that of its content, which therefore never changes."""

    @property
    def latest(self) -> ArtifactMetadata:
        return self.entries[-1]

    @property
    def run_ids(self) -> list[str | None]:
        return [entry.run_id for entry in self.entries]

    def of(self, run_id: str) -> ArtifactMetadata | None:
        """What this run said of it; None when it is no owner."""
        return next((entry for entry in self.entries if entry.run_id == run_id), None)

    def without(self, run_id: str) -> Owners | None:
        """The owners when this run lets go; None when nobody is left."""
        rest = tuple(entry for entry in self.entries if entry.run_id != run_id)
        return replace(self, entries=rest) if rest else None

    def to_dict(self) -> dict[str, Any]:
        """The `.meta` file: the latest entry's keys, then what this version adds."""
        return {
            **self.latest.to_dict(),
            "owners": [entry.to_dict() for entry in self.entries],
            "by_content": self.by_content,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Owners:
        """The inverse of `to_dict`; a file without owners has the one it names itself."""
        entries = data.get("owners") or [data]
        return cls(
            entries=tuple(ArtifactMetadata.from_dict(entry) for entry in entries),
            by_content=data.get("by_content", False),
        )


def owned_by(entry: ArtifactMetadata, before: Owners | None, *, by_content: bool) -> Owners:
    """The owners once `entry` is stored over `before`: others stay, with the size it has now."""
    others: Iterable[ArtifactMetadata] = () if before is None else before.entries
    kept = tuple(
        replace(other, size_bytes=entry.size_bytes)
        for other in others
        if other.run_id != entry.run_id
    )
    return Owners(entries=(*kept, entry), by_content=by_content)


def newest_first(found: Iterable[ArtifactMetadata]) -> list[ArtifactMetadata]:
    """By created_at; of equal ones the higher id."""
    return sorted(found, key=lambda each: (each.created_at, each.artifact_id), reverse=True)
