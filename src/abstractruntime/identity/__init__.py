"""Who acts: names for people, agents and services that appear in runs and ledgers."""

from abstractruntime.identity.fingerprint import ActorFingerprint

__all__ = ["ActorFingerprint"]
