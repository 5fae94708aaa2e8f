"""Compare the images of a category with the counts that were published, and read every file completely."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from bench.data.layout import Category, Sample
from bench.data.saturation import Saturations
from bench.errors import UsageError
from bench.processes import available_cores


def count_deviations(category: Category, seen_one: Callable[[], None] = lambda: None) -> list[str]:
    """Deviations of a category's images: counts, where a source has some, and files that cannot be read.

    Sizes, modes and bytes are not compared: of these nothing was published. `seen_one` is called after each image.
    """
    return [*category.differences, *(f"{path}: not listed" for path in category.left_out), *_unread(category, seen_one)]


def total_deviations(found: Iterable[Category], published: Mapping[str, int]) -> list[str]:
    """Deviations of all categories together from the published counts of the whole dataset."""
    total: Counter[str] = Counter()
    for category in found:
        total.update(category.counts)
    return [
        f"{kind}: {total[kind]} images in all categories, not {count}"
        for kind, count in published.items()
        if total[kind] != count
    ]


def _unread(category: Category, seen_one: Callable[[], None]) -> Iterator[str]:
    samples = (*category.train, *category.test)
    threads = available_cores()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(samples), 8 * threads):
            part = samples[start : start + 8 * threads]
            for problem in pool.map(lambda sample: _problem(sample, category.saturation), part):
                if problem:
                    yield problem
                seen_one()


def _problem(sample: Sample, saturations: Saturations) -> str:
    try:
        sample.read_image()
        sample.read_mask()
        if saturations:
            sample.read_defects(saturations)
    except UsageError as error:
        return f"cannot be used: {error}"
    return ""
