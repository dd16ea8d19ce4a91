"""Keeps results small: outputs of tools above a size go to the artifact store, a preview stays."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.canonical import encode
from abstractruntime.storage.artifacts import ArtifactStore, artifact_ref

MAX_OUTPUT_BYTES = 256 * 1024
PREVIEW = 2000
"""Characters of a large output that the result still shows."""

_ANY_SIZE = 1 << 40


def offloaded(
    results: list[Any], *, max_bytes: int, artifacts: ArtifactStore | None, run_id: str
) -> list[Any]:
    """The results with each larger output replaced.

    By {"$artifact": id, "content_type", "size_bytes", "preview"}; without an artifact store by
    {"cut": True, "size_bytes", "preview"}: then the rest is gone. Errors are cut to the size.
    """
    return [
        _small(each, max_bytes, artifacts, run_id) if isinstance(each, dict) else each
        for each in results
    ]


def _small(
    result: dict[str, Any], max_bytes: int, artifacts: ArtifactStore | None, run_id: str
) -> dict[str, Any]:
    error = result.get("error")
    if isinstance(error, str) and len(error) > max_bytes:
        result = {**result, "error": f"{error[:PREVIEW]}… [{len(error)} characters in all]"}
    output = result.get("output")
    if output is None or isinstance(output, bool | int | float):
        return result
    if isinstance(output, str):
        content, content_type = output.encode(), "text/plain"
    else:
        content, content_type = encode(output, max_bytes=_ANY_SIZE), "application/json"
    if len(content) <= max_bytes:
        return result
    preview = content[: PREVIEW * 4].decode("utf-8", "ignore")[:PREVIEW]
    shown = {"size_bytes": len(content), "preview": preview}
    if artifacts is None:
        return {**result, "output": {"cut": True, **shown}}
    tags = {"tool": str(result.get("name") or "")}
    kept = artifacts.store(content, content_type=content_type, run_id=run_id, tags=tags)
    reference = artifact_ref(kept.artifact_id)
    return {**result, "output": {**reference, "content_type": content_type, **shown}}
