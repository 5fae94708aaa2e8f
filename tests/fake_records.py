"""Records of finished runs made by script, with fingerprints that fit their settings; no run is needed for them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.cell import PROTOCOL, fingerprint_of
from bench.data.category_folders import GOOD
from bench.metrics.image import image_metrics
from bench.records.normal_scores import NormalScore, quantile_of, write_normal_scores
from bench.records.predictions import Predicted, write_predictions
from bench.records.record import CostRecord, DataRecord, Record

METRICS = {"image_auroc": 0.8, "image_accuracy": 0.7, "image_balanced_accuracy": 0.6, "pixel_auroc": 0.9}


def make_record(
    model: str = "one",
    category: str = "screw",
    seed: int = 0,
    auroc: float | None = None,
    *,
    metrics: Mapping[str, float | None] | None = None,
    settings: Mapping[str, Any] | None = None,
    data_settings: Mapping[str, Any] | None = None,
    train: int | None = None,
    digest: str | None = None,
    protocol: str = "model",
    protocol_version: int = PROTOCOL,
    seconds: float = 10.0,
    **values: Any,
) -> Record:
    """A finished record; `settings` are the model's, `train` the training images, `values` any other fields."""
    config = {
        "category": category,
        "seed": seed,
        "protocol": protocol,
        "model": {"name": model, "class_path": "mine.Model", **(settings or {})},
        "data": {"name": "mvtec_ad", "root": None, "image_size": 256, **(data_settings or {})},
        "trainer": {"accelerator": "cpu", "max_epochs": 2},
    }
    weights = values.pop("weights", {"source": "none"})
    digest = digest or f"{category:0<64}"
    differences = [] if values.get("official") else ["images of 256 x 256, not 1024 x 1024"]
    figures = dict(METRICS if metrics is None else metrics) | ({} if auroc is None else {"image_auroc": auroc})
    record = {
        "status": "finished",
        "model": model,
        "track": "one-class",
        "dataset": "mvtec_ad",
        "official": False,
        "category": category,
        "seed": seed,
        "fingerprint": fingerprint_of(config, weights, digest, protocol_version),
        "config": config,
        "overrides": {},
        "data": DataRecord(
            digest=digest,
            counts={} if train is None else {"train/good": train},
            validation_images=0,
            differences=differences,
        ),
        "weights": weights,
        "metrics": figures,
        "cost": make_cost(seconds),
        "environment": {"processor": "a processor", "threads": 2, "gpu": None, "commit": "c0ffee"},
        "started": "2026-01-01T00:00:00+00:00",
        "command": "bench fit",
    }
    return Record.model_validate(record | values)


def make_cost(seconds: float) -> CostRecord:
    speed = {"test_seconds": 1.0, "milliseconds_per_image": seconds / 10, "images_per_second": 100.0}
    size = {"peak_memory_bytes": 2**30, "parameters": 10**6, "trainable_parameters": 10**6, "checkpoint_bytes": 10**6}
    return CostRecord(
        device="cpu", processes=1, fit_seconds=seconds, peak_memory_of="process", epochs=2, **speed, **size
    )


def write_record(runs: Path, record: Record, scores: Mapping[str, Sequence[float]] | None = None) -> Path:
    """Write it where a run would lie; with `scores` by defect type also predictions, and their image AUROC."""
    folder = runs / record.model / record.category / record.fingerprint
    folder.mkdir(parents=True)
    if scores is not None:
        record = predict(folder, record, scores)
    record.write(folder)
    return folder


def predict(folder: Path, record: Record, scores: Mapping[str, Sequence[float]]) -> Record:
    """Write predictions; the record that fits them. The content of an image is its place among those of its type."""
    rows = [
        Predicted(
            path=f"{record.category}/test/{kind}/{index:03}.png",
            sha256=f"{record.category} {kind} {index}",
            defect_type=kind,
            is_defect=kind != GOOD,
            score=float(score),
            logits=(),
        )
        for kind, values in scores.items()
        for index, score in enumerate(values)
    ]
    sha256 = write_predictions(folder, rows)
    found = image_metrics([row.score for row in rows], [row.is_defect for row in rows], None)
    data = record.data.model_copy(update={"predictions_sha256": sha256})
    return record.model_copy(update={"metrics": {**record.metrics, **found}, "data": data})


def write_seeds(runs: Path, aurocs: Sequence[float], **values: Any) -> None:
    """A record of each seed from 0 on, with these image AUROCs."""
    for seed, auroc in enumerate(aurocs):
        write_record(runs, make_record(seed=seed, auroc=auroc, **values))


def change_record(folder: Path, **values: Any) -> None:
    """Edit `record.json` as a person would."""
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# Scores of test images beside which normal scores from 1 to 100 lie.
DECIDED = {"good": (1.0, 150.5, 400.0), "scratch": (130.0, 500.0), "bent": (500.0, 600.0, 700.0)}


def keep_run(
    scores: Sequence[float],
    obtained: str = "held-out",
    *,
    groups: Sequence[int] | None = None,
    maxima: Sequence[float | None] | None = None,
    quantile: float = 0.99,
    config: dict | None = None,
    **values: object,
) -> Path:
    """A finished run, made by script, that keeps these normal scores; its record's threshold is theirs."""
    record = make_record(**values)
    metrics = {**record.metrics, "threshold": quantile_of(scores, quantile)}
    full = {**record.config, "threshold_quantile": quantile, "patience": None, **(config or {})}
    folder = write_record(Path("runs"), record.model_copy(update={"metrics": metrics, "config": full}), DECIDED)
    rows = [
        NormalScore(
            f"screw/train/good/{index:03}.png",
            f"{index:064x}",
            "nearly-learned" if groups is not None and groups[index] < 0 else obtained,
            f"screw/train/good/{abs(groups[index]) if groups is not None else index:03}.png",
            float(score),
            float(score) / 10 if maxima is None else maxima[index],
        )
        for index, score in enumerate(scores)
    ]
    write_normal_scores(folder, rows)
    return folder
