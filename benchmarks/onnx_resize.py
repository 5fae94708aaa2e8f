"""Whether onnxruntime's antialiased resize makes Pillow's pixels: on random photos of 100 sizes.

As long as it does not, an exported file takes pixels of the model's size (docs/export.md):

    python benchmarks/onnx_resize.py
"""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from PIL import Image

SIDES = (64, 224, 256)
FILTERS = {"linear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}


def session(mode: str, side: int) -> onnxruntime.InferenceSession:
    """A graph that resizes (1, 3, height, width) bytes to a square."""
    node = helper.make_node(
        "Resize", ["images", "", "", "sizes"], ["resized"], mode=mode, antialias=1, axes=[2, 3], cubic_coeff_a=-0.5
    )
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("resized", TensorProto.UINT8, None)],
        [helper.make_tensor("sizes", TensorProto.INT64, [2], [side, side])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def main() -> None:
    """Print how many sizes differ, and by how much."""
    for mode, resample in FILTERS.items():
        sessions, rng = {side: session(mode, side) for side in SIDES}, np.random.default_rng(0)
        differing, largest = 0, 0
        for number in range(100):
            side = SIDES[number % len(SIDES)]
            width, height = (int(each) for each in rng.integers(40, 1300, 2))
            photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            expected = np.asarray(Image.fromarray(photo).resize((side, side), resample)).astype(int)
            (found,) = sessions[side].run(None, {"images": np.ascontiguousarray(photo.transpose(2, 0, 1)[None])})
            difference = int(np.abs(found[0].transpose(1, 2, 0).astype(int) - expected).max())
            differing, largest = differing + (difference > 0), max(largest, difference)
        print(f"{mode}: {differing} of 100 sizes differ, by up to {largest} grey levels")


if __name__ == "__main__":
    main()
