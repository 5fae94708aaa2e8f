"""What can be said before any work: runs that no ONNX file can hold, and packages that are not installed."""

from importlib.metadata import version
from importlib.util import find_spec

from bench.config.moved_classes import present_path
from bench.errors import UsageError
from bench.records.record import Record

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OLDEST_TORCH = (2, 9)  # the exporter of 2.6 fails on BatchNorm without scales
_SPADE, _F_ANOGAN = "bench.models.spade.SPADE", "bench.models.f_anogan.FAnoGAN"


def check_installed() -> None:
    """Refuse an environment without the packages that write and run ONNX, or with a torch that writes too little."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"bench export needs {', '.join(missing)}; install it: pip install 'bench[export]'")
    if torch_is_too_old():
        least = ".".join(map(str, OLDEST_TORCH))
        raise UsageError(f"bench export needs torch {least} or later, here is {version('torch')}; update it")


def torch_is_too_old() -> bool:
    """Whether this torch's exporter cannot write all methods."""
    return tuple(int(part) for part in version("torch").split(".")[:2]) < OLDEST_TORCH


def check_exportable(record: Record) -> None:
    """Refuse a run whose method, region, tiles or precision no file can hold."""
    own = record.config.get("model", {})
    kind = present_path(str(own.get("class_path", "")))
    if kind == _SPADE:
        raise UsageError(
            "SPADE compares an image with the feature pyramids of its nearest training images, all of which the file "
            "would have to hold; PaDiM and PatchCore can be exported"
        )
    if kind == _F_ANOGAN and own.get("inversion") == "search":
        raise UsageError(
            "--model.inversion search finds each image's code by gradient descent, which ONNX does not have; "
            "--model.inversion encoder can be exported"
        )
    if record.data.region is not None:
        raise UsageError(
            "the run judges a region of interest, which is cut out of a photo before it is resized: outside the "
            "file; fit it without --data.region to export it"
        )
    if record.config.get("data", {}).get("tile") is not None:
        raise UsageError(
            "the run cuts an image into tiles, and a file holds the network of one tile alone; fit it without "
            "--data.tile to export it"
        )
    precision = str(record.config.get("trainer", {}).get("precision", "32-true"))
    if not precision.startswith("32"):
        raise UsageError(
            f"the run's networks compute in {precision}, and a file in single precision would score otherwise; "
            "fit it with --trainer.precision 32-true to export it"
        )
