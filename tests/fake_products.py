"""Two tiny products, made by script: one in colour, one in grey, with defect types of the same names."""

from pathlib import Path

from PIL import Image

from fake_data import write_category

PRODUCTS = ("carpet", "screw")
TOGETHER = "carpet+screw"


def write_products(root: Path, *, masks_of_screw: bool = True) -> Path:
    """Write `root/carpet` in colour and `root/screw` in grey, of other sizes and numbers of images; the root.

    Defects are faint, so that no figure is perfect.
    """
    write_category(root, "carpet", train=20, good=7, defects={"blob": 5, "scratch": 4}, contrast=0.3)
    screw = write_category(root, "screw", side=40, train=31, good=6, defects={"blob": 3, "bent": 5}, contrast=0.15)
    for path in (*screw.glob("train/*/*.png"), *screw.glob("test/*/*.png")):
        with Image.open(path) as image:
            grey = image.convert("L")
        grey.save(path)
    if not masks_of_screw:
        for path in screw.glob("ground_truth/*/*.png"):
            path.unlink()
    return root


def quick_method(root: Path) -> tuple[str, ...]:
    """Options of a quick PaDiM with random weights on data below `root`; the products are named by who uses them."""
    model = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")
    return (*model, "--data.root", str(root), "--data.image_size", "32")
