"""References to files of weights and their BatchNorm, without torch: mistakes are found before torch is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import UsageError

_TEACHER = "pdn_"  # how the files that `bench teacher` writes begin


def is_file_reference(reference: str) -> bool:
    """Whether `reference` names a file rather than a tag."""
    return "/" in reference or Path(reference).suffix in {".safetensors", ".pth", ".pt", ".bin", ".ckpt"}


def existing_file(reference: str) -> Path:
    """The path of a file of weights; a UsageError where there is none."""
    path = Path(reference).expanduser()
    if not path.is_file():
        if path.name.startswith(_TEACHER):
            raise UsageError(
                f"no teacher at {path}: 'bench teacher --images FOLDER' writes one; --model.weights names it"
            )
        raise UsageError(
            f"no weights file {path}; give --model.weights an existing .safetensors or .pth file, a tag, or 'none'"
        )
    return path


def has_identity_batchnorm(state: Mapping[str, Any]) -> bool:
    """Whether the BatchNorm of a state dict, of tensors or arrays, does nothing: it was folded into convolutions."""
    means = [value for name, value in state.items() if name.endswith("running_mean")]
    variances = [value for name, value in state.items() if name.endswith("running_var")]
    return bool(means) and not any(m.any() for m in means) and all((abs(v - 1) < 1e-3).all() for v in variances)


def read_batchnorm(path: Path) -> dict[str, Any]:
    """The statistics of BatchNorm in a safetensors file; none of another or a damaged file, which loading refuses."""
    if path.suffix != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = [name for name in file.keys() if name.endswith(("running_mean", "running_var"))]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError):
        return {}


def refuse_identity_batchnorm(weights: str) -> UsageError:
    """The error for weights whose BatchNorm cannot be trained: by a batch's statistics it ends in zeros."""
    return UsageError(
        f"{weights} has its BatchNorm folded into the convolutions (mean 0 and variance 1 everywhere), so that "
        "it cannot be trained: set --model.freeze_batchnorm true, or take other weights"
    )
