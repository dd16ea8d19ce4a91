"""Actor ids derived from what an actor is, so that equal actors get equal ids everywhere.

It proves nothing about who acts: that is for keys and signatures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from abstractruntime.core.canonical import chain_form

_DIGITS = 24


@dataclass(frozen=True)
class ActorFingerprint:
    """An actor and its id; `kind` is a word such as "agent", "human" or "service"."""

    actor_id: str
    kind: str
    display_name: str | None = None
    metadata: dict[str, Any] | None = field(default=None, hash=False)

    @classmethod
    def from_metadata(
        cls,
        *,
        kind: str,
        display_name: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> ActorFingerprint:
        """The actor so described; its id is "ar_" and 24 hex digits. TypeError for no JSON."""
        described = {"kind": kind, "display_name": display_name, "metadata": metadata or {}}
        digest = hashlib.sha256(chain_form(described)).hexdigest()
        return cls(
            actor_id=f"ar_{digest[:_DIGITS]}",
            kind=kind,
            display_name=display_name,
            metadata=None if metadata is None else dict(metadata),
        )

    def to_dict(self) -> dict[str, Any]:
        """{"actor_id", "kind", "display_name", "metadata"} as JSON."""
        return {
            "actor_id": self.actor_id,
            "kind": self.kind,
            "display_name": self.display_name,
            "metadata": dict(self.metadata or {}),
        }
