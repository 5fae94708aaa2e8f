"""Each method, fitted on synthetic images of 64 pixels and exported: no verdict of a test image may flip."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bench.export import check
from bench.export.refusals import torch_is_too_old

pytestmark = pytest.mark.skipif(torch_is_too_old(), reason="this torch's exporter cannot write all methods")

DATA = ("--data", "synthetic", "--data.image_size", "64", "--data.batch_size", "16", "--trainer.accelerator", "cpu")
NONE = ("--model.weights", "none")
MOBILE = ("--model.backbone", "mobilenetv2_100", *NONE)  # small; its weights would have to be downloaded
EPOCH = ("--trainer.max_epochs", "1", "--data.samples_per_epoch", "32")
ANOGAN = ("--trainer.max_epochs", "2", "--data.samples_per_epoch", "32", "--model.pretrain_epochs", "1")
CARPET = ("--category", "carpet", "--data.texture_patch", "32")
CLASSES = ("--model.library", "timm", "--model.backbone", "test_resnet", *NONE, "--data.folds", "2")
VIT = ("--model.backbone", "test_vit", *NONE, "--model.level", "1")
METHODS = {
    "PaDiM": ("padim_mobilenetv2", *NONE),
    "PaDiM, components": ("padim", *MOBILE, "--model.reduction", "pca", "--model.channels", "8"),
    "PaDiM, padded": ("padim_mobilenetv2", *NONE, "--data.aspect", "pad"),
    "PatchCore": ("patchcore_mobilenetv2", *NONE),
    "PatchCore, re-weighted": ("patchcore_mobilenetv2", *NONE, "--model.reweighting", "3"),
    "nearest neighbours": ("knn_mobilenetv2", *NONE, "--model.neighbours", "2"),
    "Gaussian": ("gaussian_mobilenetv2", *NONE),
    "one-class SVM": ("ocsvm_mobilenetv2", *NONE),
    "linear one-class SVM": ("ocsvm_linear", *MOBILE),
    "autoencoder": ("autoencoder", *EPOCH),
    "autoencoder of windows": ("autoencoder_l2", *EPOCH, *CARPET),
    "VAE": ("vae", *EPOCH),
    "VAE, likelihood": ("vae_likelihood", *EPOCH),
    "CutPaste": ("cutpaste", *EPOCH, "--model.head_layers", "1"),
    "CutPaste of windows": ("cutpaste_patch_cpu", *EPOCH),
    "FastFlow": ("fastflow_mobilenetv2", *NONE, *EPOCH, "--model.steps", "2"),
    "FastFlow on a transformer": (
        "fastflow", *EPOCH, *NONE, "--model.backbone", "test_vit", "--model.levels", "[0]",
        "--model.layer_norm", "false",
    ),
    "AnomalyDINO": ("anomaly_dino", *VIT, "--model.foreground", "never"),
    "AnomalyDINO, padded": (
        "anomaly_dino", *VIT, "--model.foreground", "never", "--model.top_share", "0.2", "--data.aspect", "pad",
    ),
    "STFPM": ("stfpm_mobilenetv2", *NONE, *EPOCH),
    "STFPM, padded": ("stfpm_mobilenetv2", *NONE, *EPOCH, "--data.aspect", "pad"),
    "reverse distillation": ("reverse_distillation_mobilenetv2", *NONE, *EPOCH),
    "reverse distillation of a ResNet": (
        "reverse_distillation", *NONE, *EPOCH, "--model.backbone", "resnet18", "--model.levels", "[1, 2]",
    ),
    "EfficientAD": ("efficient_ad_cpu", *NONE, *EPOCH),
    "DRAEM": ("draem_cpu", "--epochs", "4", "--model.width", "8", "--data.samples_per_epoch", "64", "--lr", "0.01"),
    "Dinomaly": (
        "dinomaly_cpu", *EPOCH, *NONE, "--model.backbone", "test_vit", "--model.levels", "[0,1]", "--model.depth", "2",
        "--model.reduced", "40",
    ),
    "SuperSimpleNet": ("supersimplenet_mobilenetv2", *NONE, *EPOCH),
    "SimpleNet": (
        "simplenet", *NONE, *EPOCH, "--model.backbone", "resnet18", "--model.patch_features", "200",
    ),
    "Deep SVDD": ("deep_svdd", *EPOCH, "--model.pretrain_epochs", "0"),
    "f-AnoGAN": ("f_anogan", *ANOGAN, "--model.width", "8"),
    "f-AnoGAN of windows": ("f_anogan", *ANOGAN, "--model.width", "8", *CARPET),
    "trivial": ("trivial",),
    "trivial, contrast": ("trivial_contrast",),
    "trivial, thumbnail": ("trivial_thumbnail", "--model.side", "7"),
    "classifier": ("classifier", *CLASSES, "--trainer.max_epochs", "1"),
    "classifier of several views": (
        "classifier", *CLASSES, "--trainer.max_epochs", "1", "--data.fold", "0", "--model.views", "3",
    ),
    "ResLT": ("reslt", *CLASSES, "--trainer.max_epochs", "1", "--data.fold", "0"),
    "Weight Balancing": (
        "weight_balancing", *CLASSES, "--trainer.max_epochs", "2", "--model.balancing_epochs", "1", "--data.fold", "0",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Where the synthetic images lie, drawn once."""
    return tmp_path_factory.mktemp("each")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_verdict_flips(bench, cache, method, monkeypatch):
    name, *options = METHODS[method]
    category = () if "--category" in options else ("--category", "screw")
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    outcome = bench("fit", "--model", name, *DATA, *category, *options)
    assert outcome.status == 0, outcome.stderr
    run = next(Path("runs").rglob("record.json")).parent
    outcome = bench("export", "--run", run, "--json")
    assert outcome.stderr == ""
    found = json.loads(outcome.stdout)["check"]
    assert found["images"] >= 59
    assert found["verdicts_that_differ"] == 0
    assert found["largest_score_deviation"] < check.SCORES
    has_maps = json.loads((run / "record.json").read_text())["map_range"] is not None
    assert (found["largest_map_deviation"] is not None) == has_maps
    session = onnxruntime.InferenceSession("export/model.onnx")
    channels = session.get_inputs()[0].shape[3]
    boxes = {"box": np.tile(np.array([[0, 0, 64, 64]]), (3, 1))} if len(session.get_inputs()) > 1 else {}
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, channels), dtype=np.uint8)
    together = session.run(["score"], {"images": images, **boxes})[0]
    alone = [
        session.run(["score"], {"images": images[i : i + 1], **{name: box[:1] for name, box in boxes.items()}})[0][0]
        for i in range(3)
    ]
    assert alone == pytest.approx(together, rel=1e-4), "an image's score does not depend on the others"
