"""A cell: everything that decides a result, and the fingerprint computed from that."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.config.decisive_settings import decisive_settings
from bench.config.moved_classes import first_path
from bench.config.settings import Config

# Increased whenever the same settings would give other metrics.
PROTOCOL = 2

_JSON = json.JSONEncoder(sort_keys=True)
_members: dict[str, str] = {}  # encoded members by key and value: thousands of records share most sections


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
        """The folder of this cell's run."""
        return runs / self.config.model.name / self.config.category / self.fingerprint


def fingerprint_of(
    settings: Mapping[str, Any], weights: Mapping[str, str], digest: str, protocol_version: int = PROTOCOL
) -> str:
    """The fingerprint of these settings, weights and data, by this or an earlier version of the protocol."""
    return hash_encoded(encode_settings(settings, weights), digest, protocol_version)


def encode_settings(settings: Mapping[str, Any], weights: Mapping[str, str]) -> dict[str, str]:
    """The settings that a metric depends on, each as a member of a JSON object; equal values are encoded alike."""
    decisive = decisive_settings(settings)
    for section in (decisive["model"], decisive["data"]):
        if "class_path" in section:
            section["class_path"] = first_path(section["class_path"])
    if "weights" in decisive["model"]:  # their content in place of their path
        decisive["model"]["weights"] = weights.get("sha256", weights["source"])
    if "images_sha256" in weights:
        decisive["model"]["image_folder"] = weights["images_sha256"]
    members = {key: _member(key, value) for key, value in decisive.items()}
    if str(settings["trainer"].get("precision")).endswith("mixed"):
        # Earlier releases computed scores in half precision: those scores belong to another cell.
        members["scored"] = _member("scored", "outside autocast")
    if settings["data"].get("aspect") == "pad":
        # Earlier releases scored a padded image by the largest value of its map, padding included.
        members["padding"] = _member("padding", "not scored")
    return members


def hash_encoded(encoded: Mapping[str, str], digest: str, protocol_version: int) -> str:
    """16 hexadecimal digits over the JSON object of all members, in the order of their keys."""
    own = {"protocol_version": protocol_version, "digest": digest}
    members = {**encoded, **{key: _member(key, value) for key, value in own.items()}}
    return hashlib.sha256(f"{{{', '.join(members[key] for key in sorted(members))}}}".encode()).hexdigest()[:16]


def _member(key: str, value: Any) -> str:
    cache_key = repr((key, value))
    if cache_key not in _members:
        _members[cache_key] = f"{_JSON.encode(key)}: {_JSON.encode(_canonical(value))}"
    return _members[cache_key]


def _canonical(value: Any) -> Any:
    """Encode 1 and 1.0 as the same setting."""
    if isinstance(value, dict):
        return {k: _canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
