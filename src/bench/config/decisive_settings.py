"""Which settings decide a metric: the one list of those that do not, those that a method cannot use, one spelling each.

Fingerprints, overrides, rows of leaderboards, studies, comparisons and W&B's tables all use this list.
"""

import re
from collections.abc import Container, Mapping
from typing import Any, Protocol

from bench.config.tracks import TRACKS
from bench.errors import UsageError

# By dotted name: the location of a run's files, how they are loaded, the device, how the run is watched.
DECIDE_NOTHING = frozenset(
    {"data.root", "data.cache", "data.feature_cache", "data.num_workers"}
    | {"data.region"}  # the data's digest holds the region's content
    | {
        f"trainer.{name}"
        for name in ("accelerator", "strategy", "devices", "num_nodes", "benchmark", "profiler", "detect_anomaly")
    }
)
# Settings that decide a metric, but make no other method: randomness, and weights and images, whose content is recorded
# apart.
_NO_METHOD = frozenset({"seed", "category", "model.weights", "model.image_folder"})

# Settings added later, with the value that keeps the behaviour before they were added: it makes no other cell.
_AS_BEFORE = {
    "data.aspect": "squash", "data.bits": 16, "data.masks": "required", "data.mask_threshold": None,
    "data.shots": None, "data.contamination": 0, "data.tile": None, "data.tile_overlap": 0, "data.held_out": None,
    "data.products": None, "model.squared": False, "model.even_borders": True, "model.max_norm_after": "step",
}  # fmt: skip

# Settings that only training by gradient uses. A texture's patches are those "that training sees" (`DataSpec.patch`).
_OF_TRAINING = frozenset(
    {"patience", "data.augmentation", "data.minority_augmentation", "data.samples_per_epoch", "data.sampling"}
    | {"data.texture_patch"}
    | {
        f"trainer.{name}"
        for name in (
            "max_epochs", "min_epochs", "max_steps", "min_steps", "limit_train_batches", "limit_val_batches",
            "check_val_every_n_epoch", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm",
        )
    }
)  # fmt: skip
_LIMITS = [f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")]
# Lightning's other spellings of a precision.
_PRECISIONS = {None: "32-true", "32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def decides(key: str) -> bool:
    """Whether a metric may depend on the setting of this dotted name."""
    return key not in DECIDE_NOTHING


def makes_method(key: str) -> bool:
    """Whether runs that differ in this setting are of two methods or protocols, not of two seeds, paths or weights."""
    return decides(key) and key not in _NO_METHOD


def is_as_before(key: str, value: Any) -> bool:
    """Whether a setting, absent from older records, has the value that keeps the behaviour before it was added."""
    return key in _AS_BEFORE and _AS_BEFORE[key] == value


def decisive_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings without those that decide no metric, and without later ones that keep the earlier behaviour."""

    def kept(key: str, value: Any) -> bool:
        return decides(key) and not is_as_before(key, value)

    return {
        section: {key: value for key, value in content.items() if kept(f"{section}.{key}", value)}
        if isinstance(content, Mapping)
        else content
        for section, content in settings.items()
    }


class Method(Protocol):
    """The part of a method's class that determines which settings it can use."""

    track: str

    @classmethod
    def is_trained(cls) -> bool:
        """Whether it learns by gradient."""


def unusable(method: type[Method]) -> dict[str, str]:
    """The settings that a method of this class cannot use, each with the reason: `does not train`."""
    found: dict[str, str] = {}
    if not method.is_trained():
        found |= dict.fromkeys(sorted(_OF_TRAINING), "does not train")
    return found | dict(TRACKS[method.track].idle)


def defaults_of_idle(
    name: str,
    method: type[Method],
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any],
    typed: Container[str] = (),
) -> dict[str, Any]:
    """The defaults, by dotted name, of the settings that the method cannot use; a UsageError where one was typed.

    A file may hold these settings for other methods. A fold is another split, which `bench.runs.plan` refuses
    wherever it is set.
    """
    found: dict[str, Any] = {}
    for key, reason in unusable(method).items():
        if key not in settings or settings[key] == defaults[key]:
            continue
        if key in typed:
            raise UsageError(f"{name} {reason}: leave out --{key}")
        if key != "data.fold":
            found[key] = defaults[key]
    return found


def name_once(trainer: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Give the Trainer's settings that have several spellings a single one.

    A limit of 1 is one batch, 1.0 is all. Which of them a typed `1` became depended on earlier imports: of
    `Optional[int | float]` and `Optional[float | int]` Python keeps the first. So the typed text decides.
    """
    precision = trainer["precision"]
    trainer["precision"] = _PRECISIONS.get(precision if precision is None else str(precision), precision)
    for name in _LIMITS:
        if re.fullmatch(r"\d+", str(given.get(f"trainer.{name}"))):
            trainer[name] = int(trainer[name])
        elif trainer[name] == 1:
            trainer[name] = None  # Lightning's value for all batches
