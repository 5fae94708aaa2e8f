import torch
from torch.distributions import Normal, kl_divergence

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.models.vae import VAE, divergence


def test_the_kl_term_is_that_of_torch_distributions():
    mean, log_variance = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0)).unbind()
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_the_likelihood_score_is_the_negative_evidence_lower_bound_at_the_mean_code():
    model = VAE(DataSpec(32, 3, 10), score="likelihood", noise=0.2).eval()
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, log_variance = model.encode(image)
    log_likelihood = Normal(model.decoder(mean), 0.2).log_prob(image).sum(dim=(1, 2, 3))
    torch.testing.assert_close(model(image).score, divergence(mean, log_variance) - log_likelihood)


def test_the_loss_sums_over_pixels_and_weighs_the_kl_term_by_beta():
    torch.manual_seed(0)
    model = VAE(DataSpec(32, 1, 10), beta=3.0)
    terms = model.loss(Batch(torch.rand(2, 1, 32, 32), torch.arange(2)))
    torch.testing.assert_close(terms["loss"], terms["negative_log_likelihood"] + 3.0 * terms["kl"])


def test_scores_are_not_sampled():
    model = VAE(DataSpec(32, 1, 10)).eval()
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(model(image).score, model(image).score)


def test_the_resnet_has_an_8_by_8_grid_of_codes_at_256_pixels():
    model = VAE(DataSpec(256, 3, 10), network="resnet18", latent_dim=16).eval()
    with torch.inference_mode():
        mean, log_variance = model.encode(torch.rand(1, 3, 256, 256))
        assert mean.shape == log_variance.shape == (1, 16, 8, 8)
        assert model.decoder(mean).shape == (1, 3, 256, 256)


def test_the_kl_term_of_a_grid_of_codes_sums_over_its_positions():
    mean, log_variance = torch.randn(2, 4, 7, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(divergence(mean, log_variance), expected)
