"""A cell: everything that decides a result, and the name it gets from that."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.config import TRAINER_PLACE, Config

# Raised whenever the same settings would give other figures.
PROTOCOL = 2

# Settings that say where things lie or how they are loaded: no figure depends on them.
_PLACES = {"data": frozenset({"root", "cache", "num_workers"}), "trainer": frozenset(TRAINER_PLACE)}


@dataclass(frozen=True)
class Cell:
    """One run's settings, data and weights."""

    config: Config
    data_digest: str
    weights: dict[str, str]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all that decides the result, and nothing else."""
        return fingerprint_of(self.config.as_dict(), self.weights, self.data_digest)

    def folder(self, runs: Path) -> Path:
        """Where the run of this cell lies."""
        return runs / self.config.model.name / self.config.category / self.fingerprint


def fingerprint_of(settings: Mapping[str, Any], weights: Mapping[str, str], digest: str) -> str:
    """The fingerprint of these settings, weights and data."""
    return hash_settings(decisive_settings(settings, weights), digest)


def decisive_settings(settings: Mapping[str, Any], weights: Mapping[str, str]) -> dict[str, Any]:
    """The settings that a figure depends on, with the content of weights in place of their path."""
    decisive = {
        section: {k: v for k, v in content.items() if k not in _PLACES.get(section, ())}
        if isinstance(content, dict)
        else content
        for section, content in settings.items()
    }
    if "weights" in decisive["model"]:
        decisive["model"]["weights"] = weights.get("sha256", weights["source"])
    return {key: _canonical(value) for key, value in decisive.items()}


def hash_settings(decisive: Mapping[str, Any], digest: str, protocol_version: int = PROTOCOL) -> str:
    """16 hexadecimal digits over decisive settings and data, by this or an earlier version of the protocol."""
    return hash_encoded(encode_settings(decisive), digest, protocol_version)


def encode_settings(decisive: Mapping[str, Any]) -> dict[str, str]:
    """Each section as JSON, in which equal ones are the same text: what takes time when many hashes are made."""
    return {key: json.dumps(value, sort_keys=True) for key, value in decisive.items()}


def hash_encoded(encoded: Mapping[str, str], digest: str, protocol_version: int) -> str:
    """As `hash_settings`: over the JSON of all of it, keys in order."""
    whole = {**encoded, "protocol_version": str(protocol_version), "digest": json.dumps(digest)}
    text = ", ".join(f"{json.dumps(key)}: {whole[key]}" for key in sorted(whole))
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    """Let 1 and 1.0 be the same setting."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, dict):  # strings, which are most, without a call: leaderboards read thousands of records
        return {k: v if isinstance(v, str) else _canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
