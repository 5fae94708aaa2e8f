"""The tables of docs/published.md, made of `published.json`."""

from bench.records.published import DATASET, TRACK, groups, references

DATASETS = {
    "mvtec_ad": "MVTec AD",
    "mvtec_ad_2": "MVTec AD 2",
    "mvtec_loco": "MVTec LOCO AD",
    "visa": "VisA",
    "btad": "BTAD",
}
METRICS = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro_0.30": "AUPRO@0.30",
}


def tables() -> str:
    """A section for each dataset and track, but for MVTec AD with a model for each product: the cards show that."""
    sections = []
    for dataset, title in DATASETS.items():
        for track, words in (("one-class", "a model for each product"), ("one-model", "one model for all products")):
            if (dataset, track) != (DATASET, TRACK) and (lines := _lines(dataset, track)):
                head = f"## {title}, {words}\n\nMeans over {len(groups(dataset)['mean'])} products.\n"
                columns = f"| method | {' | '.join(METRICS.values())} | id |", f"|---|{'---:|' * len(METRICS)}---|"
                sections.append("\n".join([head, *columns, *lines]))
    return "\n\n".join(sections) + "\n"


def _lines(dataset: str, track: str) -> list[str]:
    found = [reference for reference in references().values() if reference.metrics_of(dataset, track)]

    def shown(reference, metric: str) -> str:
        figure = reference.figure(metric, "mean", dataset, track)
        return "-" if figure is None else f"{figure.value:.3f}".removeprefix("0")

    rows = sorted(found, key=lambda reference: shown(reference, "image_auroc"), reverse=True)
    return [f"| {row.name} | {' | '.join(shown(row, metric) for metric in METRICS)} | `{row.id}` |" for row in rows]
