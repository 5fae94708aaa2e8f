"""Fine-tune SAM's mask decoder on an export of `bench data export --format masks`.

    pip install transformers
    python finetune_sam.py exports/mvtec_ad-screw-masks --weights facebook/sam-vit-base --epochs 10

Each connected region is one example: its box, or its points, are the prompt, its pixels the answer. The image encoder
and the prompt encoder stay as they are. Where no weights can be had, `--random-weights` trains a tiny fresh network:
enough to see that everything runs, and nothing else.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate
from transformers import (
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

NO_POINT = -10  # the label of points that SamModel leaves out


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="folder of the export")
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--weights", help="pretrained weights: a folder, or a name such as facebook/sam-vit-base")
    weights.add_argument("--random-weights", action="store_true", help="a tiny fresh network")
    parser.add_argument("--prompt", choices=("box", "points"), default="box")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, help="defect images at most, of each part; all where not given")
    parser.add_argument(
        "--regions", type=int, default=16, help="regions of an image at most, the largest (default: 16)"
    )
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/sam"), help="folder of the weights")
    return parser.parse_args()


def random_network() -> tuple[SamModel, SamProcessor]:
    """SAM's architecture with little in it, for images of 256 pixels."""
    side, width = 256, 32
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=width,
            output_channels=width,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=side,
            global_attn_indexes=[1],
            num_pos_feats=width // 2,
            initializer_range=0.02,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=width, image_size=side),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=width, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=width
        ),
    )
    processor = SamImageProcessor(size={"longest_edge": side}, pad_size={"height": side, "width": side})
    return SamModel(config), SamProcessor(processor)


def defect_images(export: Path, part: str, limit: int | None) -> list[dict[str, Any]]:
    """Those with regions: an image without a defect gives SAM nothing to be asked about."""
    images = json.loads((export / "prompts" / f"{part}.json").read_text(encoding="utf-8"))["images"]
    with_regions = [image for image in images if image["regions"]]
    random.Random(0).shuffle(with_regions)
    return with_regions[:limit]


def read_example(
    image: dict[str, Any], export: Path, processor: SamProcessor, prompt: str, most: int
) -> tuple[dict[str, Tensor], Tensor]:
    """What the network is given of one image, and the masks (regions, height, width) that it should answer with."""
    regions = sorted(image["regions"], key=lambda region: -region["area"])[:most]
    if prompt == "box":
        prompts = {"input_boxes": [[region["box"] for region in regions]]}
    else:
        count = max(len(region["points"]) for region in regions)
        missing = [count - len(region["points"]) for region in regions]  # tiny regions have fewer
        prompts = {
            "input_points": [[r["points"] + [[0, 0]] * n for r, n in zip(regions, missing, strict=True)]],
            "input_labels": [[r["point_labels"] + [NO_POINT] * n for r, n in zip(regions, missing, strict=True)]],
        }
    numbers = np.load(export / image["regions_file"])
    masks = torch.from_numpy(np.stack([numbers == region["number"] for region in regions]))
    with Image.open(export / image["image"]) as file:
        return dict(processor(file.convert("RGB"), return_tensors="pt", **prompts)), masks


def answer(network: SamModel, inputs: dict[str, Tensor], device: str) -> Tensor:
    """Logits (regions, height, width) at the image's own size."""
    original, reshaped = inputs["original_sizes"][0].tolist(), inputs["reshaped_input_sizes"][0].tolist()
    given = {
        # Prompts come in double precision.
        name: value.to(device, torch.float32 if value.is_floating_point() else value.dtype)
        for name, value in inputs.items()
        if name not in ("original_sizes", "reshaped_input_sizes")
    }
    low = network(**given, multimask_output=False).pred_masks[0]  # (regions, 1, side / 4, side / 4)
    side = network.config.vision_config.image_size
    padded = interpolate(low, (side, side), mode="bilinear", align_corners=False)
    inside = padded[..., : reshaped[0], : reshaped[1]]
    return interpolate(inside, original, mode="bilinear", align_corners=False)[:, 0]


def loss_of(logits: Tensor, masks: Tensor) -> Tensor:
    """Focal loss and dice loss, 20 to 1 as in SAM's paper (section 3), over masks (regions, height, width)."""
    target = masks.to(logits.dtype)
    entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = torch.exp(-entropy)
    balance = 0.25 * target + 0.75 * (1 - target)
    focal = (balance * (1 - right) ** 2 * entropy).mean()
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=(1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) + 1)
    return 20 * focal + dice.mean()


@torch.no_grad()
def mean_overlap(network: SamModel, examples: Iterator[tuple[dict[str, Tensor], Tensor]], device: str) -> float:
    """The mean intersection over union of all regions."""
    network.eval()
    overlaps = []
    for inputs, masks in examples:
        found = answer(network, inputs, device).cpu() > 0
        both, either = (found & masks).sum(dim=(1, 2)), (found | masks).sum(dim=(1, 2))
        overlaps.extend((both / either).tolist())
    return float(np.mean(overlaps))


def main() -> None:
    arguments = read_arguments()
    torch.manual_seed(arguments.seed)
    if arguments.random_weights:
        network, processor = random_network()
    else:
        network = SamModel.from_pretrained(arguments.weights)
        processor = SamProcessor.from_pretrained(arguments.weights)
    network.to(arguments.device)
    for frozen in (network.vision_encoder, network.prompt_encoder):
        frozen.requires_grad_(False)
    optimizer = torch.optim.AdamW(network.mask_decoder.parameters(), lr=arguments.learning_rate)

    def examples(part: str) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        images = defect_images(arguments.export, part, arguments.images)
        random.shuffle(images)
        for image in images:
            yield read_example(image, arguments.export, processor, arguments.prompt, arguments.regions)

    random.seed(arguments.seed)
    print(f"before: mean IoU of val {mean_overlap(network, examples('val'), arguments.device):.3f}")
    for epoch in range(1, arguments.epochs + 1):
        network.train()
        losses = []
        for inputs, masks in examples("train"):
            loss = loss_of(answer(network, inputs, arguments.device), masks.to(arguments.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        overlap = mean_overlap(network, examples("val"), arguments.device)
        print(f"epoch {epoch}: loss {np.mean(losses):.4f}, mean IoU of val {overlap:.3f}", flush=True)
    print(f"test: mean IoU {mean_overlap(network, examples('test'), arguments.device):.3f}")
    network.save_pretrained(arguments.out)
    processor.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
