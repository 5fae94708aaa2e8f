"""Records of one model for several products: in tables each product is a row of its own, as if it had a record."""

from collections.abc import Iterable
from dataclasses import replace

from bench.config.cell import encode_settings, hash_encoded
from bench.leaderboard.collect import Source
from bench.records.record import Record


def by_product(sources: Iterable[Source]) -> list[Source]:
    """Each record of one model for several products as a source for each product; others as they are."""
    found: list[Source] = []
    for source in sources:
        products = source.record.products
        if products is None:
            found.append(source)
        else:
            own = (replace(source, record=record_of_product(source.record, name), product=name) for name in products)
            found += own
    return found


def record_of_product(record: Record, product: str) -> Record:
    """The record with the images and figures of one product; settings, costs and machine are those of the model."""
    own = (record.products or {})[product]
    data = record.data.model_copy(
        update={
            "digest": own.digest,
            "counts": own.counts,
            "validation_images": own.validation_images,
            "differences": own.differences,
        }
    )
    changes = {
        "category": product,
        "data": data,
        "metrics": own.metrics,
        "metrics_by_defect": own.metrics_by_defect,
        "intervals": own.intervals,
        "overrides": {key: value for key, value in record.overrides.items() if key != "data.products"},
        "products": None,
    }
    return record.model_copy(update=changes)


def method_alone(source: Source) -> str:
    """The hash of the method (`Source.method`) that a run of the same settings on one product alone has."""
    record = source.record
    config = {**record.config, "data": {**record.config["data"], "products": None}}
    settings = encode_settings(config, record.weights)
    own = {key: value for key, value in settings.items() if key not in ("category", "seed")}
    return hash_encoded(own, "", source.protocol_version)
