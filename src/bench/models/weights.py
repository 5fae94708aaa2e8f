"""ImageNet weights: from a file, from a tag of timm's, or by explicit wish none; never silently random."""

import hashlib
import os
import pickle
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.data.cache import cache_folder
from bench.errors import UsageError, unknown

NONE = "none"

# timm and torchvision define these alike, layer by layer, under other names.
_TORCHVISION_NAMES = {
    r"mobilenetv2_100": "mobilenet_v2",
    r"(?:tf_)?(efficientnet_b[0-7])": r"\1",
    r"(vgg(?:11|13|16|19)(?:_bn)?)": r"\1",
}


def identify_weights(reference: str | None) -> dict[str, str]:
    """What the figures depend on: the SHA-256 of a file's content, or the tag."""
    if reference is None or not is_file_reference(reference):
        return {"source": reference or NONE}
    path = _existing_file(reference)
    with path.open("rb") as file:
        return {"source": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def is_file_reference(reference: str) -> bool:
    """Whether `reference` names a file rather than a tag."""
    return "/" in reference or Path(reference).suffix in {".safetensors", ".pth", ".pt", ".bin", ".ckpt"}


def load_weights(model: nn.Module, architecture: str, reference: str) -> None:
    """Fill a whole timm model (classifier included) from a file or a tag; a UsageError says what is missing."""
    if reference == NONE:
        return
    path = _existing_file(reference) if is_file_reference(reference) else _tagged_file(architecture, reference)
    state = _rename(_read(path), model, architecture)
    own = model.state_dict()
    if missing := _missing(state, model):
        raise UsageError(f"{path} does not fit {architecture}: it lacks '{missing[0]}' and {len(missing) - 1} more")
    fitting = {k: v.reshape(own[k].shape) for k, v in state.items() if k in own and v.numel() == own[k].numel()}
    head = _classifier_names(model)
    unfit = [k for k in own if k in state and k not in fitting and not k.startswith(head)]
    if unfit:
        raise UsageError(f"{path} does not fit {architecture}: '{unfit[0]}' has another shape")
    model.load_state_dict(fitting, strict=False)


def pretrained_config(architecture: str, reference: str) -> Any:
    """timm's facts on the weights: mean and deviation of their input, their place on the hub."""
    import timm

    tagged = reference != NONE and not is_file_reference(reference)
    return timm.get_pretrained_cfg(f"{architecture}.{reference}" if tagged else architecture)


def _existing_file(reference: str) -> Path:
    path = Path(reference).expanduser()
    if not path.is_file():
        raise UsageError(
            f"no weights file {path}; give --model.weights an existing .safetensors or .pth file, a tag, or 'none'"
        )
    return path


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} holds pickled code, which is never run; save a plain state dict or safetensors"
        ) from error
    except Exception as error:  # safetensors and zip errors share no base class
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{path} is no readable weights file ({reason})") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UsageError(f"{path} holds no state dict; save model.state_dict() or safetensors")
    return dict(state)


def _missing(state: Mapping[str, Tensor], model: nn.Module) -> list[str]:
    """What features need and `state` lacks: not the classifier, nor `num_batches_tracked`, which counts steps."""
    head = _classifier_names(model)
    own = [k for k in model.state_dict() if not k.endswith("num_batches_tracked") and not k.startswith(head)]
    return [k for k in own if k not in state]


def _classifier_names(model: nn.Module) -> tuple[str, ...]:
    heads = getattr(model, "default_cfg", {}).get("classifier", "classifier")
    return tuple(f"{name}." for name in ([heads] if isinstance(heads, str) else heads))


def _rename(state: dict[str, Tensor], model: nn.Module, architecture: str) -> dict[str, Tensor]:
    """Give torchvision's parameters timm's names: both list the same layers in the same order."""
    theirs = _torchvision_keys(architecture) if _missing(state, model) else None
    if theirs is None or not set(theirs) <= state.keys():
        return state
    own = [k for k in model.state_dict() if not k.endswith("num_batches_tracked")]
    return {mine: state[key] for mine, key in zip(own, theirs, strict=True)}


def _torchvision_keys(architecture: str) -> list[str] | None:
    import torch
    from torchvision.models import get_model

    for pattern, name in _TORCHVISION_NAMES.items():
        if match := re.fullmatch(pattern, architecture):
            with torch.random.fork_rng(devices=[]):  # its own initial values must not move the seed's draws
                state = get_model(match.expand(name), weights=None).state_dict()
            return [k for k in state if not k.endswith("num_batches_tracked")]
    return None


def _tagged_file(architecture: str, tag: str) -> Path:
    import timm
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache

    name = f"{architecture}.{tag}"
    known = timm.list_pretrained(f"{architecture}.*")
    if name not in known:
        raise unknown(f"weights of {architecture}", tag, [k.split(".", 1)[1] for k in known] + [NONE])
    placed = Path(os.environ.get("BENCH_WEIGHTS") or cache_folder() / "weights") / f"{name}.safetensors"
    if placed.is_file():
        return placed
    repository = str(pretrained_config(architecture, tag).hf_hub_id)
    if isinstance(cached := try_to_load_from_cache(repository, "model.safetensors"), str):
        return Path(cached)
    url = hf_hub_url(repository, "model.safetensors")
    try:
        # The hub's own client tries for 50 seconds before it says that there is no network.
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10).close()
        return Path(hf_hub_download(repository, "model.safetensors"))
    except OSError as error:
        raise UsageError(
            f"weights '{name}' are not here and cannot be downloaded; get {url} on another machine and save it as "
            f"{placed}, or name any file of these weights: --model.weights FILE ('none' = random, for trials)"
        ) from error
