"""The procedural dataset behind `--data synthetic`: generated on first use, without a download."""

from pathlib import Path

from bench.data.cache import cache_folder
from bench.data.datamodule import DefectData
from bench.data.facts import CategoryFacts, categories_of
from bench.data.synthetic.images import CATEGORIES, VERSION, generate
from bench.errors import UsageError, unknown

_LICENCE = """\
The images and masks of this export were drawn by bench {version} (--data synthetic, category "{category}"). They show
nothing real, hold no one else's work, and are free to use under bench's own licence, MIT.
"""


class Synthetic(DefectData):
    """A synthetic category in the layout of MVTec AD, with exact masks, generated in `root`."""

    @property
    def is_synthetic(self) -> bool:
        """True unless another folder was named, whose images may be anybody's."""
        return not self.root

    @property
    def facts(self) -> CategoryFacts | None:
        """The symmetries of the drawn category."""
        return categories_of("synthetic").get(self.category_name)

    @property
    def licence(self) -> str | None:
        """The licence of bench; None for a category that it does not draw."""
        return _LICENCE if self.category_name in CATEGORIES else None

    @property
    def notice(self) -> str:
        """Empty for synthetic images."""
        return "" if self.category_name in CATEGORIES else super().notice

    def category_names(self) -> list[str]:
        """The categories that can be generated, present or not."""
        return list(CATEGORIES)

    def find_root(self) -> Path:
        """The folder of the synthetic categories; the requested one is generated if it is missing."""
        root = Path(self.root).expanduser() if self.root else cache_folder() / f"synthetic-v{VERSION}"
        if not (root / self.category_name).is_dir():
            if self.category_name not in CATEGORIES:
                raise unknown("synthetic category", self.category_name, CATEGORIES)
            try:
                generate(self.category_name, root / self.category_name)
            except OSError as error:
                raise UsageError(
                    f"cannot write the synthetic images to {root} ({error.strerror}); set --data.root or BENCH_CACHE"
                ) from error
        return root
