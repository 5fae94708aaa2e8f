"""Logistic regression on the features of a frozen network: what a classifier must beat.

The same images, folds and seed as `bench fit --data.fold all`; scikit-learn's regression on standardised features, one
strength of its penalty, pooled predictions:

    python benchmarks/frozen_features.py --category screw --root $BENCH_DATA --weights FILE
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.data.datamodule import DefectData
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.metrics.bootstrap import classification_intervals
from bench.metrics.classification import classification_metrics
from bench.models.base import as_floats
from bench.models.parts.classifier_network import ClassifierBackbone


@torch.inference_mode()
def describe(data: DefectData, backbone: ClassifierBackbone) -> tuple[np.ndarray, np.ndarray]:
    """Features of all images: of the head's layer, and with them mean and maximum of the last map."""
    top, more = [], []
    for start in range(0, len(data.category.test), 8):
        indices = list(range(start, min(start + 8, len(data.category.test))))
        features, last = backbone.with_map(as_floats(data.test_batch(indices).image))
        top.append(features)
        more.append(torch.cat([features, last.amax(dim=(2, 3))], dim=1) if last is not None else features)
    return torch.cat(top).numpy(), torch.cat(more).numpy()


def main() -> None:
    """Print accuracy, macro-F1 and AUROC for each size and kind of features."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("BENCH_DATA"))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--category", default="screw")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224, 512])
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--penalty", type=float, default=0.01, help="scikit-learn's C")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    backbone = ClassifierBackbone("torchvision", options.backbone, options.weights, max(options.sizes)).eval()
    for size in options.sizes:
        data = MVTecAD(
            options.category, options.seed, "model", root=str(options.root), image_size=size, fold="all",
            per_class=options.per_class,
        )  # fmt: skip
        split = data.split.split  # type: ignore[union-attr]
        classes = data.category.defect_types
        targets = np.array([classes.index(name) for name in split.types])
        for kind, features in zip(
            ("features", "features and maximum of the map"), describe(data, backbone), strict=True
        ):
            logits = np.zeros((len(targets), len(classes)))
            for fold in range(data.folds):
                tested = split.assignment == fold
                regression = make_pipeline(StandardScaler(), LogisticRegression(C=options.penalty, max_iter=5000))
                logits[tested] = regression.fit(features[~tested], targets[~tested]).decision_function(features[tested])
            metrics, intervals = (
                classification_metrics(logits, targets),
                classification_intervals(logits, targets, classes),
            )
            low, high = intervals.overall["accuracy"] or (float("nan"), float("nan"))
            print(
                f"{size:>4} px, {kind:<32} accuracy {metrics['accuracy']:.3f} ({low:.3f} to {high:.3f})  "
                f"macro-F1 {metrics['macro_f1']:.3f}  AUROC {metrics['image_auroc']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
