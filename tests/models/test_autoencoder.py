import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.autoencoder import SSIM, Autoencoder
from bench.models.parts.convolutional import Decoder, Encoder, to_grey


def images(channels: int, size: int = 64) -> torch.Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1))


def test_ssim_is_scikit_images_with_the_papers_window():
    first = images(1)
    second = (first + 0.2 * torch.rand(first.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    ours = SSIM(64)(first, second)
    for image, other, found in zip(first, second, ours, strict=True):
        _, expected = structural_similarity(
            image[0].double().numpy(),
            other[0].double().numpy(),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [32, 64, 128, 224, 256])
def test_encoder_and_decoder_mirror_each_other_at_every_size(size):
    code = Encoder(size, 3, 10)(torch.zeros(1, 3, size, size))
    assert code.shape == (1, 10)
    assert Decoder(size, 3, 10)(code).shape == (1, 3, size, size)


def test_at_128_pixels_the_encoder_is_the_papers_table():
    strides = [layer.stride[0] for layer in Encoder(128, 3, 100) if isinstance(layer, torch.nn.Conv2d)]
    widths = [layer.out_channels for layer in Encoder(128, 3, 100) if isinstance(layer, torch.nn.Conv2d)]
    assert strides == [2, 2, 1, 2, 1, 2, 1, 1, 1]
    assert widths == [32, 32, 32, 64, 64, 128, 64, 32, 100]


@pytest.mark.parametrize("size", [64, 128, 256])
def test_codes_of_different_images_differ_before_any_training(size):
    torch.manual_seed(0)
    encoder, decoder = Encoder(size, 3, 100), Decoder(size, 3, 100)
    codes = encoder(torch.rand(8, 3, size, size) * torch.rand(8, 3, 1, 1))
    assert 0.1 < codes.std() < 10
    assert codes.std(dim=0).mean() > 0.1
    assert decoder(torch.randn(8, 100)).std(dim=0).mean() > 0.05


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(UsageError, match="no multiple of 16"):
        Autoencoder(DataSpec(100, 3, 10))


def test_the_l2_loss_is_the_squared_error_summed_over_an_image():
    model = Autoencoder(DataSpec(32, 1, 10), residual="l2").eval()
    batch = Batch(images(1, 32), torch.arange(2))
    output = model.decoder(model.encoder(batch.image))
    expected = ((output - batch.image) ** 2).sum() / 2
    torch.testing.assert_close(model.loss(batch)["loss"], expected)


def test_grey_is_the_luma_of_pillow():
    from PIL import Image

    picture = (images(3, 32)[0] * 255).byte()
    expected = np.asarray(Image.fromarray(picture.permute(1, 2, 0).numpy()).convert("L"))
    np.testing.assert_allclose(to_grey(picture[None].float())[0, 0], expected, atol=1.0)
