"""Remarks on what is unusual in a category's images, one line each: nothing is silently left out or changed."""

from collections.abc import Iterator

from bench.data.geometry import Geometry
from bench.data.layout import Category
from bench.errors import counted

_LITTLE = 1.02  # a change of an image's shape that nobody notices


def remarks(category: Category, geometry: Geometry | None = None, *, labelled: bool = False) -> Iterator[str]:
    """Lines about files that are no images, missing masks and defects, and how reading changes the images."""
    yield from category.notes
    if left := category.left_out:
        yield f"{counted(len(left), 'file')} beside the images of {category.name} left out, such as {left[0]}"
    if not labelled:
        yield from _of_test(category)
    if geometry is None:  # only the files are described
        return
    for what, count in category.conversions.items():
        yield f"{counted(count, 'image')} of {category.name}: {what}"
    if line := describe_shapes(category, geometry):
        yield line


def describe_shapes(category: Category, geometry: Geometry) -> str | None:
    """How much images that are not square change; None if all are square."""
    sizes = [header.size for header in category.headers.values()]
    stretched = {max(size) / min(size) for size in sizes if max(size) > _LITTLE * min(size)}
    if not stretched:
        return None
    several = f" and {counted(len(set(sizes)) - 1, 'other size')}" if len(set(sizes)) > 1 else ""
    width, height = max(sizes, key=lambda size: max(size) / min(size))
    far = max(stretched)
    done = {
        "squash": f"are squashed by up to {far:.2f} to a square; --data.aspect pad or crop keeps their shape",
        "pad": f"are padded to a square, up to {1 - 1 / far:.0%} of it",
        "crop": f"lose up to {1 - 1 / far:.0%}, all but their middle square",
    }
    return f"images of {width} x {height}{several} {done[geometry.aspect]}"


def _of_test(category: Category) -> Iterator[str]:
    if not category.test:
        yield f"no test images of {category.name}: there will be a model and a threshold, and no metrics"
    elif not any(s.is_defect for s in category.test):
        yield f"no defect images of {category.name}: there will be no AUROC, nor any other figure of what is found"
    elif all(s.is_defect for s in category.test):
        yield f"no good test images of {category.name}: there will be no AUROC, nor any other figure of false alarms"
    elif not category.has_masks:
        yield f"no masks of {category.name}: there will be no metrics of pixels"
    elif missing := category.without_masks:
        yield f"{counted(missing, 'defect image')} of {category.name} without a mask: their pixels are not judged"
