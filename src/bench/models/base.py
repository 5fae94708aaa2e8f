"""The base of every method: a Lightning module that scores images and declares how it learns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from lightning import LightningModule
from torch import Tensor

from bench.config.given_arguments import GivenArguments
from bench.config.tracks import OF_METHODS
from bench.data.datamodule import DataSpec
from bench.data.geometry import Content
from bench.data.loading import Batch
from bench.errors import RunError, UsageError
from bench.models.accumulators import Pass
from bench.models.parts.precision import networks_in
from bench.models.parts.tile_batches import TileBatch, scores_of_images

# The methods by which a class declared its statistics before `passes`.
_FORMER = ("collect", "settle", "statistics")
_RENAMED = {"scores_left_out": "supports_leave_one_out", "left_out_score": "leave_one_out_score"}


class Prediction(NamedTuple):
    """Scores are raw and unbounded; larger = more anomalous."""

    score: Tensor  # (B,)
    map: Tensor | None = None  # (B, H, W), the same meaning per pixel; None if the method cannot localise
    logits: Tensor | None = None  # (B, classes), supervised classifiers only


class Detector(GivenArguments, LightningModule):
    """The base of all methods.

    A method defines how it scores (`forward`), and how it learns: by gradient (`loss` and `configure_optimizers`), from
    statistics of the training images (`passes`), or both. Buffers have their final shape when it is built.
    """

    track: ClassVar[Literal["one-class", "supervised"]] = "one-class"
    autocast: torch.dtype | None = None  # the networks' precision when images are scored; None: single precision
    _content: Sequence[Content] | None = None  # the parts of the images being scored that count; None: all of them
    _tiles: Sequence[int] | None = None  # the number of each tile being scored among those of its image; None: no tiles
    memory: str = ""  # the memory that its statistics take, in words, if that is much
    threshold: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.spec = spec
        # In single precision, as all scores are: no digit is lost, and devices without double precision can hold it.
        self.register_buffer("threshold", torch.tensor(float("nan")))

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        former = [name for name in _FORMER if hasattr(cls, name)]
        if former and cls.passes is Detector.passes:
            raise UsageError(
                f"{cls.__name__} defines '{former[0]}', by which statistics were learned before bench 0.2; "
                "declare them with passes(), as README's example does"
            )
        known = [track.name for track in OF_METHODS]
        if cls.track not in known:
            raise UsageError(f"{cls.__name__} is of no known track: '{cls.track}'; name {' or '.join(known)}")
        if renamed := [name for name in _RENAMED if hasattr(cls, name)]:
            raise UsageError(f"{cls.__name__} defines '{renamed[0]}', which is called {_RENAMED[renamed[0]]} now")

    def forward(self, image: Tensor) -> Prediction:
        """Score (B, channels, size, size) images in [0, 1]."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the training loss by name; `loss` is the one that is minimised."""
        raise NotImplementedError

    def passes(self) -> Sequence[Pass]:
        """The passes over the training images that learn its statistics, in their order."""
        return ()

    @property
    def fewest_images(self) -> int:
        """The smallest number of training images that its statistics can be learned from."""
        return 1

    @property
    def models_each_tile(self) -> bool:
        """Whether each tile of an image has statistics of its own, to which an image contributes one tile."""
        return False

    @property
    def supports_leave_one_out(self) -> bool:
        """Whether `leave_one_out_score` works: then no refit is needed to score training images fairly."""
        return False

    def leave_one_out_score(self, image: Tensor) -> Tensor:
        """Score (B,) training images as if each alone had been left out of the statistics."""
        raise NotImplementedError

    @property
    def preparing_epochs(self) -> int:
        """The number of first epochs that only prepare the method, with a loss of their own."""
        return 0

    @classmethod
    def is_trained(cls) -> bool:
        """Whether the method learns by gradient."""
        return cls.loss is not Detector.loss or cls.training_step is not Detector.training_step

    @torch.no_grad()
    def predict(self, image: Tensor, content: Sequence[Content] | None = None) -> Prediction:
        """The result of `forward` for (B, channels, side, side) images, in single precision; its shapes are checked.

        Networks compute in the run's precision, scores and maps outside autocast. `content` holds the parts of the
        images that count. Where images are cut into tiles, each tile is scored by itself: an image has the highest
        score of its tiles, and the map that theirs make together.
        """
        if self.spec.tiles is None:
            return self._predict(image, content)
        tiles, maps = self.spec.tiles, None

        def score(batch: TileBatch) -> Tensor:
            nonlocal maps
            found = self._predict(batch.image, batch.content, batch.numbers)
            if found.map is not None:
                maps = image.new_empty(len(image), tiles.size, tiles.size) if maps is None else maps
                for tile_map, owner, number in zip(found.map, batch.owners, batch.numbers, strict=True):
                    tiles.merge(maps[owner], tile_map, number)
            return found.score

        return Prediction(scores_of_images(tiles, image, content, score), maps)

    @torch.no_grad()
    def predict_leave_one_out(self, image: Tensor, content: Sequence[Content] | None = None) -> Tensor:
        """The result (B,) of `leave_one_out_score`, in the precisions of `predict`; with tiles, the highest of each."""
        if self.spec.tiles is None:
            return self._predict_leave_one_out(image, content)

        def score(batch: TileBatch) -> Tensor:
            return self._predict_leave_one_out(batch.image, batch.content, batch.numbers)

        return scores_of_images(self.spec.tiles, image, content, score)

    def within(self, values: Tensor) -> Tensor:
        """Values (B, h, w) with minus infinity where nothing counts, for a score that is their maximum.

        Without padding and region they are returned unchanged. A cell of which any pixel counts keeps its value.
        """
        if self._content is None:
            return values
        masks = torch.stack([torch.from_numpy(each.mask(self.spec.size)) for each in self._content])
        # A cell is the pixels that adaptive pooling takes for it; by the largest, any of them is enough.
        inside = torch.nn.functional.adaptive_max_pool2d(masks.float()[:, None], values.shape[1:])[:, 0] > 0
        return values.masked_fill(~inside.to(values.device), -torch.inf)

    def windows_within(self, values: Tensor, corners: Sequence[tuple[int, int]], side: int) -> Tensor:
        """Values (B, N) of N windows of `side` pixels, with minus infinity for those of which no pixel counts.

        `corners` are the windows' tops and lefts. Without padding and region the values are returned unchanged.
        """
        if self._content is None:
            return values
        masks = [each.mask(self.spec.size) for each in self._content]
        outside = [[not mask[y : y + side, x : x + side].any() for y, x in corners] for mask in masks]
        return values.masked_fill(torch.tensor(outside, device=values.device), -torch.inf)

    def training_step(self, batch: Batch, _batch_index: int) -> Tensor:
        """Log the terms of the loss and return the one to minimise."""
        return self._log_loss("train", batch)

    def validation_step(self, batch: Batch, _batch_index: int) -> None:
        """Log the loss of held-out images."""
        self._log_loss("validation", batch)

    def on_after_batch_transfer(self, batch: Batch, _dataloader_index: int) -> Batch:
        """Convert bytes to floats in [0, 1] on the device, where it costs least."""
        return batch._replace(image=as_floats(batch.image))

    def log_terms(self, stage: str, terms: Mapping[str, Tensor], images: int) -> None:
        """Log terms of a loss as means over the epoch and all processes."""
        named = {f"{stage}/{name}": value.detach() for name, value in terms.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=images, sync_dist=True)

    def _predict(
        self, image: Tensor, content: Sequence[Content] | None, tiles: Sequence[int] | None = None
    ) -> Prediction:
        with networks_in(self.autocast, image.device), self._scoring(content, tiles):
            found = self(image)
        score, anomaly_map, logits = (None if part is None else part.float() for part in found)
        assert score is not None
        sizes = {"score": (score, 1), "map": (anomaly_map, 3), "logits": (logits, 2)}
        for name, (part, dimensions) in sizes.items():
            self._check_shape("forward", name, part, dimensions, image)
        return Prediction(score, anomaly_map, logits)

    def _predict_leave_one_out(
        self, image: Tensor, content: Sequence[Content] | None, tiles: Sequence[int] | None = None
    ) -> Tensor:
        with networks_in(self.autocast, image.device), self._scoring(content, tiles):
            score = self.leave_one_out_score(image).float()
        self._check_shape("leave_one_out_score", "score", score, 1, image)
        return score

    @contextmanager
    def _scoring(self, content: Sequence[Content] | None, tiles: Sequence[int] | None) -> Iterator[None]:
        self._content, self._tiles = content, tiles
        try:
            yield
        finally:
            self._content = self._tiles = None

    def _check_shape(self, method: str, name: str, part: Tensor | None, dimensions: int, image: Tensor) -> None:
        if part is not None and (part.ndim != dimensions or len(part) != len(image)):
            raise RunError(
                f"{type(self).__name__}.{method} gave a {name} of shape {tuple(part.shape)} for {len(image)} images"
            )

    def _log_loss(self, stage: str, batch: Batch) -> Tensor:
        terms = self.loss(batch)
        self.log_terms(stage, terms, len(batch.image))
        return terms["loss"]


def as_floats(image: Tensor) -> Tensor:
    """Bytes as floats in [0, 1]."""
    return image.float().div_(255)


def map_quantiles(maps: Tensor) -> Tensor:
    """Median and maximum (B, 2) of each anomaly map (B, H, W)."""
    values = maps.detach().float().flatten(1).cpu()  # torch warns of a median on GPUs: not reproducible
    return torch.stack([values.median(dim=1).values, values.amax(dim=1)], dim=1)


def resize_map(anomaly_map: Tensor, shape: torch.Size) -> Tensor:
    """Bring an anomaly map (H, W) to the size of a mask, bilinearly; unchanged if it fits."""
    if anomaly_map.shape == shape:
        return anomaly_map
    return torch.nn.functional.interpolate(
        anomaly_map[None, None], size=tuple(shape), mode="bilinear", align_corners=False
    )[0, 0]
