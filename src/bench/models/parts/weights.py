"""ImageNet weights: from a file, from a tag of timm's, or none on explicit request; never silently random."""

import hashlib
import math
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.parts.downloads import pretrained_config, timm_file, torchvision_file
from bench.models.parts.weight_files import existing_file, has_identity_batchnorm, is_file_reference

NONE = "none"

_POSITIONS = "pos_embed"  # timm's name of a transformer's position embedding

# timm and torchvision define these alike, layer by layer, under other names.
_TORCHVISION_NAMES = {
    r"mobilenetv2_100": "mobilenet_v2",
    r"(?:tf_)?(efficientnet_b[0-7])": r"\1",
    r"(vgg(?:11|13|16|19)(?:_bn)?)": r"\1",
    r"regnety_160": "regnet_y_16gf",
}
_TIMM_NAMES = {"mobilenet_v2": "mobilenetv2_100", "regnet_y_16gf": "regnety_160"}


def identify_weights(reference: str | None) -> dict[str, str]:
    """The identity of weights, on which metrics depend: the SHA-256 of a file's content, or the tag."""
    if reference is None or not is_file_reference(reference):
        return {"source": reference or NONE}
    path = existing_file(reference)
    with path.open("rb") as file:
        return {"source": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def load_weights(model: nn.Module, architecture: str, reference: str) -> None:
    """Fill a whole timm model (classifier included) from a file or a tag; a UsageError names what is missing."""
    if reference == NONE:
        return
    path = existing_file(reference) if is_file_reference(reference) else timm_file(architecture, reference)
    heads = getattr(model, "default_cfg", {}).get("classifier", "classifier")
    names = [heads] if isinstance(heads, str) else heads
    fill(model, architecture, path, tuple(f"{name}." for name in names), lambda: _torchvision_keys(architecture))


def load_torchvision_weights(model: nn.Module, architecture: str, reference: str, head: str) -> None:
    """The same for a whole torchvision model whose last layer is the module `head`."""
    if reference == NONE:
        return
    tagged = not is_file_reference(reference)
    path = torchvision_file(architecture, reference) if tagged else existing_file(reference)
    fill(model, architecture, path, (f"{head}.",), lambda: _timm_keys(architecture))


def fill(
    model: nn.Module, name: str, path: Path, head: tuple[str, ...], other_names: Callable[[], list[str] | None]
) -> None:
    """Load a file's tensors; names that begin with `head` may differ, `other_names` are the other library's."""
    # Files of DenseNets are from before torch forbade dots in names; torchvision renames them likewise.
    renamed = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", k): v for k, v in _read(path).items()}
    state = _resample_positions(_rename(renamed, model, head, other_names), model)
    own = model.state_dict()
    if missing := _missing(state, model, head):
        raise UsageError(f"{path} does not fit {name}: it lacks '{missing[0]}' and {len(missing) - 1} more")
    fitting = {k: v.reshape(own[k].shape) for k, v in state.items() if k in own and v.numel() == own[k].numel()}
    unfit = [k for k in own if k in state and k not in fitting and not k.startswith(head)]
    if unfit:
        raise UsageError(f"{path} does not fit {name}: '{unfit[0]}' has another shape")
    model.load_state_dict(fitting, strict=False)


def without_normalisation(reference: str | None) -> bool:
    """Whether `reference` is a file of weights whose BatchNorm does nothing."""
    return (
        bool(reference)
        and is_file_reference(str(reference))
        and has_identity_batchnorm(_read(Path(str(reference)).expanduser()))
    )


def input_statistics(architecture: str, reference: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation (3 each) of the images that timm's weights were trained on."""
    tagged = reference != NONE and not is_file_reference(reference)
    config = pretrained_config(architecture, reference if tagged else None)
    return config.mean, config.std


def torchvision_statistics(architecture: str, reference: str) -> tuple[Sequence[float], Sequence[float]]:
    """The same for torchvision's weights; for a file, those of the weights that torchvision takes by default."""
    from torchvision.models import get_model_weights

    known = get_model_weights(architecture)
    preprocessing = known.__members__.get(reference, known.DEFAULT).transforms()
    return preprocessing.mean, preprocessing.std


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


def _missing(state: Mapping[str, Tensor], model: nn.Module, head: tuple[str, ...]) -> list[str]:
    """The names that features need and `state` lacks, without the classifier's and `num_batches_tracked`, a counter."""
    return [k for k in _layers(model) if k not in state and not k.startswith(head)]


def _rename(
    state: dict[str, Tensor], model: nn.Module, head: tuple[str, ...], other_names: Callable[[], list[str] | None]
) -> dict[str, Tensor]:
    """Give the other library's parameters this one's names: both list the same layers in the same order."""
    theirs = other_names() if _missing(state, model, head) else None
    own = _layers(model)
    if theirs is None or len(theirs) != len(own) or not set(theirs) <= state.keys():
        return state
    return {mine: state[key] for mine, key in zip(own, theirs, strict=True)}


def _resample_positions(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Bring a transformer's position embedding (1, tokens, width) to the grid of patches that the network is built for.

    As timm does. An embedding of no square grid, or of another network, is left as it is, and does not fit.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed

    found, own = state.get(_POSITIONS), model.state_dict().get(_POSITIONS)
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if found is None or own is None or grid is None or found.shape == own.shape:
        return state
    prefix = own.shape[1] - math.prod(grid)  # class and distillation tokens; CaiT has none
    patches = found.shape[1] - prefix if found.ndim == 3 else 0
    if patches < 1 or math.isqrt(patches) ** 2 != patches or found.shape[2] != own.shape[2]:
        return state
    return state | {_POSITIONS: resample_abs_pos_embed(found, list(grid), num_prefix_tokens=prefix)}


def _layers(model: nn.Module) -> list[str]:
    """Names of a network's parameters and statistics; a RegNet's shortcuts come last in their block, as in timm."""
    names = [k for k in model.state_dict() if not k.endswith("num_batches_tracked")]
    blocks = [k.partition(".proj.")[0].partition(".f.")[0] for k in names]
    first = {block: index for index, block in reversed(list(enumerate(blocks)))}
    return sorted(names, key=lambda name: (first[blocks[names.index(name)]], ".proj." in name, names.index(name)))


def _torchvision_keys(architecture: str) -> list[str] | None:
    import torch
    from torchvision.models import get_model

    for pattern, name in _TORCHVISION_NAMES.items():
        if match := re.fullmatch(pattern, architecture):
            with torch.random.fork_rng(devices=[]):  # its own initial values must not move the seed's draws
                return _layers(get_model(match.expand(name), weights=None))
    return None


def _timm_keys(architecture: str) -> list[str] | None:
    import timm
    import torch

    name = _TIMM_NAMES.get(architecture, architecture)
    if name not in timm.list_models():
        return None
    with torch.random.fork_rng(devices=[]):
        return _layers(timm.create_model(name))
