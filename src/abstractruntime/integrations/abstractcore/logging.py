"""Loggers of the integration. Lines name runs and steps; never headers, keys or payloads."""

from __future__ import annotations

import logging

ROOT = "abstractruntime.integrations.abstractcore"


def get_logger(name: str = "") -> logging.Logger:
    """The integration's logger, or the one below it of that name."""
    if not name or name == ROOT:
        return logging.getLogger(ROOT)
    return logging.getLogger(name if name.startswith(f"{ROOT}.") else f"{ROOT}.{name}")
