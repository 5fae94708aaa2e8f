"""Score photos with the model beside this file: python predict.py PHOTO...; it needs numpy, Pillow and onnxruntime.

One line of JSON for each photo. `anomalous` is the verdict: a score above the threshold or, of a classifier, any class
but the first. A photo that cannot be read exactly is named and passed over; the exit status is then 1.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")


def read(path: Path | str, facts: dict[str, Any]) -> Image.Image:
    """A photo upright, as 8-bit grey or RGB; what cannot be read exactly ends with a ValueError."""
    image: Image.Image = Image.open(path, formats=FORMATS)
    if not image.mode.startswith("I") and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        raise ValueError(f"{path} has colours of 16 bits; save it as an 8-bit grey or RGB image")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ValueError(f"{path} holds several pictures; save the one that is meant as a file of its own")
    told = image.format != "PNG" or "exif" in image.info
    image.load()
    if not told and image.getexif().get(274, 1) in range(2, 9):
        raise ValueError(f"{path} has its EXIF orientation behind its pixels, where few look; save it upright")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        values, white = np.asarray(image).astype(np.int64), 2 ** facts["bits"] - 1
        if values.min() < 0 or values.max() > white:
            raise ValueError(f"{path} holds grey values beyond {facts['bits']} bits; save it with 8 bits")
        return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        wide, grey = image.convert("RGBA"), image.mode in ("1", "L", "LA")
        if wide.getchannel("A").getextrema()[0] != 255:
            raise ValueError(f"{path} has transparent pixels; save it as an 8-bit grey or RGB image")
        image = wide.convert("L" if grey else "RGB")
    if image.mode not in ("1", "L", "P", "RGB"):
        raise ValueError(f"{path} has pixels of type '{image.mode}'; save it as an 8-bit grey or RGB image")
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    if facts["channels"] == 1 and image.mode == "RGB":
        red, green, blue = (np.asarray(band) for band in image.split())
        if not (np.array_equal(red, green) and np.array_equal(green, blue)):
            raise ValueError(f"{path} is in colour, but the model learned from grey images; convert it to grey")
        return image.getchannel(0)
    return image


def fit(image: Image.Image, facts: dict[str, Any]) -> tuple[np.ndarray, list[int]]:
    """Its pixels (1, side, side, channels) as the model was trained on, and the box in them that is not padding."""
    size, crop, aspect = facts["size"], facts["crop"], facts["aspect"]
    resample, (width, height) = Image.Resampling[facts["interpolation"].upper()], image.size
    box = [0, 0, crop or size, crop or size]
    if aspect == "pad" and width != height:
        inner = [max(1, round(side * size / max(width, height))) for side in (width, height)]
        left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
        padded = Image.new(image.mode, (size, size), tuple(facts["padding"][image.mode]))
        padded.paste(image.resize((inner[0], inner[1]), resample), (left, top))
        image, box = padded, [left, top, left + inner[0], top + inner[1]]
    elif (width, height) != (size, size):
        left, top, side = (width - min(width, height)) // 2, (height - min(width, height)) // 2, min(width, height)
        middle = (left, top, left + side, top + side) if aspect == "crop" else None
        image = image.resize((size, size), resample, box=middle)
    if crop:
        edge = (size - crop) // 2
        image = image.crop((edge, edge, edge + crop, edge + crop))
    pixels = np.asarray(image if facts["channels"] == 1 else image.convert("RGB"))
    return pixels.reshape(1, box[3] if aspect != "pad" else size, -1, facts["channels"]), box


class Model:
    """The model and what its file says of it."""

    def __init__(self, path: Path | str, **options: Any) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"], **options)
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.facts = json.loads(self.metadata["preprocessing"])
        self.inputs = [each.name for each in self.session.get_inputs()]
        self.outputs = [each.name for each in self.session.get_outputs()]

    def score(self, pixels: np.ndarray, box: list[int]) -> dict[str, Any]:
        """The outputs for one photo's pixels: `score`, `anomalous`, and `map` or `class` where the method has them."""
        given = {"images": pixels, "box": np.array([box], np.int64)}
        found = self.session.run(self.outputs, {name: given[name] for name in self.inputs})
        return {name: value[0] for name, value in zip(self.outputs, found, strict=True)}

    def predict(self, path: Path | str) -> dict[str, Any]:
        """The outputs for a photo's file."""
        return self.score(*fit(read(path, self.facts), self.facts))


def main(paths: list[str]) -> int:
    """Print the score and the verdict of each photo; 1 where one could not be read."""
    model, status = Model(Path(__file__).with_name("model.onnx")), 0
    for path in paths:
        try:
            found = model.predict(path)
        except Exception as error:  # decoders of damaged files raise anything: SyntaxError, struct.error, ...
            print(f"predict.py: {path} is skipped: {error}", file=sys.stderr)
            status = 1
            continue
        line = {"path": path, "score": float(found["score"]), "anomalous": bool(found["anomalous"])}
        if "class" in found:
            line["class"] = json.loads(model.metadata["classes"])[int(found["class"])]
        print(json.dumps(line, ensure_ascii=False))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
