"""Which failures of a call are worth another attempt, and texts of them that tell no secret."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from abstractruntime.errors import EffectFault, RetryableError, TerminalError

RETRYABLE = frozenset({408, 425, 429})
"""Statuses below 500 that may pass by themselves; from 500 on all may."""

EXCERPT = 500
"""Characters of an error's body that are kept."""

LONGEST_WAIT = 3600.0
"""Seconds: a server that asks for more is asked again after that."""

_SECRET_NAME = re.compile(r"auth|key|token|secret|password|cookie|credential", re.IGNORECASE)
_PLAIN_NAMES = frozenset(
    {
        *("accept", "content-type", "user-agent", "idempotency-key"),
        *("x-abstractcore-trace-metadata", "x-abstractcore-actor-id", "x-abstractcore-run-id"),
        *("x-abstractcore-session-id", "x-abstractcore-parent-run-id"),
    }
)
"""Headers that hold no secret, the run's own ids among them."""
_HIDDEN = "[hidden]"


class Secrets:
    """Values that must not be told: those of headers, and credentials among keyword arguments."""

    def __init__(self, named: Mapping[str, Any] | None = None) -> None:
        self._all: list[str] = []
        self._named: list[str] = []
        for name, value in (named or {}).items():
            if isinstance(value, Mapping):
                inner = Secrets(value)
                self._all += inner._all
                self._named += inner._named
            elif isinstance(value, str) and len(value) >= 4 and name.lower() not in _PLAIN_NAMES:
                # "Bearer x": the scheme may be told, x may not, with or without the scheme.
                parts = [value, *value.split(" ")[1:]]
                self._all += [part for part in parts if len(part) >= 4]
                if _SECRET_NAME.search(name):
                    self._named += [part for part in parts if len(part) >= 8]
        self._all.sort(key=len, reverse=True)
        self._named.sort(key=len, reverse=True)

    def out_of(self, text: str) -> str:
        """The text of an error without any of the values."""
        for secret in self._all:
            text = text.replace(secret, _HIDDEN)
        return text

    def out_of_value(self, found: Any) -> Any:
        """A JSON value without those that were named as credentials."""
        if not self._named:
            return found
        if isinstance(found, str):
            for secret in self._named:
                found = found.replace(secret, _HIDDEN)
            return found
        if isinstance(found, dict):
            return {self.out_of_value(name): self.out_of_value(v) for name, v in found.items()}
        if isinstance(found, list):
            return [self.out_of_value(each) for each in found]
        return found


def without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The URL without user and password, and the header that says them instead."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return url, {}
    host = parts.netloc.rpartition("@")[2]
    said = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    header = {"Authorization": f"Basic {base64.b64encode(said.encode()).decode('ascii')}"}
    return urlunsplit(parts._replace(netloc=host)), header


def seconds_of(retry_after: str | None, *, now: float | None = None) -> float | None:
    """A Retry-After header, seconds or a date, as seconds from `now`; None when it is neither.

    `now` is in epoch seconds. At most LONGEST_WAIT.
    """
    if not retry_after:
        return None
    text = retry_after.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return min(float(text), LONGEST_WAIT)
    try:
        due = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(due - (time.time() if now is None else now), 0.0), LONGEST_WAIT)


def of_status(status: int, text: str, retry_after: float | None = None) -> EffectFault:
    """The fault of an answer with this status."""
    if status in RETRYABLE or status >= 500:
        return RetryableError(text, retry_after=retry_after)
    return TerminalError(text)


def of_provider(error: Exception, secrets: Secrets) -> EffectFault | None:
    """The fault of what a provider of AbstractCore raised; None for an error of another kind."""
    text = secrets.out_of(f"{type(error).__name__}: {error}")
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and "AbstractCoreError" in names:
        return of_status(status, text, getattr(error, "retry_after_s", None))
    if names & {"AuthenticationError", "InvalidRequestError", "ModelNotFoundError"}:
        return TerminalError(text)
    if names & {"UnsupportedFeatureError", "ConfigurationError", "ModelArtifactMismatchError"}:
        return TerminalError(text)
    # What is left of AbstractCore's own are answers cut short, refused connections and the like.
    passing = {"RateLimitError", "ProviderAPIError", "TransportError", "TimeoutError"}
    if names & passing or isinstance(error, ConnectionError | json.JSONDecodeError):
        return RetryableError(text, retry_after=getattr(error, "retry_after_s", None))
    return None
