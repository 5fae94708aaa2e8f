"""The verification of maps, step by step: find them, judge them, compare claims, write the record."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config.cell import fingerprint_of
from bench.config.tracks import VERIFIED
from bench.console import say
from bench.data.datamodule import DefectData
from bench.data.digests import file_sha256
from bench.data.layout import Category
from bench.data.remarks import remarks
from bench.errors import UsageError
from bench.evaluation.score_figures import defined
from bench.metrics.bootstrap import detection_intervals
from bench.metrics.catalogue import title_of
from bench.metrics.image import image_metrics, image_metrics_by_defect
from bench.metrics.pixel import pixel_result
from bench.phases import phase
from bench.records.predictions import Predicted, write_predictions
from bench.records.record import DataRecord, Metrics, Record
from bench.runs.environment import describe_environment
from bench.verification.claims import Claim, Figure, reproducing, reproducing_all
from bench.verification.figures import other_figures
from bench.verification.image_scores import read_scores
from bench.verification.judged_maps import JudgedMaps
from bench.verification.maps import find_maps
from bench.verification.pixel_scores import PixelScores
from bench.verification.protocols import EXACT

MAXIMUM = "maximum"  # in a record: images are scored by the largest value of their map


@dataclass(frozen=True)
class Request:
    """What is to be verified; `settings` are those of the data, `command` is what was typed."""

    maps: Path
    scores: Path | None
    threshold: float | None
    claims: Sequence[Claim]
    name: str
    seed: int
    dataset: str
    settings: Mapping[str, Any]
    command: str


@dataclass(frozen=True)
class Verification:
    """The figures of maps: exact in the record, and under other protocols by their names.

    `together` names the protocols that reproduce all claims at once. `digests` are those of the maps' files, `sizes`
    the sizes (height, width) of maps, each once.
    """

    record: Record
    predictions: list[Predicted]
    others: dict[str, Metrics]
    claims: list[tuple[Claim, list[Figure]]]
    together: list[str]
    digests: dict[str, str]
    sizes: list[tuple[int, int]]

    def write(self, folder: Path) -> Record:
        """Write the record and the predictions of images; the record as it was written."""
        sha256 = write_predictions(folder, self.predictions)
        record = self.record.changed(data=self.record.data.model_copy(update={"predictions_sha256": sha256}))
        record.write(folder)
        return record


def verify(data: DefectData, request: Request) -> Verification:
    """Compute all figures of the maps; a UsageError where maps, scores or claims do not fit the test images."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    category = data.full_category
    if data.random_pose:
        raise UsageError("--data rd_mvtec_ad turns images when they are read, and no maps; verify those of mvtec_ad")
    _check(category, request)
    for line in remarks(category):
        say(f"bench: {line}")
    maps = find_maps(request.maps, category.test)
    given = None if request.scores is None else read_scores(request.scores, category.test)
    judged = JudgedMaps(category.test, category.defect_types, maps)
    values = judged.values()
    scores = values.maxima if given is None else given
    pixels = judged.collect("judging the pixels") if judged.has_masks else None
    metrics, by_defect = _exact(category, scores, pixels, request.threshold)
    found = other_figures(judged, pixels, values, scores)
    others = {name: defined(own) for name, own in found.items()}
    _say_undefined(others, metrics)
    figures = {EXACT: metrics, **others}
    claims = [(claim, reproducing(claim, figures, EXACT)) for claim in request.claims]
    together = reproducing_all(request.claims, figures, EXACT) if request.claims else []
    digests = maps.digests(category.test)
    types = [sample.defect_type for sample in category.test]
    with phase("intervals"):
        intervals = detection_intervals(scores, types)
    record = _record(data, request, digests, started).changed(
        metrics=metrics, metrics_by_defect=by_defect, intervals=intervals
    )
    return Verification(
        record, _predictions(category, scores), others, claims, together, digests, sorted(set(values.sizes))
    )


def _check(category: Category, request: Request) -> None:
    """Refuse data on which nothing can be verified, and claims of what nobody can compute from them."""
    if not any(sample.is_defect for sample in category.test):
        raise UsageError(f"no defect images of {category.name}: no figure of what is found can be verified")
    if all(sample.is_defect for sample in category.test):
        raise UsageError(f"no good test images of {category.name}: no figure of false alarms can be verified")
    pixels = [claim.metric for claim in request.claims if not claim.metric.startswith("image_")]
    if pixels and not category.has_masks:
        raise UsageError(f"--claimed {pixels[0]}: no masks of {category.name}, so no pixel can be judged")


def _exact(
    category: Category, scores: NDArray[np.float64], pixels: PixelScores | None, threshold: float | None
) -> tuple[Metrics, dict[str, Metrics]]:
    """The metrics of images and pixels as the evaluation of a run computes them, and those by defect type."""
    types = [sample.defect_type for sample in category.test]
    labels = np.array([sample.is_defect for sample in category.test])
    metrics: Metrics = defined(image_metrics(scores, labels, threshold))
    by_type = image_metrics_by_defect(scores, types, threshold)
    by_defect = {name: defined(values) for name, values in by_type.items()}
    if pixels is not None:
        with phase("exact figures of pixels"):
            found = pixel_result(pixels.ranking, pixels.among_good, pixels.weights, pixels.defect_types)
        metrics |= defined(found.overall)
        for index, values in found.by_defect.items():
            by_defect[category.defect_types[index]] |= defined(values)
    if threshold is not None:
        metrics["threshold"] = threshold
    return metrics, by_defect


def _say_undefined(others: Mapping[str, Metrics], exact: Metrics) -> None:
    """Say which protocols could reproduce no claim, although there is an exact figure."""
    missing: dict[str, list[str]] = {}
    for name, own in others.items():
        for metric, value in own.items():
            if value is None and exact.get(metric) is not None:
                missing.setdefault(metric, []).append(name)
    for metric, names in missing.items():
        say(f"bench: no {title_of(metric)} under {', '.join(names)}: not defined on these maps, or too many points")


def _predictions(category: Category, scores: NDArray[np.float64]) -> list[Predicted]:
    return [
        Predicted(each.relative, category.hashes[each.path], each.defect_type, each.is_defect, float(score), ())
        for each, score in zip(category.test, scores, strict=True)
    ]


def maps_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 over the names and digests of all maps."""
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _record(data: DefectData, request: Request, digests: Mapping[str, str], started: str) -> Record:
    """The record of the maps, without their figures."""
    category = data.full_category
    scores = MAXIMUM if request.scores is None else file_sha256(request.scores)
    config = {
        "category": category.name,
        "seed": request.seed,
        "protocol": "full",
        "model": {"name": request.name},
        "data": {"name": request.dataset, **request.settings, "root": str(data.find_root())},
        "trainer": {},
        "maps": {"sha256": maps_digest(digests), "scores": scores, "threshold": request.threshold},
    }
    weights = {"source": "none"}
    return Record(
        status="finished",
        model=request.name,
        track=VERIFIED.name,  # type: ignore[arg-type] # pydantic knows the names of tracks
        dataset=request.dataset,
        official=data.official,
        category=category.name,
        seed=request.seed,
        fingerprint=fingerprint_of(config, weights, category.digest),
        config=config,
        overrides={},
        data=DataRecord(
            digest=category.digest,
            counts=category.counts,
            validation_images=0,
            differences=data.differences,
            without_masks=category.without_masks,
            conversions=category.conversions,
        ),
        weights=weights,
        environment=describe_environment(torch.device("cpu")),
        started=started,
        command=request.command,
    )
