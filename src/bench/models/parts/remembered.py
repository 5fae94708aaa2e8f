"""Features of training images that a frozen network computes only once."""

import torch
from torch import Tensor

from bench.data.loading import Batch
from bench.models.parts.backbones import Backbone
from bench.models.parts.feature_cache import unchanged_images

_SHARE_OF_GPU = 8  # an eighth of its memory at most
_BYTES_ELSEWHERE = 2**30


class RememberedFeatures:
    """A backbone's features of batches; images that no augmentation changes pass through it in one epoch only.

    Features stay on the device of the model, up to a number of bytes; those beyond are computed in each epoch. On a CPU
    they equal, to the bit, what the backbone would compute again. They are no part of the model's state, nor of a
    checkpoint.

    Args:
        backbone: whose features they are.
        most_bytes: largest size of the kept features; null: an eighth of a GPU's memory, or 1 GiB on other devices.
    """

    def __init__(self, backbone: Backbone, most_bytes: int | None = None) -> None:
        self._backbone = backbone
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: dict[int, list[Tensor]] = {}  # levels (1, C, H, W) by the image's index in the training split

    def __call__(self, batch: Batch) -> list[Tensor]:
        """Features (B, C, H, W) per level."""
        indices = batch.unchanging
        if indices is None:
            levels: list[Tensor] = self._backbone(batch.image)
            return levels
        rows = {index: row for row, index in enumerate(indices) if index not in self._kept}
        # One by one: an index tensor would be sent to the GPU, and the next step would have to wait for it.
        found = dict(zip(rows, self._compute([batch.image[row] for row in rows.values()]), strict=True))
        each = [found[index] if index in found else self._kept[index] for index in indices]
        for index, new in found.items():
            self._keep(index, new)
        return [torch.cat(level) for level in zip(*each, strict=True)]

    def forget(self) -> None:
        """Free what is kept."""
        self._kept.clear()
        self._bytes = 0

    def _compute(self, images: list[Tensor]) -> list[list[Tensor]]:
        """Levels (1, C, H, W) of each image."""
        if not images:
            return []
        with unchanged_images():
            levels = self._backbone(torch.stack(images))
        return [list(each) for each in zip(*(torch.split(level, 1) for level in levels), strict=True)]

    def _keep(self, index: int, levels: list[Tensor]) -> None:
        size = sum(level.nbytes for level in levels)
        if self._bytes + size <= self._most(levels[0].device):
            self._bytes += size
            self._kept[index] = [level.clone() for level in levels]  # not a view that holds the whole batch

    def _most(self, device: torch.device) -> int:
        if self._most_bytes is not None:
            return self._most_bytes
        if device.type == "cuda":
            return torch.cuda.get_device_properties(device).total_memory // _SHARE_OF_GPU
        return _BYTES_ELSEWHERE
