"""Weights by their tag: from a folder, from a library's own cache, or from the network."""

import os
import urllib.request
from pathlib import Path
from typing import Any

from bench.data.cache import cache_folder
from bench.errors import UsageError, unknown

_SECONDS = 10


def pretrained_config(architecture: str, tag: str | None) -> Any:
    """timm's facts on the weights: mean and standard deviation of their input, their repository on the hub."""
    import timm

    return timm.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)


def timm_file(architecture: str, tag: str) -> Path:
    """The file of `architecture.tag` as timm names it; a UsageError names what to get and where to put it."""
    import timm
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache

    name = f"{architecture}.{tag}"
    known = timm.list_pretrained(f"{architecture}.*")
    if name not in known:
        raise unknown(f"weights of {architecture}", tag, [k.split(".", 1)[1] for k in known] + ["none"])
    local = _folder() / f"{name}.safetensors"
    if local.is_file():
        return local
    repository = str(pretrained_config(architecture, tag).hf_hub_id)
    if isinstance(cached := try_to_load_from_cache(repository, "model.safetensors"), str):
        return Path(cached)
    url = hf_hub_url(repository, "model.safetensors")
    try:
        # The hub's own client tries for 50 seconds before it reports that there is no network.
        _reach(url)
        return Path(hf_hub_download(repository, "model.safetensors"))
    except OSError as error:
        raise _unreachable(name, url, local) from error


def torchvision_file(architecture: str, tag: str) -> Path:
    """The file of a torchvision model's weights, such as `IMAGENET1K_V1`; a UsageError as above."""
    import torch
    from torchvision.models import get_model_weights

    known = get_model_weights(architecture).__members__
    if tag not in known:
        raise unknown(f"weights of {architecture}", tag, [*known, "none"])
    url = str(known[tag].url)
    local, cached = (
        folder / url.rpartition("/")[2] for folder in (_folder(), Path(torch.hub.get_dir()) / "checkpoints")
    )
    for path in (local, cached):
        if path.is_file():
            return path
    try:
        _reach(url)
        cached.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(cached), hash_prefix=cached.stem.rpartition("-")[2], progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: another hash than the one in its name
        raise _unreachable(f"{architecture}.{tag}", url, local) from error
    return cached


def _folder() -> Path:
    return Path(os.environ.get("BENCH_WEIGHTS") or cache_folder() / "weights")


def _reach(url: str) -> None:
    urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS).close()


def _unreachable(name: str, url: str, local: Path) -> UsageError:
    return UsageError(
        f"weights '{name}' are not here and cannot be downloaded; get {url} on another machine and save it as "
        f"{local}, or name any file of these weights: --model.weights FILE ('none' = random, for trials)"
    )
