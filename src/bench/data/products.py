"""One model for several products: the images of all of them together, each as a run on it alone would have it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from inspect import signature
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.config.products import ALL, read_products
from bench.config.settings import Config
from bench.config.tracks import TRACKS
from bench.console import say
from bench.data.datamodule import DefectData
from bench.data.facts import CategoryFacts, Symmetry
from bench.data.layout import Category, Sample
from bench.data.training_images import ChosenImages
from bench.errors import UsageError

# Symmetries that a normal image may be changed by; all others forbid a change, and one product is enough to forbid it.
_FORBIDDING = ("must_not_rotate",)


class SeveralProducts(DefectData):
    """Several products of one dataset, which one model learns.

    Training, held-out and test images are those of each product's own datamodule, `alone`, one product after the other:
    who compares one model for each with one for all compares the same images. Grey images become three equal channels
    where another product is in colour. Images know their product (`Sample.product`); no method is told.

    Args:
        alone: the datamodule of each product, in the order of `products`.
    """

    def __init__(self, alone: Sequence[DefectData], category: str, seed: int, protocol: Any, **settings: Any) -> None:
        super().__init__(category, seed, protocol, **settings)
        self.alone = tuple(alone)

    @property
    def named(self) -> Iterator[tuple[str, DefectData]]:
        """Each product's name with its own datamodule."""
        assert self.products is not None
        yield from zip(self.products, self.alone, strict=True)

    def find_root(self) -> Path:
        """The folder that holds the products."""
        return self.alone[0].find_root()

    def category_names(self) -> list[str]:
        """The names of all categories of the dataset."""
        return self.alone[0].category_names()

    def prepare_data(self) -> None:
        """Fill the cache; say what figures of a product alone this run has not."""
        super().prepare_data()
        if any(data.full_category.saturation for data in self.alone):
            say("bench: no sPRO: it is of a run on one product")

    def counts_of(self, product: str) -> dict[str, int]:
        """The number of images of a product: `train/good`, `test/good` and each of its own `test/<defect type>`."""
        return dict(self.named)[product].full_category.counts

    @property
    def facts(self) -> CategoryFacts | None:
        """What holds for every product."""
        return shared_facts(self.category_name, [data.facts for data in self.alone])

    @property
    def notice(self) -> str:
        """The sentences of all products below pictures of their images."""
        return " ".join(dict.fromkeys(filter(None, (data.notice for data in self.alone))))

    @property
    def official(self) -> bool:
        """Whether every product is as its makers published it."""
        return not self.differences and all(data.official for data in self.alone)

    @property
    def is_synthetic(self) -> bool:
        """Whether the images of every product are synthetic."""
        return all(data.is_synthetic for data in self.alone)

    @cached_property
    def full_category(self) -> Category:
        """All products as one category; its digest is over the images of all."""
        return together(self.category_name, {name: data.full_category for name, data in self.named}, self.facts)

    @cached_property
    def chosen(self) -> ChosenImages:
        """The training images of all products, of each those that a run on it alone has."""
        found = {name: data.chosen for name, data in self.named}
        train = (sample for name, each in found.items() for sample in _of(name, each.category.train))
        test = (sample for name, each in found.items() for sample in _of(name, each.category.test))
        part = self.full_category.part(tuple(train), tuple(test))
        return ChosenImages(
            part,
            None if self.shots is None else tuple(s for name, each in found.items() for s in _of(name, each.shots)),
            tuple(s for name, each in found.items() for s in _of(name, each.contamination))
            if self.contamination
            else None,
        )

    @cached_property
    def validation_indices(self) -> list[int]:
        """Indices of the held-out images: of each product those that a run on it alone holds out."""
        counts = [len(data.category.train) for data in self.alone]
        starts = [0, *accumulate(counts)]
        pairs = zip(starts, self.alone, strict=False)
        return [start + index for start, data in pairs for index in data.validation_indices]


def make_data(config: Config, category: str | None = None) -> DefectData:
    """The data of a run; of one model for several products, all of them. `category` replaces that of the settings."""
    dataset: type[DefectData] = config.data.load_class()
    seed, protocol, settings = config.settings["seed"], config.settings["protocol"], config.section("data")
    name = config.category if category is None else category
    products = settings.get("products")
    if products is None:
        return dataset(name, seed, protocol, **settings)
    own = {key: value for key, value in settings.items() if key in signature(DefectData).parameters}
    alone = [dataset(product, seed, protocol, **{**settings, "products": None}) for product in products]
    return SeveralProducts(alone, name, seed, protocol, **own)


def one_model_for(config: Config, products: Sequence[str]) -> Config:
    """The settings of one model for these products, or for `all` of the dataset; a UsageError where these are few."""
    method = config.model.load_class().track  # type: ignore[attr-defined] # a Detector: its settings were parsed
    if TRACKS[method].learns_from_defects:
        reason = TRACKS[method].idle["data.products"]
        raise UsageError(f"{config.model.name} {reason}: leave out --one-model")
    if list(products) == [ALL]:
        products = make_data(config, ALL).category_names()
        if len(products) < 2:
            raise UsageError(
                f"--one-model all: the data have one product, {products[0]}; fit it: --category {products[0]}"
            )
    return config.for_products(read_products(list(products)))


def together(name: str, products: Mapping[str, Category], facts: CategoryFacts | None) -> Category:
    """One category of several products, one after the other; what is known of each is kept with its name."""
    each = products.values()
    found = Category(
        name,
        tuple(sample for product, own in products.items() for sample in _of(product, own.train)),
        tuple(sample for product, own in products.items() for sample in _of(product, own.test)),
        tuple(path for own in each for path in own.left_out),
        facts,
        tuple(f"{product}: {text}" for product, own in products.items() for text in own.differences),
        tuple(text for own in each for text in own.notes),
        any(own.dealt for own in each),
        _held_out(list(each)),
    )
    # Files are read once: those of a product may have been read for its own choice of training images.
    found.__dict__.update(
        hashes={path: digest for own in each for path, digest in own.hashes.items()},
        headers={path: header for own in each for path, header in own.headers.items()},
    )
    return found


def shared_facts(name: str, facts: Sequence[CategoryFacts | None]) -> CategoryFacts | None:
    """What is true of all products: a change of pose is allowed where all allow it; None where one is unknown."""
    known = [each for each in facts if each is not None]
    if len(known) < len(facts):
        return None
    poses = {
        each.name: (any if each.name in _FORBIDDING else all)(getattr(own.symmetry, each.name) for own in known)
        for each in fields(Symmetry)
    }
    textures = all(own.group == "texture" for own in known)
    aligned = all(own.aligned for own in known)
    return CategoryFacts(name, "texture" if textures else "object", aligned, Symmetry(**poses))


def _held_out(products: Sequence[Category]) -> dict[str, int]:
    """The images that were held out by name, with groups that no two products share."""
    found: dict[str, int] = {}
    for own in products:
        start = max(found.values(), default=-1) + 1
        found |= {relative: start + group for relative, group in own.held_out.items()}
    return found


def _of(product: str, samples: Sequence[Sample] | None) -> Iterator[Sample]:
    for sample in samples or ():
        yield replace(sample, product=product)
