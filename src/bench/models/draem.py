"""DRAEM: a network that segments pasted anomalies by what another one reconstructs (Zavrtanik et al., ICCV 2021)."""

from typing import Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from bench.config.number_ranges import Count, NonNegative, Share
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.draem_drawing import Simulated, Textures, simulate
from bench.models.parts.draem_losses import ZeroPaddedSSIM, focal_loss
from bench.models.parts.draem_networks import (
    DiscriminativeNetwork,
    ReconstructiveNetwork,
    check_halvings,
    initialise,
)
from bench.models.parts.precision import network_precision

_MILESTONES, _FACTOR = (0.8, 0.9), 0.2  # the shares of the steps from which the learning rate is a fifth each


class DRAEM(Detector):
    """Reconstruct images without the anomalies pasted into them, and tell by both where anomalies are.

    Textures come from a folder, such as the describable textures (DTD) of the paper, or are made by a procedure.

    Args:
        spec: what the data are like.
        textures: what is pasted: images of a `folder` (needs `image_folder`), or `procedural` ones.
        image_folder: folder of the textures; looked for in all folders below it too.
        width: channels of the first level of the discriminative network; the reconstructive one has twice as many.
        anomalous_share: share of the training images into which something is pasted.
        turned_share: share of the training images that are turned by up to 90 degrees first, with black corners.
        score_window: side in pixels of the window over which the map is averaged for the score; odd.
        learning_rate: of Adam; a fifth from 80 % of the steps on, and a fifth of that from 90 %.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        textures: Literal["folder", "procedural"] = "folder",
        image_folder: str | None = None,
        width: Count = 64,
        anomalous_share: Share = 0.5,
        turned_share: Share = 0.3,
        score_window: Count = 21,
        learning_rate: NonNegative = 1e-4,
    ) -> None:
        super().__init__(spec)
        if spec.patch is not None:
            raise UsageError("DRAEM learns from whole images: set --data.texture_patch null")
        check_halvings(spec.size)
        if score_window % 2 == 0:
            raise UsageError(f"--model.score_window {score_window} has no middle pixel; name an odd number")
        _check_textures(textures, image_folder)
        self.reconstruct = ReconstructiveNetwork(spec.channels, 2 * width)
        self.discriminate = DiscriminativeNetwork(spec.channels, width)
        initialise([self.reconstruct, self.discriminate])
        self.ssim = ZeroPaddedSSIM(spec.size)
        self.textures = Textures(image_folder, spec.size)
        self.anomalous_share, self.turned_share = anomalous_share, turned_share
        self.score_window = score_window
        self.learning_rate = learning_rate

    def forward(self, image: Tensor) -> Prediction:
        """Map = probability that a pixel is anomalous; score = the largest of its means over a window."""
        anomaly_map = self.map_of(image)
        return Prediction(self.within(self.averaged(anomaly_map)).amax(dim=(1, 2)), anomaly_map)

    def map_of(self, image: Tensor) -> Tensor:
        """Probabilities (B, size, size)."""
        logits = self.networks(image)[1]
        return torch.sigmoid(logits[:, 1] - logits[:, 0])

    def averaged(self, anomaly_map: Tensor) -> Tensor:
        """Means (B, size, size) over the windows around each pixel, with 0 beyond the border."""
        half = self.score_window // 2
        return torch.nn.functional.avg_pool2d(anomaly_map[:, None], self.score_window, 1, half)[:, 0]

    def networks(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions (B, channels, size, size) of images and logits (B, 2, size, size), in single precision."""
        with network_precision(image.device):
            reconstruction = self.reconstruct(image)
            logits = self.discriminate(reconstruction, image)
        return reconstruction.float(), logits

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of images with simulated anomalies."""
        return self.terms(simulate(batch.image, self.textures, self.anomalous_share, self.turned_share))

    def terms(self, simulated: Simulated) -> dict[str, Tensor]:
        """L2 and 1 - SSIM of the reconstruction, and the focal loss of the segmentation (equations 2 to 5)."""
        reconstruction, logits = self.networks(simulated.pasted)
        found = {
            "l2": torch.nn.functional.mse_loss(reconstruction, simulated.normal),
            "ssim": 1 - self.ssim(reconstruction, simulated.normal),
            "focal": focal_loss(logits, simulated.mask),
        }
        return {"loss": torch.stack(list(found.values())).sum(), **found}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam on both networks together."""
        optimizer = torch.optim.Adam(self.parameters(), self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return float(_FACTOR ** sum(step >= int(share * steps) for share in _MILESTONES))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _check_textures(textures: str, folder: str | None) -> None:
    if textures == "folder" and folder is None:
        raise UsageError(
            "DRAEM pastes textures: name their folder, --model.image_folder FOLDER, or take procedural ones, "
            "--model.textures procedural"
        )
    if textures == "procedural" and folder is not None:
        raise UsageError("--model.textures procedural uses no images: leave out --model.image_folder")
