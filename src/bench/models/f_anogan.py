"""f-AnoGAN: what a Wasserstein GAN of normal images cannot draw (Schlegl et al., Medical Image Analysis 54, 2019)."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from bench.collectives import average_gradients, from_first_process
from bench.config.number_ranges import Count, NonNegative, Positive
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.f_anogan_network import Critic, Encoder, Generator
from bench.models.parts.precision import full_precision, network_precision
from bench.models.parts.windows import WINDOWS_AT_ONCE, SlidingWindows


class Noise(NamedTuple):
    """The random numbers of a step: codes (B, latent_dim), and the penalty's positions in [0, 1), (B, 1, 1, 1)."""

    code: Tensor
    share: Tensor


class FAnoGAN(Detector):
    """Learn to draw normal images, then to find the code that draws an image; what the drawing lacks is anomalous.

    The first epochs train generator and critic (WGAN-GP), the rest an encoder (izi_f), with both of them frozen.

    Args:
        spec: what the data are like.
        latent_dim: length of the code.
        width: channels of the finest maps; those of the coarsest are eight times as many.
        pretrain_epochs: how many of the Trainer's epochs train generator and critic; with `search`, all do.
        critic_steps: updates of the critic, each with images of its own, for one of the generator.
        penalty: weight of the gradient penalty.
        learning_rate: of generator and critic (Adam, betas 0 and .9).
        encoder_rate: of the encoder (RMSProp).
        kappa: weight of the residual of the critic's features beside that of the pixels, in training and score.
        inversion: how the code of an image is found: `encoder`, or by AnoGAN's `search` (Schlegl et al., IPMI 2017),
            which trains no encoder.
        search_steps: search only: updates of each image's code.
        search_rate: search only: their learning rate (Adam).
        stride: pixels between the windows through which a texture is tested when it was learned in patches.
    """

    start: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent_dim: Count = 128,
        width: Count = 64,
        pretrain_epochs: int = 500,
        critic_steps: int = 5,
        penalty: NonNegative = 10.0,
        learning_rate: NonNegative = 1e-4,
        encoder_rate: NonNegative = 5e-5,
        kappa: NonNegative = 1.0,
        inversion: Literal["encoder", "search"] = "encoder",
        search_steps: int = 300,
        search_rate: Positive = 0.02,
        stride: int = 16,
    ) -> None:
        super().__init__(spec)
        if min(critic_steps, search_steps) < 1:
            raise UsageError("--model.critic_steps and --model.search_steps must be at least 1")
        if pretrain_epochs < 0:
            raise UsageError("--model.pretrain_epochs must not be negative")
        self.automatic_optimization = False
        side = spec.patch or spec.size
        self.windows = SlidingWindows(spec.size, side, stride)
        self.generator = Generator(side, spec.channels, width, latent_dim)
        self.critic = Critic(side, spec.channels, width)
        self.encoder = Encoder(side, spec.channels, width, latent_dim) if inversion == "encoder" else None
        # One draw for all images: the same image always gets the same score.
        self.register_buffer("start", torch.randn(latent_dim))
        self.latent_dim = latent_dim
        self.pretrain_epochs = pretrain_epochs
        self.critic_steps = critic_steps
        self.penalty = penalty
        self.learning_rate, self.encoder_rate = learning_rate, encoder_rate
        self.kappa = kappa
        self.search_steps, self.search_rate = search_steps, search_rate

    @property
    def preparing_epochs(self) -> int:
        """How many epochs train generator and critic before the encoder."""
        return self.pretrain_epochs if self.encoder is not None else 0

    @property
    def drawing(self) -> bool:
        """Whether this epoch trains generator and critic."""
        return self.encoder is None or self.current_epoch < self.pretrain_epochs

    def forward(self, image: Tensor) -> Prediction:
        """Score = squared residual of the pixels + kappa times that of the features; map = absolute residual.

        For a texture learned in patches, as in the paper, the score is that of the most anomalous window.
        """
        parts = torch.split(self.windows.cut(in_generators_range(image)), WINDOWS_AT_ONCE)
        scores, maps = (torch.cat(each) for each in zip(*map(self.invert, parts), strict=True))
        of_windows = self.windows_within(scores.view(len(image), -1), self.windows.corners, self.windows.side)
        return Prediction(of_windows.amax(dim=1), self.windows.merge(maps))

    def residuals(self, image: Tensor, features: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared differences (B,) between images and drawings: of pixels, and of the critic's features."""
        feature_residual = (features - self.features(drawn)).square().mean(dim=1)
        return (image - drawn).square().mean(dim=(1, 2, 3)), feature_residual

    def draw(self, code: Tensor) -> Tensor:
        """Drawings in [-1, 1] of codes (B, latent_dim)."""
        with network_precision(code.device):
            drawn: Tensor = self.generator(code)
        return drawn.float()

    def features(self, image: Tensor) -> Tensor:
        """The critic's features (B, features) of images or drawings."""
        with network_precision(image.device):
            return self.critic.features(image).float()

    def search(self, image: Tensor, features: Tensor) -> Tensor:
        """AnoGAN's codes, by gradient descent on the score from one draw of the prior."""
        # Images of a test are inference tensors, through which no gradient flows until they are copied.
        with torch.inference_mode(mode=False), torch.enable_grad():
            image, features = image.clone(), features.clone()
            code = self.start.repeat(len(image), 1).requires_grad_()
            optimizer = torch.optim.Adam([code], self.search_rate)
            for _ in range(self.search_steps):
                pixel_residual, feature_residual = self.residuals(image, features, self.draw(code))
                (code.grad,) = torch.autograd.grad((pixel_residual + self.kappa * feature_residual).sum(), code)
                optimizer.step()
        return code.detach()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for critic and generator; RMSProp for the encoder with TensorFlow's epsilon, 1e-10 below the root."""
        networks = (self.critic, self.generator)
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(network.parameters(), self.learning_rate, betas=(0.0, 0.9)) for network in networks
        ]
        if self.encoder is not None:
            optimizers.append(torch.optim.RMSprop(self.encoder.parameters(), self.encoder_rate, alpha=0.9, eps=1e-5))
        return optimizers

    def on_train_epoch_start(self) -> None:
        """Copy the first process's running statistics to all, for a BatchNorm that is not synchronised."""
        for buffer in self.buffers():
            buffer.copy_(from_first_process(buffer))

    def on_train_batch_start(self, *_: Any) -> None:
        """Freeze generator and critic, batch statistics included, while the encoder learns from them."""
        if not self.drawing:
            self.generator.eval()
            self.critic.eval()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Update the critic, and the generator after every `critic_steps` updates; or the encoder."""
        optimizers: Any = self.optimizers()
        if not self.drawing:
            return self._update(optimizers[2], lambda: self.loss(batch), len(batch.image))
        image = self.real(batch)
        noise = self.noise(image)
        loss = self._update(optimizers[0], lambda: self.critic_loss(image, noise), len(image))
        updates = self.current_epoch * int(self.trainer.num_training_batches) + batch_index + 1
        if updates % self.critic_steps == 0:
            noise = self.noise(image)
            self._update(optimizers[1], lambda: self.generator_loss(noise), len(image))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log the encoder's loss, or the critic's distance between held-out images and drawings."""
        if not self.drawing:
            return super().validation_step(batch, batch_index)
        image = self.real(batch)
        distance = self.critic(image).float().mean() - self.critic(self.draw(self.noise(image).code)).float().mean()
        return self.log_terms("validation", {"distance": distance}, len(image))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's loss (izi_f): the mean score of its drawings."""
        assert self.encoder is not None
        image = self.real(batch)
        with torch.no_grad():
            features = self.features(image)
        pixels, features = (each.mean() for each in self.residuals(image, features, self.draw(self._encode(image))))
        return {"loss": pixels + self.kappa * features, "pixel_residual": pixels, "feature_residual": features}

    def critic_loss(self, image: Tensor, noise: Noise) -> dict[str, Tensor]:
        """The critic's loss: real images above drawings, with slopes of about 1 in between."""
        with torch.no_grad():
            drawn = self.draw(noise.code)
        distance = self.critic(image).float().mean() - self.critic(drawn).float().mean()
        penalty = gradient_penalty(self.critic, image, drawn, noise.share)
        return {"loss": self.penalty * penalty - distance, "distance": distance, "gradient_penalty": penalty}

    def generator_loss(self, noise: Noise) -> dict[str, Tensor]:
        """The generator's loss: minus the critic's mean for drawings."""
        return {"generator_loss": -self.critic(self.draw(noise.code)).float().mean()}

    def real(self, batch: Batch) -> Tensor:
        """Images, or patches of textures, in [-1, 1]."""
        return in_generators_range(self.windows.tiles(batch.image))

    def noise(self, image: Tensor) -> Noise:
        """New random numbers for as many drawings as there are images."""
        count = len(image)
        code = torch.randn(count, self.latent_dim, device=image.device)
        return Noise(code, torch.rand(count, 1, 1, 1, device=image.device))

    def invert(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score (B,) and map (B, side, side) of images or windows in [-1, 1]."""
        features = self.features(image)
        drawn = self.draw(self._encode(image) if self.encoder is not None else self.search(image, features))
        pixel_residual, feature_residual = self.residuals(image, features, drawn)
        return pixel_residual + self.kappa * feature_residual, (image - drawn).abs().mean(dim=1)

    def _encode(self, image: Tensor) -> Tensor:
        assert self.encoder is not None
        with network_precision(image.device):
            code: Tensor = self.encoder(image)
        return code.float()

    def _update(self, optimizer: Any, compute: Callable[[], dict[str, Tensor]], images: int) -> Tensor:
        """One gradient step on the first of the terms, in the parameters of one network alone."""
        # DDP waits for a gradient of every parameter, but a step here has those of one network only: DDP's averaging is
        # blocked, and `average_gradients` takes its place.
        with optimizer.toggle_model(sync_grad=False):
            terms = compute()
            loss = next(iter(terms.values()))
            optimizer.zero_grad()
            self.manual_backward(loss)
        average_gradients(optimizer.param_groups[0]["params"])
        optimizer.step()
        self.log_terms("train", terms, images)
        return loss.detach()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, drawn: Tensor, share: Tensor) -> Tensor:
    """Mean of (|slope| - 1)^2 at the share `share` (B, 1, 1, 1) of the way from real to drawn images.

    Equation 3 of Gulrajani et al. In full precision: second derivatives would lose too many digits in half precision.
    """
    with full_precision(real.device):
        between = (real + share * (drawn - real)).detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return penalty


def in_generators_range(image: Tensor) -> Tensor:
    """Images in [0, 1], scaled to the [-1, 1] of the generator's hyperbolic tangent."""
    return 2 * image - 1
