"""The procedural dataset behind `--data synthetic`: made on first use, no download."""

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
    """A made-up category in the layout of MVTec AD, with exact masks; root is where it is made."""

    @property
    def is_synthetic(self) -> bool:
        """True unless another folder was named, whose images may be anybody's."""
        return not self.root

    @property
    def facts(self) -> CategoryFacts | None:
        """Symmetries of what is drawn."""
        return categories_of("synthetic").get(self.category_name)

    @property
    def licence(self) -> str | None:
        """Ours."""
        return _LICENCE if self.category_name in CATEGORIES else None

    @property
    def notice(self) -> str:
        """Nothing need be said of pictures of our own making."""
        return "" if self.category_name in CATEGORIES else super().notice

    def category_names(self) -> list[str]:
        """Those that can be made, wherever they are."""
        return list(CATEGORIES)

    def find_root(self) -> Path:
        """The folder of the made-up categories; makes the one asked for where it is missing."""
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
