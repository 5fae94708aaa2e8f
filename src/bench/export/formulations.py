"""Each method's `forward` as a graph: the same numbers, from operations that ONNX has, for any number of images.

A method that is not named here is exported as it is: its own `forward` may be all that it takes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.export.operations import Inside, Nearest, PooledNumbers, Windows, shrunk_distance, squared_distance
from bench.models.anomaly_dino import AnomalyDINO
from bench.models.autoencoder import Autoencoder
from bench.models.base import Detector, Prediction
from bench.models.cutpaste import CutPaste
from bench.models.deep_features import DeepFeatures
from bench.models.dinomaly import Dinomaly
from bench.models.draem import DRAEM
from bench.models.efficient_ad import EfficientAD
from bench.models.f_anogan import FAnoGAN, in_generators_range
from bench.models.fastflow import FastFlow
from bench.models.padim import PaDiM
from bench.models.parts.convolutional import squared_error, to_grey
from bench.models.parts.novelty import LevelGaussians, Neighbours, OneClass
from bench.models.parts.reduced_maps import mean_of_highest
from bench.models.parts.simplenet_network import PatchFeatures
from bench.models.patchcore import PatchCore
from bench.models.reverse_distillation import ReverseDistillation
from bench.models.stfpm import STFPM
from bench.models.super_simple_net import SuperSimpleNet
from bench.models.trivial import Trivial
from bench.models.vae import VAE, divergence

_WINDOWS_AT_ONCE = 256  # of an image, as when CutPaste scores them


class Formulation(nn.Module):
    """A method as a graph: images (B, channels, size, size) in [0, 1], and the boxes (B, 4) of padded ones."""

    reads_box = False  # whether padding would count without a box

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """Score, map and logits, in single precision."""
        raise NotImplementedError


class AsItIs(Formulation):
    """A method whose own `forward` takes any number of images."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """What the method says."""
        score, anomaly_map, logits = self.model(image)
        return Prediction(score.float(), None if anomaly_map is None else anomaly_map.float(), logits)


class OfPaDiM(Formulation):
    """PaDiM."""

    reads_box = True

    def __init__(self, model: PaDiM) -> None:
        super().__init__()
        self.model = model
        self.inside = Inside.of_grid(model.spec.size, model.spec.size)
        first, own = 0, []
        for channels in model.backbone.channels:
            own.append(model.chosen[(model.chosen >= first) & (model.chosen < first + channels)] - first)
            first += channels
        self.own = own

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method, with channels first."""
        model, parts = self.model, []
        for level, own in zip(model.backbone(image), self.own, strict=True):
            part = level.index_select(1, own)
            if part.shape[2:] != model.grid:
                part = nn.functional.interpolate(part, size=model.grid, mode=model.interpolation)
            parts.append(part)
        features = torch.cat(parts, dim=1).flatten(2)  # (B, chosen, positions)
        if model.components is not None:
            features = model.components.project(features.mT).mT
        squared = squared_distance(model.gaussians, features.permute(2, 0, 1))
        anomaly_map = model.to_map(squared.sqrt().mT.reshape(-1, *model.grid))
        return Prediction(self.inside(anomaly_map, box).amax(dim=(1, 2)), anomaly_map)


class PatchEmbedding(nn.Module):
    """`patch_features` with pooling that a graph can hold."""

    def __init__(self, channels: Sequence[int], level_features: int, features: int) -> None:
        super().__init__()
        self.level_features = level_features
        self.per_level = nn.ModuleList(PooledNumbers(9 * each, level_features) for each in channels)
        self.together = PooledNumbers(len(channels) * level_features, features)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Patches (B, positions, features) at the first level's grid, of levels (B, C, h, w)."""
        grid, found = levels[0].shape[2:], []
        for level, pool in zip(levels, self.per_level, strict=True):
            pooled = pool(_neighbourhoods(level).flatten(2).mT).mT
            pooled = pooled.reshape(-1, self.level_features, *level.shape[2:])
            if level.shape[2:] != grid:
                pooled = nn.functional.interpolate(pooled, grid, mode="bilinear")
            found.append(pooled.flatten(2).mT)
        together: Tensor = self.together(torch.stack(found, dim=2).flatten(2)) if len(found) > 1 else found[0]
        return together


class OfPatchCore(Formulation):
    """PatchCore."""

    reads_box = True

    def __init__(self, model: PatchCore) -> None:
        super().__init__()
        self.model = model
        bank = model.bank[: int(model.count)]
        self.nearest = Nearest(bank)
        self.around = None if model.reweighting is None else Nearest(bank, min(model.reweighting, len(bank)))
        self.embed = PatchEmbedding(model.backbone.channels, model.level_features, model.features)
        self.inside = Inside.of_grid(model.spec.size, model.grid[0])
        self.bank = bank if model.reweighting is not None else None

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method, all images and the whole bank at once."""
        model = self.model
        patches = self.embed(model.backbone(image))
        distances, numbers = (part.view(-1, model.patches) for part in self.nearest(patches.flatten(0, 1)))
        grid = distances.reshape(-1, *model.grid)
        if model.squared:
            grid = grid.square()
        seen = self.inside(grid, box).flatten(1)
        score, farthest = seen.amax(dim=1), seen.argmax(dim=1, keepdim=True)
        if self.around is not None and self.bank is not None:
            patch = patches.gather(1, farthest[:, :, None].expand(-1, -1, patches.shape[2]))[:, 0]
            near = self.bank[numbers.gather(1, farthest)[:, 0]]
            around = self.bank[self.around(near)[1]]
            distance = (patch[:, None] - around).square().sum(dim=2).sqrt()
            own = (patch - near).square().sum(dim=1).sqrt()
            score = score * (1 - (own - distance.logsumexp(dim=1)).exp())
        return Prediction(score, model.to_map(grid))


class OfAnomalyDINO(Formulation):
    """AnomalyDINO, of all patches."""

    reads_box = True

    def __init__(self, model: AnomalyDINO) -> None:
        super().__init__()
        if model.leaves_out():
            raise UsageError(
                "the run leaves out the background by the principal components of each image, which ONNX does not "
                "have; fit it with --model.foreground never to export it"
            )
        self.model = model
        self.nearest = Nearest(model.bank[: int(model.count)].flatten(0, 1))
        self.inside = Inside.of_grid(model.spec.size, model.grid[0])

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method, the whole bank at once; as many of the largest distances count as it takes of each image."""
        model = self.model
        patches = nn.functional.normalize(model.backbone(image)[0].flatten(2).mT, dim=2)
        distances = self.nearest(patches.flatten(0, 1))[0].reshape(-1, *model.grid).square() / 2
        score = mean_of_highest(self.inside(distances, box), model.top_share)
        return Prediction(score, model.to_map(distances))


class OfDeepFeatures(Formulation):
    """Neighbours, Gaussians or an SVM of pooled features."""

    known: Tensor

    def __init__(self, model: DeepFeatures) -> None:
        super().__init__()
        self.model = model
        known, scorer = model.features[: int(model.count)], model.scorer
        if isinstance(scorer, Neighbours):
            self.nearest = Nearest(scorer.standardised(known).float(), scorer.count)
        elif isinstance(scorer, OneClass):
            self.register_buffer("known", scorer.standardised(known))

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method, the features that it learned from being standardised before."""
        levels, scorer = [level.mean(dim=(2, 3)) for level in self.model.backbone(image)], self.model.scorer
        if isinstance(scorer, LevelGaussians):
            distances = [
                shrunk_distance(gaussian, level).sqrt()  # type: ignore[arg-type]
                for gaussian, level in zip(scorer.gaussians, levels, strict=True)
            ]
            return Prediction(torch.stack(distances).sum(dim=0))
        queries = scorer.standardised(torch.cat(levels, dim=1))
        if isinstance(scorer, Neighbours):
            return Prediction(self.nearest(queries.float())[0].mean(dim=1))
        if scorer.rbf:
            squared = (queries[:, None] - self.known).square().sum(dim=2)
            kernel = (-scorer.gamma * squared).exp()
        else:
            kernel = queries @ self.known.mT
        return Prediction(-(kernel @ scorer.coefficients[: len(self.known)] + scorer.offset).float())


class OfAutoencoder(Formulation):
    """An autoencoder, all windows of all images at once."""

    reads_box = True

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model
        self.windows = Windows.of(model.windows)
        self.inside = Inside.of_grid(model.spec.size, model.spec.size)

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method."""
        model = self.model
        target = self.windows.cut(to_grey(image) if model.grey else image)
        output = model.reconstruct(target)
        residual = squared_error(output, target) if model.residual == "l2" else 1 - model.ssim(output, target)
        anomaly_map = model.smooth(self.windows.merge(residual))
        return Prediction(self.inside(anomaly_map, box).amax(dim=(1, 2)), anomaly_map)


class OfVAE(Formulation):
    """A variational autoencoder, all windows of all images at once."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model
        self.reads_box = model.score != "likelihood"
        self.windows = Windows.of(model.windows)
        self.inside = Inside.of_grid(model.spec.size, model.spec.size)

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method: with the mean code."""
        model, target = self.model, self.windows.cut(image)
        mean, log_variance = model.encode(target)
        error = squared_error(model.decode(mean), target)
        anomaly_map = model.smooth(self.windows.merge(error))
        if model.score == "likelihood":
            bounds = model.negative_log_likelihood(error) + divergence(mean, log_variance)
            return Prediction(bounds.view(-1, self.windows.number**2).mean(dim=1), anomaly_map)
        return Prediction(self.inside(anomaly_map, box).amax(dim=(1, 2)), anomaly_map)


class OfCutPaste(Formulation):
    """CutPaste, of whole images or of windows."""

    def __init__(self, model: CutPaste) -> None:
        super().__init__()
        self.model = model
        self.reads_box = model.patch is not None
        starts = [index * model.stride for index in range(model.per_side)]
        self.windows = Windows(model.spec.size, model.side, starts)
        self.inside = Inside(starts, [start + model.side for start in starts])

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method; the gradient of Grad-CAM is that of the head, written out."""
        model, number = self.model, self.windows.number
        if model.patch is None:
            top, embedding = model.network(image)
            return Prediction(self._surprise(embedding[:, None])[:, 0], model.to_map(self._explain(top)))
        embedded = []
        at_once = max(1, _WINDOWS_AT_ONCE // number)
        for first in range(0, number, at_once):
            windows = self.windows.cut(image, slice(first, first + at_once))
            rows = min(at_once, number - first)
            embedded.append(model.network(windows)[1].reshape(-1, rows * number, model.network.width))
        surprise = self._surprise(torch.cat(embedded, dim=1)).reshape(-1, number, number)
        return Prediction(self.inside(surprise, box).amax(dim=(1, 2)), model.to_map(surprise))

    def _surprise(self, embedding: Tensor) -> Tensor:
        gaussians = self.model.gaussians
        if self.model.per_location:
            return squared_distance(gaussians, embedding.transpose(0, 1)).mT / 2  # type: ignore[arg-type]
        return shrunk_distance(gaussians, embedding) / 2  # type: ignore[arg-type]

    def _explain(self, top: Tensor) -> Tensor:
        values, back = top.mean(dim=(2, 3)), list[Callable[[Tensor], Tensor]]()
        for layer in self.model.network.head:
            back.append(_gradient(layer, values))
            values = layer(values)
        pasted = values[:, 1:].softmax(dim=1)
        gradient = nn.functional.pad(pasted, (1, 0))
        for step in reversed(back):
            gradient = step(gradient)
        weighted = (gradient[:, :, None, None] * top).sum(dim=1)
        return weighted.relu() / (top.shape[2] * top.shape[3])


class OfMap(Formulation):
    """A method whose score is the largest value of its map, within the image."""

    reads_box = True

    def __init__(self, model: STFPM | ReverseDistillation | EfficientAD | DRAEM | FastFlow) -> None:
        super().__init__()
        self.model = model
        self.inside = Inside.of_grid(model.spec.size, model.spec.size)

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method; DRAEM's score is that of its map's means."""
        model = self.model
        anomaly_map = model.map_of(model.backbone(image)) if isinstance(model, FastFlow) else model.map_of(image)
        scored = model.averaged(anomaly_map) if isinstance(model, DRAEM) else anomaly_map
        return Prediction(self.inside(scored, box).amax(dim=(1, 2)), anomaly_map)


class OfDinomaly(Formulation):
    """Dinomaly, without dropout, which only training has."""

    reads_box = True

    def __init__(self, model: Dinomaly) -> None:
        super().__init__()
        self.model = model
        self.inside = Inside.of_grid(model.spec.size, model.to_map.reduced)

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method."""
        model = self.model
        reduced = model.reduced_map(model.encoder(image))
        score = mean_of_highest(self.inside(reduced, box), model.top_share)
        return Prediction(score, model.to_map.enlarge(reduced))


class OfSuperSimpleNet(Formulation):
    """SuperSimpleNet and SimpleNet."""

    def __init__(self, model: SuperSimpleNet) -> None:
        super().__init__()
        self.model = model
        self.reads_box = model.classification is None
        self.inside = Inside.of_grid(model.spec.size, model.embed.side)
        channels = model.embed.channels
        self.patches = (
            PatchEmbedding(model.backbone.channels, channels, channels)
            if isinstance(model.embed, PatchFeatures)
            else None
        )

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method, but for the pooling of SimpleNet's patches."""
        model, levels = self.model, self.model.backbone(image)
        if self.patches is None:
            features = model.embed(levels)
        else:
            features = self.patches(levels).mT.reshape(-1, model.embed.channels, model.embed.side, model.embed.side)
        anomalies, logits = model.judge_features(features)
        score = self.inside(anomalies, box).amax(dim=(1, 2)) if logits is None else logits
        return Prediction(score, model.to_map(anomalies))


class OfFAnoGAN(Formulation):
    """f-AnoGAN with its encoder, all windows of all images at once."""

    def __init__(self, model: FAnoGAN) -> None:
        super().__init__()
        self.model = model
        self.windows = Windows.of(model.windows)
        self.reads_box = self.windows.number > 1
        tops = sorted({top for top, _ in model.windows.corners})
        self.inside = Inside(tops, [top + model.windows.side for top in tops])

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method."""
        scores, maps = self.model.invert(self.windows.cut(in_generators_range(image)))
        of_windows = scores.view(-1, self.windows.number, self.windows.number)
        if self.reads_box:
            of_windows = self.inside(of_windows, box)
        return Prediction(of_windows.amax(dim=(1, 2)), self.windows.merge(maps))


class OfTrivial(Formulation):
    """A trivial baseline."""

    def __init__(self, model: Trivial) -> None:
        super().__init__()
        self.model = model
        self.pool = PooledNumbers(model.spec.size, model.side)

    def forward(self, image: Tensor, box: Tensor | None = None) -> Prediction:
        """As the method; the mean of a thumbnail's pixel is taken along rows, then along columns.

        Means of all pixels are of double precision: runtimes add up in their own order, and the score is the difference
        of two means in units of a small deviation, in which the last digits of single precision count.
        """
        model = self.model
        if model.statistic == "thumbnail":
            return Prediction(model.distance(self.pool(self.pool(image).mT).mT.flatten(1)))
        grey = image.double().mean(dim=1).flatten(1)
        mean = grey.mean(dim=1, keepdim=True)
        if model.statistic == "mean":
            return Prediction(model.distance(mean.float()))
        return Prediction(model.distance((grey - mean).square().mean(dim=1, keepdim=True).sqrt().float()))


_FORMULATIONS: dict[type[Detector], Callable[..., Formulation]] = {
    PaDiM: OfPaDiM,
    PatchCore: OfPatchCore,
    AnomalyDINO: OfAnomalyDINO,
    DeepFeatures: OfDeepFeatures,
    Autoencoder: OfAutoencoder,
    VAE: OfVAE,
    CutPaste: OfCutPaste,
    FastFlow: OfMap,
    STFPM: OfMap,
    ReverseDistillation: OfMap,
    EfficientAD: OfMap,
    DRAEM: OfMap,
    Dinomaly: OfDinomaly,
    SuperSimpleNet: OfSuperSimpleNet,
    FAnoGAN: OfFAnoGAN,
    Trivial: OfTrivial,
}


def formulate(model: Detector) -> Formulation:
    """The graph of a method filled from its checkpoint."""
    return _FORMULATIONS.get(type(model), AsItIs)(model).eval()


def _neighbourhoods(level: Tensor) -> Tensor:
    """`unfold(level, 3, padding=1)`, (B, 9 C, h, w): each channel's nine shifts side by side."""
    rows, columns = level.shape[2:]
    padded = nn.functional.pad(level, (1, 1, 1, 1))
    shifts = [padded[:, :, y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    return torch.stack(shifts, dim=2).flatten(1, 2)


def _gradient(layer: nn.Module, values: Tensor) -> Callable[[Tensor], Tensor]:
    """How a gradient passes a layer of CutPaste's head backwards, at these inputs."""
    if isinstance(layer, nn.Linear):
        return lambda gradient: gradient @ layer.weight
    if isinstance(layer, nn.BatchNorm1d):
        assert layer.running_var is not None
        scale = layer.weight * (layer.running_var + layer.eps).rsqrt()
        return lambda gradient: gradient * scale
    assert isinstance(layer, nn.ReLU)
    return lambda gradient: gradient * (values > 0)
