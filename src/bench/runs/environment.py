"""The environment of a run: code, packages, machine."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.processes import processor_name

if TYPE_CHECKING:
    import torch

_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "torchmetrics",
    "albumentations",
    "numpy",
    "scipy",
    "pillow",
    "wandb",
)


def trainer_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's settings on this machine: `auto` is CUDA where there is one, else the CPU.

    Lightning's own `auto` is Apple's GPU on every Mac; that GPU has no double precision.
    """
    return {**settings, "accelerator": find_accelerator(settings.get("accelerator", "auto"))}


def find_accelerator(asked: str) -> str:
    """The accelerator that `auto` means on this machine; any other name unchanged."""
    import torch

    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_of(settings: Mapping[str, Any]) -> "torch.device":
    """The device of the Trainer's first process; the CPU where this machine lacks the one that was asked for."""
    import torch
    from lightning.pytorch.accelerators.cuda import CUDAAccelerator

    accelerator = find_accelerator(settings.get("accelerator", "auto"))
    devices = settings.get("devices", "auto")
    if accelerator in ("cuda", "gpu") and torch.cuda.is_available():
        found = [0] if devices == "auto" else CUDAAccelerator.parse_devices(devices)
        return torch.device("cuda", found[0] if found else 0)
    return torch.device("mps" if accelerator in ("mps", "gpu") and torch.backends.mps.is_available() else "cpu")


def use_full_precision() -> None:
    """Keep single precision: turn off TF32, whose products have 10 bits, in convolutions and in matrix products.

    torch leaves it on for convolutions alone. Every process that computes a metric has to call this function itself.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    if hasattr(torch.backends.cudnn, "conv"):  # since torch 2.9 a flag for each operation, which overrides those above
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        torch.backends.cudnn.rnn.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"


def describe_environment(device: "torch.device") -> dict[str, Any]:
    """Git commit of the code (null outside a checkout), versions, processor, threads, the GPU computed on, host."""
    import torch

    from bench.version import __version__

    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "bench": __version__,
        **_git(Path(__file__).parents[3]),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": "Apple MPS" if device.type == "mps" else gpu,
        "cuda": torch.version.cuda if gpu else None,
        "tf32": _uses_tf32(),
        "host": platform.node(),
    }


def _uses_tf32() -> bool:
    """Whether convolutions or matrix products of single precision may use fewer bits, where the GPU can."""
    import torch

    if hasattr(torch.backends.cudnn, "conv"):
        flags = (torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision)
        return "tf32" in flags
    return bool(torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest")


def _git(folder: Path) -> dict[str, Any]:
    if not (folder / ".git").exists():
        return {"commit": None, "dirty": None}
    try:
        commit, status = (
            subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
            ).stdout
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit.strip(), "dirty": bool(status.strip())}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
