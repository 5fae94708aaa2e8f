"""CutPaste's network in half precision: what leaves it is in single precision."""

import pytest
import torch

from bench.models.parts.cutpaste_network import PretextNetwork
from bench.models.parts.precision import networks_in


@pytest.mark.parametrize("level", [None, 1], ids=["top", "level"])
def test_features_are_in_single_precision_where_the_backbone_computes_in_half(level):
    torch.manual_seed(0)
    network = PretextNetwork("test_resnet", "none", level, 2, 1, False, 64).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        exact = network(image)
        with networks_in(torch.bfloat16, torch.device("cpu")):
            in_evaluation = network(image)
            explained = network.explain(in_evaluation[0])
        with torch.autocast("cpu", torch.bfloat16):
            in_training = network(image)
    assert {part.dtype for part in (*in_evaluation, *in_training, explained)} == {torch.float32}
    for found, other, full in zip(in_evaluation, in_training, exact, strict=True):
        assert torch.equal(found, other)
        assert not torch.equal(found, full), "the backbone itself was to compute in half"
        torch.testing.assert_close(found, full, rtol=0.1, atol=0.1 * full.abs().max().item())
