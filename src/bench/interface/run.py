"""One run from Python: fit a method, load a finished run, score new images."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from PIL import Image

from bench.config.given_arguments import GivenArguments
from bench.config.presets import Preset, preset_of_class
from bench.config.products import joined_name, read_products
from bench.config.setting_words import Typed, read_words
from bench.config.settings import Config, resolve
from bench.config.tracks import TRACKS
from bench.data.datamodule import DefectData
from bench.data.products import one_model_for
from bench.errors import UsageError
from bench.interface.scored import Picture, Scored, score_pictures
from bench.metrics.catalogue import interval_text, metric_text, title_of
from bench.models.base import Detector
from bench.records.finished import read_finished
from bench.records.predictions import parse_predictions
from bench.records.product_table import ALL_TOGETHER, product_table
from bench.records.record import PREDICTIONS, Metrics, Record
from bench.records.summary import remarks, summary
from bench.runs.chosen_threshold import taken_threshold
from bench.runs.run import Options
from bench.runs.run import fit as fit_cell
from bench.runs.scoring.scorer import Device, FinishedRun, load_run
from bench.tracking.service import Images
from bench.views.page_frame import embedded

if TYPE_CHECKING:
    import pandas as pd

Model = str | Path | type[Detector] | Detector
Data = str | Path | type[DefectData] | DefectData
Threshold = float | str | Path | None
_PICTURES = ("most_anomalous.png", "least_anomalous.png", "confusion.png", "mistakes.png")
_COLUMNS = ("path", "sha256", "defect_type", "is_defect", "score")


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run.

    Args:
        folder: the folder of the run.
        record: its settings, data, metrics, costs and environment.
        is_new: False where `fit` found the run finished already.
        own: the user's own classes or files that it was made with, by `model` and `data`.
    """

    folder: Path
    record: Record
    is_new: bool = True
    own: Mapping[str, str | Preset | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The run in one line."""
        record, headline = self.record, TRACKS[self.record.track].headline
        state: str = record.status
        if headline in record.metrics:
            state += f", {title_of(headline)} {metric_text(record.metrics[headline])}"
        return f"Run({record.model} on {record.category}, seed {record.seed}: {state}; {self.folder})"

    @property
    def metrics(self) -> Metrics:
        """The metrics of the test by name, such as `image_auroc`; None for one that is undefined on these data."""
        return self.record.metrics

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """The test images, a row each: path, sha256, defect_type, is_defect, score, and a classifier's logits."""
        import pandas as pd

        file = self.folder / PREDICTIONS
        if not file.is_file():
            raise UsageError(f"no {file}; run the cell again")
        rows = parse_predictions(file.read_bytes(), file, self.record)
        frame = pd.DataFrame({name: [getattr(row, name) for row in rows] for name in _COLUMNS})
        for index, name in enumerate(self.record.data.classes or {} if rows and rows[0].logits else {}):
            frame[f"logit {name}"] = [row.logits[index] for row in rows]
        return frame

    @overload
    def score(self, images: Picture, *, device: Device = "auto", threshold: Threshold = None) -> Scored: ...

    @overload
    def score(self, images: list[Picture], *, device: Device = "auto", threshold: Threshold = None) -> list[Scored]: ...

    def score(
        self, images: Picture | list[Picture], *, device: Device = "auto", threshold: Threshold = None
    ) -> Scored | list[Scored]:
        """Score images that the run never saw, resized as in its test.

        Args:
            images: one image, or a list of several: the path of a file, a PIL image, or an array (H, W) or (H, W, 3) of
                uint8, or (H, W) of uint16. In a list, a folder stands for all images below it.
            device: what it is computed on: auto, cpu, gpu or mps.
            threshold: decides instead of the record's: a number, or the path of a
                `threshold.json` of `bench threshold`.

        Returns:
            A `Scored` for one image; for a list, a list in its order.

        Raises:
            UsageError: an image cannot be read, or is in colour where the run learned from grey images; the threshold
                is of another run.
        """
        taken = None if threshold is None else taken_threshold(self.folder, self.record, threshold)
        if isinstance(images, list):
            return score_pictures(replace(self._scorer(device), taken=taken), images)
        if isinstance(images, str | Path) and Path(images).expanduser().is_dir():
            raise UsageError(f"{images} is a folder, not an image; give it in a list: [{str(images)!r}]")
        return score_pictures(replace(self._scorer(device), taken=taken), [images])[0]

    def _scorer(self, device: Device) -> FinishedRun:
        if device not in self._scorers:
            model, data = (self.own.get(kind) for kind in ("model", "data"))
            self._scorers[device] = load_run(self.folder, model=model, data=data, device=device)
        return self._scorers[device]

    @cached_property
    def _scorers(self) -> dict[Device, FinishedRun]:
        return {}

    def _repr_html_(self) -> str:
        """The run in a notebook: what it found in a sentence, its metrics with their intervals, and its pictures."""
        record = self.record
        title = f"<b>{html.escape(record.model)}</b> on {html.escape(record.category)}, seed {record.seed}"
        lines = [f"<p>{title}</p>"]
        lines += [f"<p>{html.escape(line)}</p>" for line in (summary(record), *remarks(record)) if line]
        if (products := product_table(record)) is not None:
            rows = [products.titles, *products.rows]
            shown = ["".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows]
            lines.append(f"<table>{''.join(f'<tr>{row}</tr>' for row in shown)}</table><p>{ALL_TOGETHER}:</p>")
        lines.append("<table>")
        for name, value in record.metrics.items():
            cells = title_of(name), metric_text(value), interval_text(record.intervals.get(name))
            lines.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
        lines.append("</table>")
        for name in _PICTURES:
            if (path := self.folder / name).is_file():
                with Image.open(path) as picture:
                    about = name.removesuffix(".png").replace("_", " ")
                    lines.append(f'<p>{about}</p><img alt="{about}" src="{embedded(picture.convert("RGB"))}">')
        return "\n".join(lines)


def fit(
    model: Model | None = None,
    category: str | None = None,
    *,
    one_model: str | Sequence[str] | None = None,
    data: Data | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    config: Sequence[Path | str | Mapping[str, Any]] = (),
    runs: Path | str = "runs",
    force: bool = False,
    resume: Path | str | None = None,
    progress: bool = True,
    wandb: str | None = None,
    group: str | None = None,
    wandb_images: Images = "auto",
    wandb_checkpoint: bool = False,
) -> Run:
    """Train and test one method on one category, as `bench fit` does; a run that is finished already is found again.

    Args:
        model: a preset's name (`bench models` lists them), the path of a YAML file of your own, a class, or an
            instance: of that the arguments count, for the run sets its seed and then builds its own.
        category: a folder below the data root, such as screw.
        one_model: the products that one model is for, such as `["bottle", "screw"]`, or `all` of the data, instead of a
            category.
        data: a dataset's name (default: mvtec_ad), the path of a YAML file, a class derived from `DefectData`, or an
            instance, of which the arguments count.
        seed: seed of everything random (default: 0).
        settings: values by the command line's names, such as `{"data.image_size": 256}` or `{"image_size": 256}`.
        config: YAML files, or mappings, as for `--config`; later ones replace earlier ones, `settings` replaces all.
        runs: folder of all runs.
        force: run again although a finished record is there.
        resume: folder of an interrupted run, to go on from its last epoch.
        progress: whether to tell on stderr how far it is: by a bar on a terminal and in a notebook, else by lines.
        wandb: online, offline or disabled (default: online with a key, else offline).
        group: W&B's group (default: the model's name).
        wandb_images: test images to W&B: auto = synthetic ones only, on, off.
        wandb_checkpoint: whether the finished model goes to W&B.

    Returns:
        The finished run.

    Raises:
        UsageError: a mistake in the input, in one line that says what to do.
        RunError: the run began and failed; its record holds the reason.
        KeyboardInterrupt: it was interrupted; `resume` goes on with it.

    Example:
        >>> import bench
        >>> small = {"model.weights": "none", "data.image_size": 64}
        >>> run = bench.fit("padim_mobilenetv2", "screw", data="synthetic", settings=small)
        >>> run.record.status, len(run.predictions)
        ('finished', 59)
        >>> bench.load(run.folder).metrics == run.metrics
        True
    """
    own = {"model": _chosen("model", model), "data": _chosen("data", data)}
    given = [*_given("model", model), *_given("data", data)]
    if isinstance(data, DefectData) and one_model is None:
        category = category or data.category_name
    if one_model is not None:
        if category is not None:
            raise UsageError(f"one_model names the products; leave out the category {category}")
        one_model = read_products(one_model)
        category = joined_name(one_model)
    where = None if resume is None else Path(resume).expanduser()
    words = {**(settings or {}), **({} if seed is None else {"seed": seed})}
    typed = Typed("bench fit", tuple((f"--{name}", as_text(value)) for name, value in words.items()), ())
    files = [each if isinstance(each, Mapping) else Path(each).expanduser() for each in config]
    files, _, options = read_words(typed, **own, category=category, files=[*given, *files], resume=where)
    found = resolve(**own, category=category, files=files, options=options)
    if one_model is not None:
        found = one_model_for(found, one_model)
    chosen = Options(
        Path(runs).expanduser(), force, where, wandb, group, wandb_images, wandb_checkpoint, progress=progress
    )
    return fit_configured(found, chosen, own)


def fit_configured(config: Config, options: Options, own: Mapping[str, str | Preset | None] | None = None) -> Run:
    """Run one cell of complete settings, or find its finished run; `own` as for `Run`."""
    record, folder, was_there = fit_cell(config, options)
    return Run(folder, record, not was_there, own or {})


def load(folder: Path | str, *, model: Model | None = None, data: Data | None = None) -> Run:
    """A finished run from its folder.

    Args:
        folder: the folder of the run, such as `runs/padim/screw/0123456789abcdef`.
        model: the method, if it is one of your own, as for `fit`: a file never names code that runs.
        data: the dataset, if it is one of your own.

    Raises:
        UsageError: the folder holds no finished run.
    """
    where = Path(folder).expanduser()
    return Run(where, read_finished(where), False, {"model": _chosen("model", model), "data": _chosen("data", data)})


def _chosen(kind: str, given: Any) -> str | Preset | None:
    """A name or path as text; a class or an instance as its preset."""
    if given is None or isinstance(given, str | Preset):
        return given
    if isinstance(given, Path):
        return str(given)
    if isinstance(given, type):
        return preset_of_class(kind, given)
    if not isinstance(given, GivenArguments):
        raise UsageError(f"a {type(given).__name__} is no {kind}; give a name, the path of a YAML file, or a class")
    return preset_of_class(kind, type(given))


def _given(kind: str, made: Any) -> list[dict[str, Any]]:
    """The arguments of an instance as settings."""
    if not isinstance(made, GivenArguments):
        return []
    given = made.given_arguments()
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    of_run = {name: plain[name] for name in ("seed", "protocol") if name in plain}
    own = {name: value for name, value in plain.items() if name not in ("spec", "category", *of_run)}
    return [of_run | {kind: own}]


def as_text(value: Any) -> str:
    """A value as the command line would be given it; a UsageError for one that no setting has."""
    if isinstance(value, str | Path):
        return str(value)
    try:
        return json.dumps(value)
    except TypeError as error:
        raise UsageError(
            f"a {type(value).__name__} is no value of a setting; give a number, a text or a list"
        ) from error
