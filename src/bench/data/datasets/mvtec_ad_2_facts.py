"""Facts of MVTec AD 2 that need no images: its objects, and the test images whose masks its makers keep."""

from collections.abc import Mapping
from types import MappingProxyType

# Objects, and the images of each of the two private test sets, as MVTec's own check before an upload counts them.
PRIVATE_IMAGES: Mapping[str, int] = MappingProxyType({
    "can": 321, "fabric": 314, "fruit_jelly": 255, "rice": 277, "sheet_metal": 142, "vial": 276, "wallplugs": 232,
    "walnuts": 228,
})  # fmt: skip
# The private test sets, and how their images are called after their number.
PRIVATE_SETS: Mapping[str, str] = MappingProxyType({"test_private": "regular", "test_private_mixed": "mixed"})


def private_names(category: str, private_set: str) -> list[str]:
    """The names of an object's private test images, without suffix."""
    return [f"{number:03}_{PRIVATE_SETS[private_set]}" for number in range(PRIVATE_IMAGES[category])]
