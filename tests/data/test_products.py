"""One model for several products learns from, holds out and is tested on exactly the images of each product alone."""

import numpy as np
import pytest

from bench.config.settings import Config, resolve
from bench.data.datamodule import DefectData
from bench.data.facts import categories_of
from bench.data.products import SeveralProducts, make_data, one_model_for, shared_facts
from bench.errors import UsageError
from fake_data import save
from fake_products import PRODUCTS, TOGETHER, write_products


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_products(tmp_path_factory.mktemp("products"))


def settings(root, category: str = "screw", **options: object) -> Config:
    texts = {"data.root": str(root), "data.image_size": "32", **{key: str(value) for key, value in options.items()}}
    return resolve(model="autoencoder_l2", data=None, category=category, files=[], options=texts)


def both(root, **options: object) -> tuple[SeveralProducts, dict[str, DefectData]]:
    """The data of one model for both products, and those of each product alone."""
    together = make_data(one_model_for(settings(root, **options), PRODUCTS))
    assert isinstance(together, SeveralProducts)
    return together, {name: make_data(settings(root, name, **options)) for name in PRODUCTS}


def names(data: DefectData, indices: list[int]) -> list[str]:
    return [data.category.train[index].relative for index in indices]


CHOICES = (
    {},
    {"seed": 3},
    {"data.validation_share": 0.25, "seed": 1},
    {"data.shots": 10, "seed": 2},
    {"data.contamination": 0.15, "seed": 4},
    {"data.shots": 12, "data.contamination": 0.25},
)


@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_the_images_of_each_part_are_those_of_each_product_alone_one_product_after_the_other(root, options):
    together, alone = both(root, **options)
    for name in ("validation_indices", "training_indices"):
        expected = [image for data in alone.values() for image in names(data, getattr(data, name))]
        assert sorted(names(together, getattr(together, name))) == sorted(expected)
    expected_test = [sample.relative for data in alone.values() for sample in data.category.test]
    assert [sample.relative for sample in together.category.test] == expected_test


@pytest.mark.parametrize("name", ["shots", "contamination"])
def test_chosen_training_images_are_those_of_each_product_alone(root, name):
    together, alone = both(root, **{"data.shots": 12, "data.contamination": 0.25})
    expected = [sample.relative for data in alone.values() for sample in getattr(data.chosen, name)]
    assert [sample.relative for sample in getattr(together.chosen, name)] == expected
    assert len(expected) == {"shots": 24, "contamination": 6}[name]


def test_a_grey_product_beside_a_coloured_one_has_three_equal_channels(root):
    together, _ = both(root)
    grey = [index for index, sample in enumerate(together.category.test) if sample.product == "screw"]
    image = together.test_batch(grey).image
    assert together.spec.channels == image.shape[1] == 3
    assert (image == image[:, :1]).all()


def test_an_image_in_a_random_pose_has_the_pose_that_it_has_alone(root):
    together, alone = both(root, **{"data.random_pose": "true", "data.crop": 24})
    count = len(alone["carpet"].category.test)
    screw = list(range(len(alone["screw"].category.test)))
    found, own = together.test_batch([count + index for index in screw]), alone["screw"].test_batch(screw)
    assert (found.image == own.image).all()
    assert all((one == other).all() for one, other in zip(found.mask, own.mask, strict=True))


def test_the_region_of_an_image_is_that_of_its_product(root, tmp_path):
    for name, side in (("carpet", 48), ("screw", 40)):
        region = np.zeros((side, side), np.uint8)
        region[: side // 2 + len(name)] = 255
        save(region, tmp_path / "regions" / f"{name}.png")
    together, alone = both(root, **{"data.region": tmp_path / "regions"})
    for sample in together.category.test:
        assert sample.region == tmp_path / "regions" / f"{sample.product}.png"
    expected = [sample.relative for data in alone.values() for sample in data.category.test]
    assert [sample.relative for sample in together.category.test] == expected


def test_every_image_knows_its_product(root):
    together, _ = both(root)
    for sample in (*together.category.train, *together.category.test):
        assert sample.relative.split("/")[0] == sample.product


def test_the_order_of_the_products_and_who_names_all_of_them_make_the_same_cell(root):
    first = one_model_for(settings(root), ["screw", "carpet"])
    assert first == one_model_for(settings(root), ["all"])
    assert first.category == TOGETHER
    assert make_data(first).full_category.digest == both(root)[0].full_category.digest


def test_an_image_that_changes_changes_the_data(root, tmp_path):
    other = write_products(tmp_path / "other")
    path = other / "screw" / "test" / "good" / "000.png"
    path.write_bytes((other / "screw" / "test" / "good" / "001.png").read_bytes())
    assert both(root)[0].full_category.digest != both(other)[0].full_category.digest


def test_a_symmetry_holds_where_every_product_has_it():
    facts = categories_of("mvtec_ad")
    for one in facts.values():
        for other in facts.values():
            found = shared_facts("both", [one, other])
            assert found is not None
            assert found.aligned == (one.aligned and other.aligned)
            assert (found.group == "texture") == (one.group == other.group == "texture")
            assert found.symmetry.must_not_rotate == (one.symmetry.must_not_rotate or other.symmetry.must_not_rotate)
            for name in ("hflip_symmetric", "rotation_symmetric_any", "rotation_symmetric_90"):
                expected = getattr(one.symmetry, name) and getattr(other.symmetry, name)
                assert getattr(found.symmetry, name) == expected
    assert shared_facts("both", [facts["screw"], None]) is None


def test_inverted_masks_of_one_product_are_found_though_another_has_that_defect_type(tmp_path):
    import cv2

    root = write_products(tmp_path / "data")
    for path in (root / "screw" / "ground_truth" / "blob").glob("*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    with pytest.raises(UsageError, match="all masks of screw/blob mark most of their image"):
        both(root)[0].prepare_data()


def test_groups_of_held_out_photos_are_of_one_product(tmp_path):
    from bench.data.layout import Category, Sample
    from bench.data.products import together

    def category(name: str) -> Category:
        samples = tuple(Sample(tmp_path / f"{name}{n}", f"{name}/train/good/{n}.png", "good") for n in range(4))
        own = Category(name, samples, (), held_out={samples[0].relative: 0, samples[1].relative: 1})
        own.__dict__.update(hashes={}, headers={})
        return own

    found = together("a+b", {"a": category("a"), "b": category("b")}, None)
    assert len(set(found.held_out.values())) == len(found.held_out) == 4


def test_the_batches_of_an_epoch_mix_the_products(root):
    together, _ = both(root, **{"data.batch_size": 16})
    owners = np.array([sample.product for sample in together.category.train])
    first = next(iter(together.train_dataloader())).indices.numpy()
    assert set(owners[first]) == set(PRODUCTS)
