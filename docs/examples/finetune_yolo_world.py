"""Fine-tune YOLO-World on an export of `bench data export --format yolo`.

    pip install ultralytics
    python finetune_yolo_world.py exports/mvtec_ad-screw-yolo --weights yolov8s-worldv2.pt --epochs 50

Ultralytics downloads weights that it knows by name, and CLIP's text encoder, on first use. Where neither can be had,
`--random-weights yolov8n-worldv2.yaml` trains a fresh network on random text features: enough to see that everything
runs, and nothing else.
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLOWorld
from ultralytics.models.yolo.world import WorldTrainer
from ultralytics.nn.tasks import WorldModel


def random_text_features(
    model: WorldModel, text: list[str], batch: int = 80, cache_clip_model: bool = False
) -> torch.Tensor:
    """In the place of CLIP's: a unit vector for each prompt, (1, prompts, 512), the same for the same words."""
    rows = []
    for prompt in text:
        seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big", signed=True)
        rows.append(torch.randn(512, generator=torch.Generator().manual_seed(seed)))
    features = torch.nn.functional.normalize(torch.stack(rows), dim=1)
    return features[None].to(next(model.parameters()).device)


class RandomTextTrainer(WorldTrainer):
    """Keeps random features out of the cache beside the images, where a later run would take them for CLIP's."""

    def generate_text_embeddings(self, texts: list[str], batch: int, cache_dir: Path) -> dict[str, torch.Tensor]:
        return dict(zip(texts, random_text_features(self.model, texts)[0], strict=True))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="folder of the export")
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--weights", help="pretrained weights: a .pt file, or a name such as yolov8s-worldv2.pt")
    weights.add_argument("--random-weights", metavar="YAML", help="a fresh network, such as yolov8n-worldv2.yaml")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--image-size", type=int, default=640, help="small defects want more pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the training images, the first by name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, 0 or 0,1 (default: Ultralytics' choice)")
    parser.add_argument("--out", type=Path, default=Path("runs/yolo_world"), help="folder of weights and curves")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    settings: dict[str, Any] = {}
    if arguments.random_weights:
        WorldModel.get_text_pe = random_text_features
        settings["trainer"] = RandomTextTrainer
    network = YOLOWorld(arguments.weights or arguments.random_weights)
    network.train(
        # The classes of this file are prompts: YOLO-World reads them.
        data=str(arguments.export.resolve() / "data-world.yaml"),
        epochs=arguments.epochs,
        imgsz=arguments.image_size,
        batch=arguments.batch_size,
        fraction=arguments.fraction,
        seed=arguments.seed,
        device=arguments.device,
        project=str(arguments.out.resolve().parent),
        name=arguments.out.name,
        exist_ok=True,
        **settings,
    )
    found = network.val(data=str(arguments.export.resolve() / "data-world.yaml"), split="test", plots=False)
    print(f"test: mAP50 {found.box.map50:.3f}, mAP50-95 {found.box.map:.3f}")


if __name__ == "__main__":
    main()
