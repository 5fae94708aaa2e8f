"""Networks of Deep SVDD: a LeNet without any bias, its mirror image for pre-training, and input normalisation."""

from torch import Tensor, nn

from bench.errors import UsageError

_GRID = 4  # side of the last map
# The authors scale normalised images to [0, 1] by the minimum and maximum of the class's training images. With no bias
# in the encoder and BatchNorm after each convolution, scale and offset matter to the decoder's sigmoid only: any fixed
# ones that leave room will do. 20 is a common width of the authors' own ranges for CIFAR-10.
_CONTRAST_RANGE = 20.0


class Encoder(nn.Sequential):
    """The paper's LeNet from (B, channels, size, size) to (B, latent_dim): nothing in it can learn a constant.

    With a bias, or a scale and an offset after normalisation, all images could be mapped to the centre (proposition 2).
    """

    def __init__(self, size: int, channels: int, width: int, latent_dim: int) -> None:
        widths = _widths(size, width)
        layers: list[nn.Module] = []
        for inputs, outputs in zip([channels, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 5, padding=2, bias=False)]
            layers += [nn.BatchNorm2d(outputs, eps=1e-4, affine=False), nn.LeakyReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.Flatten(), nn.Linear(widths[-1] * _GRID**2, latent_dim, bias=False))
        _initialise(self)


class Decoder(nn.Sequential):
    """The encoder mirrored, to images in (0, 1); used in pre-training only."""

    def __init__(self, size: int, channels: int, width: int, latent_dim: int) -> None:
        inputs, rest = divmod(latent_dim, _GRID**2)
        if rest or not inputs:
            raise UsageError(f"--model.latent_dim {latent_dim} is no multiple of 16, the decoder's positions")
        layers: list[nn.Module] = [CodeNorm(latent_dim, eps=1e-4, affine=False)]
        layers += [nn.Unflatten(1, (inputs, _GRID, _GRID)), nn.LeakyReLU()]
        for outputs in reversed(_widths(size, width)):
            layers += [nn.ConvTranspose2d(inputs, outputs, 5, padding=2, bias=False)]
            layers += [nn.BatchNorm2d(outputs, eps=1e-4, affine=False), nn.LeakyReLU(), nn.Upsample(scale_factor=2)]
            inputs = outputs
        super().__init__(*layers, nn.ConvTranspose2d(inputs, channels, 5, padding=2, bias=False), nn.Sigmoid())
        _initialise(self)


class CodeNorm(nn.BatchNorm1d):
    """BatchNorm that normalises a last batch of one image, which has no variance, by its running statistics."""

    # The images of several GPUs together are never only one: torch's synchronised BatchNorm suffices.
    alike_over_processes = True

    def forward(self, code: Tensor) -> Tensor:
        """Normalise (B, features)."""
        if len(code) > 1:
            return super().forward(code)
        return nn.functional.batch_norm(code, self.running_mean, self.running_var, eps=self.eps)


def normalise_contrast(image: Tensor) -> Tensor:
    """Global contrast normalisation of each image with the L1 scale (section 4.2), then a mean of 0.5."""
    centred = image - image.mean(dim=(1, 2, 3), keepdim=True)
    scale = centred.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    return centred / (scale * _CONTRAST_RANGE) + 0.5


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight, nn.init.calculate_gain("leaky_relu"))


def _widths(size: int, first: int) -> list[int]:
    """Channels of the blocks, each halving its input, down to 4 x 4: the paper's 32, 64, 128, then no wider."""
    if size < 2 * _GRID or size & (size - 1):
        raise UsageError(f"Deep SVDD halves its input down to 4 x 4: {size} pixels is no power of two")
    blocks = (size // _GRID).bit_length() - 1
    return [first * min(2**block, 4) for block in range(blocks)]
