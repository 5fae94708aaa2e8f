"""timm networks as feature extractors: frozen ones, and students of the same architecture that are trained."""

import hashlib
import time
from contextlib import suppress
from typing import Any, cast
from weakref import WeakKeyDictionary

import timm
import torch
from torch import Tensor, nn

from bench.errors import UsageError, unknown
from bench.models.parts.feature_cache import FeatureCache, active_cache, feature_key
from bench.models.parts.precision import network_precision, precision_of_networks
from bench.models.parts.weights import input_statistics, load_weights

# On a CPU, two images at a time stay in its caches: measured two to four times faster than batches of 32.
_IMAGES_AT_ONCE_ON_CPU = 2
_DIFFERS_ALONE_UP_TO = 96  # pixels; measured: at most 75

# timm's modules whose networks take the size of their images when built and give the tokens after any block.
_TRANSFORMERS = {f"timm.models.{module}" for module in ("vision_transformer", "deit", "cait")}


# Of each backbone the state of its numbers, and a digest for each level. Not an attribute: a method that changes one
# while it sees images is taken to remember them.
_digests: "WeakKeyDictionary[Backbone, tuple[list[tuple[int, int]], list[str]]]" = WeakKeyDictionary()


class _LastLevelReachedError(Exception):
    """Ends a forward pass once all levels are known."""


class Backbone(nn.Module):
    """Features of a network at some of its levels; it is frozen, unless it is `trained`.

    In a vision transformer (ViT, DeiT, CaiT) a level is the map of patch tokens after a block, with the network's own
    last norm, and without class and distillation tokens. It takes images of any multiple of its patch: the position
    embedding of its weights is resampled to their size.

    On a CPU an image's features do not depend, to the bit, on the other images of its batch: images pass in pairs, and
    neither the position in the pair nor the other image changes them. (Passed alone on two or more threads, images of
    up to 75 pixels get other last digits from MobileNetV2 and EfficientNet. A single larger image passes alone, in half
    the time.) On other devices all images of a batch pass at once, and the size of the batch, by which their libraries
    choose an algorithm, may change last digits.

    Within `cached_features` and `unchanged_images` (`feature_cache`), what was computed before is read from the disk.

    A trained network is a convolutional one. In training its images pass together, as BatchNorm needs them, and nothing
    of it is read from the disk.

    Args:
        name: any timm architecture.
        levels: indices in timm's `feature_info` (ResNet: 1, 2, 3 = layer1 to layer3; a transformer's blocks from 0) or
            names of modules.
        weights: a file, a tag of timm's, or 'none'.
        size: side of the square input in pixels.
        trained: whether its parameters learn, and BatchNorm's statistics with them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, levels: list[int] | list[str], weights: str, size: int, *, trained: bool = False
    ) -> None:
        super().__init__()
        self.trained = trained
        if name not in timm.list_models():
            raise unknown("backbone", name, timm.list_models(), hint="timm.list_models() names them all")
        if trained and _is_transformer(name):
            raise UsageError(f"{name} is a transformer; a student is a convolutional network, as resnet18")
        network = _create(name, size)
        load_weights(network, name, weights)
        mean, std = input_statistics(name, weights)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.network = network.requires_grad_(trained).eval().to(memory_format=torch.channels_last)
        self.name = name
        self._features: dict[str, Tensor] = {}
        self._passed: dict[str, list[str]] = {}  # the modules that an image passes up to each level
        self._levels = _module_names(network, name, levels)
        self._blocks = _block_numbers(name, levels) if _is_transformer(name) else []
        for level in () if self._blocks else self._levels:
            network.get_submodule(level).register_forward_hook(self._keep(level))
        self._drop_unused(size)
        self.eval()
        with torch.inference_mode():
            self.shapes = [tuple(f.shape[1:]) for f in self(torch.zeros(1, 3, size, size))]
        self.train()  # of a trained network: Lightning leaves a module in the mode in which it finds it

    @property
    def channels(self) -> list[int]:
        """Channels of each level."""
        return [shape[0] for shape in self.shapes]

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode if frozen: the statistics of BatchNorm are the weights' own."""
        return super().train(mode and self.trained)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, C, H, W) per level of (B, 1 or 3, size, size) images in [0, 1], in single precision."""
        cache = None if self.trained else active_cache(image.device)
        return self._compute(image) if cache is None else self._read_or_compute(image, cache)

    def _compute(self, image: Tensor) -> list[Tensor]:
        image = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with network_precision(image.device):
            # A graph that is exported has no fixed number of images that could be paired.
            paired = image.device.type == "cpu" and not torch.compiler.is_compiling() and not self.training
            levels = self._run_on_cpu(image) if paired else self._run(image)
        return [level.float() for level in levels]

    def _read_or_compute(self, image: Tensor, cache: FeatureCache) -> list[Tensor]:
        """The features of a batch, of which the images alone that the cache lacks pass the network."""
        about = self.name, timm.__version__, precision_of_networks(image.device)
        named = list(zip(self._digests_of_levels(), self._levels, strict=True))
        keys = [[feature_key(one, digest, level, *about) for digest, level in named] for one in image]
        found = [cache.read(own) for own in keys]
        missing = [index for index, levels in enumerate(found) if levels is None]
        if missing:
            start = time.perf_counter()
            computed = self._compute(image[missing])
            seconds = (time.perf_counter() - start) / len(missing)
            for row, index in enumerate(missing):
                found[index] = [level[row : row + 1] for level in computed]
                cache.write(keys[index], [level[row : row + 1] for level in computed], seconds)
        return [torch.cat(level) for level in zip(*(each for each in found if each is not None), strict=True)]

    def _digests_of_levels(self) -> list[str]:
        """For each level a digest of all numbers that lead to it: other levels of the network do not change it."""
        modules = dict(self.network.named_modules())
        numbers = [*self.network.parameters(), *self.network.buffers(), self.mean, self.std]
        state = [(each.data_ptr(), each._version) for each in numbers]  # weights may be loaded at any time
        known = _digests.get(self)
        if known is None or known[0] != state:
            digests = []
            for level in self._levels:
                found = hashlib.sha256()
                for each in (self.mean, self.std):
                    found.update(each.numpy().data)
                for name in self._passed[level]:
                    own = modules[name]
                    for kind in (own.named_parameters(recurse=False), own.named_buffers(recurse=False)):
                        for key, value in kind:
                            found.update(f"{name} {key} {tuple(value.shape)} {value.dtype}".encode())
                            found.update(value.detach().contiguous().numpy().data)
                digests.append(found.hexdigest())
            known = _digests[self] = state, digests
        return known[1]

    def _run_on_cpu(self, image: Tensor) -> list[Tensor]:
        """Run a fixed number of images at a time: images of the last part are repeated to reach it."""
        count = len(image)
        parts = list(torch.split(image, _IMAGES_AT_ONCE_ON_CPU))
        if count % _IMAGES_AT_ONCE_ON_CPU and (count > 1 or image.shape[-1] <= _DIFFERS_ALONE_UP_TO):
            repeated = torch.arange(_IMAGES_AT_ONCE_ON_CPU) % len(parts[-1])
            parts[-1] = parts[-1][repeated].contiguous(memory_format=torch.channels_last)
        if len(parts) == 1:
            return [level[:count] for level in self._run(parts[0])]
        return [torch.cat(level)[:count] for level in zip(*map(self._run, parts), strict=True)]

    def _run(self, image: Tensor) -> list[Tensor]:
        if self._blocks:
            return self._run_blocks(image)
        self._features.clear()
        with suppress(_LastLevelReachedError):
            self.network(image)
        return [self._features.pop(level) for level in self._levels]

    def _run_blocks(self, image: Tensor) -> list[Tensor]:
        ascending = sorted(set(self._blocks))
        run: Any = self.network.forward_intermediates
        maps = run(image, indices=ascending, norm=True, stop_early=True, intermediates_only=True)
        return [maps[ascending.index(block)] for block in self._blocks]

    def _keep(self, level: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._features[level] = output
            # An exporter follows modules to their ends; what comes then is none of the levels' and leaves no trace.
            if len(self._features) == len(self._levels) and not torch.compiler.is_compiling():
                raise _LastLevelReachedError

        return hook

    def _drop_unused(self, size: int) -> None:
        """Replace modules beyond the last level, so that they are neither stored nor counted."""
        used: dict[nn.Module, None] = {self.network: None}  # in the order in which an image passes them
        names = {module: name for name, module in self.network.named_modules()}

        def pass_through(module: nn.Module, _inputs: Any) -> None:
            used.setdefault(module)

        def reach(module: nn.Module, _inputs: Any, _output: Any) -> None:
            self._passed.setdefault(names[module], [names[each] for each in used])

        hooks = [module.register_forward_pre_hook(pass_through) for module in self.network.modules()]
        levels = () if self._blocks else self._levels
        # Before the hooks that keep the levels, the last of which ends the pass.
        hooks += [self.network.get_submodule(level).register_forward_hook(reach, prepend=True) for level in levels]
        with torch.inference_mode():
            self._run(torch.zeros(1, 3, size, size))
        for hook in hooks:
            hook.remove()
        for level in self._levels if self._blocks else ():
            self._passed[level] = [names[each] for each in used]
        for name, module in list(self.network.named_modules()):
            if module not in used and not any(child in used for child in module.modules()):
                parent = self.network.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], nn.Identity())


def _create(name: str, size: int) -> nn.Module:
    """The whole network; a transformer is built for images of `size`, which sets its position embedding's shape."""
    if not _is_transformer(name):
        return timm.create_model(name)
    network: Any = timm.create_model(name, img_size=size)
    patch = network.patch_embed.patch_size[0]
    if size % patch:
        raise UsageError(f"{name} needs images of a multiple of {patch} pixels, not {size}: set --data.image_size")
    return cast(nn.Module, network)


def _is_transformer(name: str) -> bool:
    return timm.model_entrypoint(name).__module__ in _TRANSFORMERS


def _block_numbers(name: str, levels: list[int] | list[str]) -> list[int]:
    numbers = [level for level in levels if isinstance(level, int)]
    if len(numbers) < len(levels):
        raise UsageError(f"--model.levels of {name}, a transformer, are the numbers of its blocks, from 0")
    return numbers


def _module_names(network: nn.Module, name: str, levels: list[int] | list[str]) -> list[str]:
    if not levels:
        raise UsageError("--model.levels is empty; name at least one level of the backbone")
    known = [level["module"] for level in network.feature_info]  # type: ignore[union-attr]
    modules = dict(network.named_modules())
    names = []
    for level in levels:
        if isinstance(level, int):
            if not 0 <= level < len(known):
                raise UsageError(
                    f"{name} has no level {level}; its levels are 0 to {len(known) - 1} ({', '.join(known)})"
                )
            names.append(known[level])
        elif level not in modules:
            raise unknown(f"module of {name}", level, modules)
        else:
            names.append(level)
    return names
