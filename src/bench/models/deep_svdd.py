"""Deep SVDD: normal images mapped close to one point (Ruff et al., ICML 2018, PMLR 80:4393)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from bench.collectives import add_over_processes
from bench.config.number_ranges import Count, NonNegative, Whole
from bench.console import say
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.accumulators import Pass, State, Sum
from bench.models.base import Detector, Prediction
from bench.models.parts.deep_svdd_network import Decoder, Encoder, normalise_contrast
from bench.models.parts.precision import network_precision

_LEAST_CENTRE = 0.1
_COLLAPSED = 1e-3


class DeepSVDD(Detector):
    """Train a network to map normal images close to a fixed point; an image's distance from it is its score.

    The first epochs pre-train the encoder as an autoencoder, the rest pull its embeddings towards the centre.

    Args:
        spec: what the data are like.
        latent_dim: length of the embedding, a multiple of 16.
        width: channels of the first block; doubled twice, then kept.
        objective: `one_class`, or `soft_boundary`: a sphere that may leave images outside (section 3.1).
        nu: soft boundary only: the share of training images that may lie outside the sphere.
        warm_up_epochs: soft boundary only: epochs of Deep SVDD before the radius is updated.
        contrast_normalisation: subtract each image's mean and divide by its mean absolute deviation first.
        pretrain_epochs: how many of the Trainer's epochs train the autoencoder.
        pretrain_milestone: epoch of pre-training from which its learning rate is a tenth.
        milestone: epoch of Deep SVDD, counted from the end of pre-training, from which its learning rate is a tenth.
        learning_rate: of Adam, in both phases.
        weight_decay: L2 penalty of Adam (the last term of both objectives).
    """

    centre: Tensor
    radius: Tensor
    first_variance: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent_dim: Count = 128,
        width: Count = 32,
        objective: Literal["one_class", "soft_boundary"] = "one_class",
        nu: float = 0.1,
        warm_up_epochs: int = 10,
        contrast_normalisation: bool = True,
        pretrain_epochs: int = 350,
        pretrain_milestone: Whole = 250,
        milestone: Whole = 50,
        learning_rate: NonNegative = 1e-4,
        weight_decay: NonNegative = 5e-7,
    ) -> None:
        super().__init__(spec)
        if spec.patch is not None:
            raise UsageError("Deep SVDD scores images as a whole: set --data.texture_patch null")
        if not 0 < nu <= 1:
            raise UsageError(f"--model.nu {nu} does not lie in (0, 1]")
        if min(pretrain_epochs, warm_up_epochs) < 0:
            raise UsageError("--model.pretrain_epochs and --model.warm_up_epochs must not be negative")
        self.encoder = Encoder(spec.size, spec.channels, width, latent_dim)
        self.decoder = Decoder(spec.size, spec.channels, width, latent_dim)
        self.register_buffer("centre", torch.zeros(latent_dim))
        self.register_buffer("radius", torch.zeros(()))
        self.register_buffer("first_variance", torch.zeros(()))
        self.objective = objective
        self.nu = nu
        self.warm_up_epochs = warm_up_epochs
        self.contrast_normalisation = contrast_normalisation
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_milestone = pretrain_milestone
        self.milestone = milestone
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self._moments: Tensor | None = None  # of an epoch's embeddings; DDP would overwrite a buffer
        self._embedding: Tensor | None = None
        self._warned = False

    @property
    def pretraining(self) -> bool:
        """Whether this epoch trains the autoencoder."""
        return self.current_epoch < self.pretrain_epochs

    def forward(self, image: Tensor) -> Prediction:
        """Score = squared distance from the centre, minus the squared radius if there is one (section 3.1)."""
        score = self._squared_distance(self.embed(image))
        return Prediction(score - self.radius.square() if self.objective == "soft_boundary" else score)

    def embed(self, image: Tensor) -> Tensor:
        """phi(x), (B, latent_dim)."""
        with network_precision(image.device):
            embedding: Tensor = self.encoder(self._normalise(image))
        return embedding.float()

    @property
    def preparing_epochs(self) -> int:
        """The number of epochs that train the autoencoder."""
        return self.pretrain_epochs

    def passes(self) -> Sequence[Pass]:
        """One pass, for the first embeddings: those of the encoder after pre-training."""
        moments = {"moments": Sum(3, len(self.centre))}
        return [Pass("centre", moments, self.accumulate, self.finish, epoch=self.pretrain_epochs)]

    def accumulate(self, state: State, image: Tensor) -> None:
        """Add images to the statistics of the first embeddings."""
        state.moments += moments_of(self.embed(image))

    def finish(self, state: State) -> None:
        """Fix the centre: the mean, pushed away from 0, which weights of 0 would reach (proposition 1)."""
        mean, variance = mean_and_variance(state.moments)
        near = mean.abs() < _LEAST_CENTRE
        self.centre.copy_(torch.where(near, _LEAST_CENTRE * torch.where(mean < 0, -1.0, 1.0), mean))
        self.first_variance.copy_(variance.mean())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """In pre-training, the autoencoder's squared error summed over pixels; then the objective of Deep SVDD."""
        if self.pretraining:
            image = self._normalise(batch.image)
            error = (self.decoder(self.encoder(image)) - image.clamp(0, 1)).square().sum(dim=(1, 2, 3)).mean()
            return {"loss": error, "reconstruction": error}
        embedding = self.embed(batch.image)
        self._embedding = embedding.detach() if self.training else None
        squared = self._squared_distance(embedding)
        loss = squared.mean()
        if self.objective == "soft_boundary":
            outside = (squared - self.radius.square()).clamp_min(0)
            loss = self.radius.square() + outside.mean() / self.nu
        # DDP waits for a gradient of every parameter, and the decoder has none any more.
        untouched = sum(parameter.sum() for parameter in self.decoder.parameters())
        return {"loss": loss + 0 * untouched, "squared_distance": squared.mean()}

    def configure_optimizers(self) -> Any:
        """Adam; the decoder's rate is 0 after pre-training, or weight decay would shrink its weights."""
        groups = [{"params": module.parameters()} for module in (self.encoder, self.decoder)]
        optimizer = torch.optim.Adam(groups, self.learning_rate, weight_decay=self.weight_decay)
        rates = [self._rate, lambda epoch: self._rate(epoch) if epoch < self.pretrain_epochs else 0.0]
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, rates)]

    def on_train_epoch_start(self) -> None:
        """Begin Deep SVDD with a new state of the optimiser, as the authors do."""
        self._moments = None
        if self.current_epoch == self.pretrain_epochs:
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Set the radius to the (1 - nu) quantile of the distances in the batch of all processes."""
        if self._embedding is None:
            return
        own = moments_of(self._embedding)  # no value is read back, so that a GPU never waits
        self._moments = own if self._moments is None else self._moments + own
        if self.objective == "soft_boundary" and self.current_epoch >= self.pretrain_epochs + self.warm_up_epochs:
            distances: Any = self.all_gather(self._squared_distance(self._embedding).sqrt())
            self.radius.copy_(torch.quantile(distances.flatten(), 1 - self.nu))
        self._embedding = None

    def on_train_epoch_end(self) -> None:
        """Warn of a collapse: embeddings that are all equal do not distinguish images."""
        if self.pretraining or self._moments is None:
            return
        add_over_processes(self._moments)
        variance = mean_and_variance(self._moments)[1].mean()
        self.log("train/embedding_variance", variance)
        if variance <= _COLLAPSED * self.first_variance and not self._warned:
            self._warned = True
            say(f"the embeddings collapse: their variance is {variance:.2g}, at first it was {self.first_variance:.2g}")

    def _rate(self, epoch: int) -> float:
        own, milestone = epoch - self.pretrain_epochs, self.milestone
        if own < 0:
            own, milestone = epoch, self.pretrain_milestone
        return 0.1 if own >= milestone else 1.0

    def _squared_distance(self, embedding: Tensor) -> Tensor:
        return (embedding - self.centre).square().sum(dim=1)

    def _normalise(self, image: Tensor) -> Tensor:
        return normalise_contrast(image) if self.contrast_normalisation else image


def moments_of(embedding: Tensor) -> Tensor:
    """Number, sum and sum of squares (3, latent_dim) of embeddings (B, latent_dim)."""
    wide = embedding.detach().to(torch.float32 if embedding.device.type == "mps" else torch.float64)
    return torch.stack([torch.ones_like(wide), wide, wide.square()]).sum(dim=1)


def mean_and_variance(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (latent_dim,) of embeddings, from their moments (3, latent_dim)."""
    count, total, squares = moments
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0)
