"""A verification as data: what `bench verify --json` prints and what lies beside the record."""

from pathlib import Path
from typing import Any

from bench.verification.claims import Claim, Figure
from bench.verification.figures import AND
from bench.verification.protocols import EXACT, OF_IMAGES, OF_MAPS, OF_MASKS, OF_PIXELS, OF_SCORES
from bench.verification.verify import MAXIMUM, Verification

REPORT = "verification.json"
ABOUT = {each.name: (each.about, each.source) for kind in (OF_PIXELS, OF_MASKS, OF_MAPS, OF_SCORES, OF_IMAGES)
         for each in kind}  # fmt: skip


def about(protocol: str) -> str:
    """What a protocol does and whose it is; of two protocols at once, both."""
    if protocol == EXACT:
        return "Exact figures, as of a run: maps resized bilinearly to their masks, every threshold, all test images."
    return " ".join(ABOUT[name][0] for name in protocol.split(AND))


def as_dict(found: Verification, folder: Path) -> dict[str, Any]:
    """All figures, the protocols and the claims, for JSON."""
    record = found.record
    scores = record.config["maps"]["scores"]
    return {
        "record": str(folder),
        "name": record.model,
        "dataset": record.dataset,
        "category": record.category,
        "seed": record.seed,
        "maps": {"sha256": record.config["maps"]["sha256"], "sizes": found.sizes, "files": found.digests},
        "scores": {"of": "the maximum of each map"} if scores == MAXIMUM else {"of": "a file", "sha256": scores},
        "metrics": record.metrics,
        "metrics_by_defect": record.metrics_by_defect,
        "intervals": record.intervals,
        "protocols": [_protocol(found, name) for name in found.others],
        "claims": [_claim(found, claim, figures) for claim, figures in found.claims],
        "all_claims_reproduced_by": found.together,
    }


def _protocol(found: Verification, name: str) -> dict[str, Any]:
    exact, own = found.record.metrics, found.others[name]
    differences = {
        metric: None if value is None or (base := exact.get(metric)) is None else value - base
        for metric, value in own.items()
    }
    sources = [ABOUT[part][1] for part in name.split(AND)]
    return {"name": name, "about": about(name), "sources": sources, "metrics": own, "differences": differences}


def _claim(found: Verification, claim: Claim, figures: list[Figure]) -> dict[str, Any]:
    return {
        "metric": claim.metric,
        "claimed": claim.value,
        "tolerance": claim.tolerance,
        "exact": found.record.metrics.get(claim.metric),
        "reproduced_by": [
            {
                "protocol": each.protocol,
                "figure": each.value,
                "difference": each.difference,
                "about": about(each.protocol),
            }
            for each in figures
        ],
    }
