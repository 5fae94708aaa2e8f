"""The options that several commands share."""

import os

import click

from bench.cli.command import Known, option
from bench.cli.completion import CATEGORIES, DATA, FILE, FILE_NAME, FOLDER_NAME, MODEL
from bench.config.presets import DEFAULT_DATA, preset_names
from bench.console import QUIET


def run_options() -> list[click.Option]:
    """The options that `fit` and `test` share."""
    return [
        option(
            "--model", type=MODEL, metavar="NAME", help="method: a name from 'bench models', or a YAML file of your own"
        ),
        data_option(),
        option("--json", is_flag=True, help="print the record as JSON instead of tables"),
    ]


def data_option(default: str | None = None) -> click.Option:
    """`--data`, with the names of the datasets."""
    others = ", ".join(name for name in preset_names("data") if name != DEFAULT_DATA)
    about = f"dataset: {DEFAULT_DATA} (default), {others}, or a YAML file"
    return option("--data", type=DATA, metavar="NAME", default=default, help=about)


def root_option(about: str = "folder that holds the categories (default: BENCH_DATA)") -> click.Option:
    """`--data.root`, which `fit` reads among its settings."""
    return option("--data.root", "root", type=FOLDER_NAME, metavar="FOLDER", help=about)


def one_model_option() -> click.Option:
    """`--one-model`, the products that one model is for."""
    about = "one model for several products of the data, or for all of them, instead of one for a category"
    return option("--one-model", type=CATEGORIES, metavar="A,B", help=about)


def config_option() -> click.Option:
    """`--config`, which may stand there several times."""
    return option("--config", type=FILE, metavar="FILE", multiple=True, help="YAML settings; repeatable")


def device_option() -> click.Option:
    """`--device` of commands that score with a finished run."""
    return option("--device", type=click.Choice(("auto", "cpu", "gpu", "mps")), default="auto", help="default: auto")


def own_file_options() -> list[click.Option]:
    """`--model` and `--data` of commands that read a run, which names both unless they are a user's own."""
    return [
        option(
            "--model", type=FILE_NAME, metavar="FILE", help="YAML file of a method of your own, if the run's is one"
        ),
        option(
            "--data", type=FILE_NAME, metavar="FILE", help="YAML file of a dataset of your own, if the run's is one"
        ),
    ]


def quiet_option() -> click.Option:
    """`--quiet`, which is BENCH_QUIET=1 for this command and the processes that it starts."""
    about = "no word about progress, as BENCH_QUIET=1; mistakes and remarks are said nevertheless"
    return option("--quiet", is_flag=True, expose_value=False, callback=_be_quiet, help=about)


def _be_quiet(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    before = os.environ.get(QUIET)
    os.environ[QUIET] = "1"

    def restore() -> None:
        if before is None:
            os.environ.pop(QUIET, None)
        else:
            os.environ[QUIET] = before

    ctx.call_on_close(restore)


def tracking_options(group: str) -> list[click.Option]:
    """The Weights & Biases options of `fit` and `sweep`."""
    modes = click.Choice(("online", "offline", "disabled"))
    return [
        option("--wandb", type=modes, help="Weights & Biases (default: online with a key)"),
        option("--group", metavar="NAME", help=f"W&B group (default: {group})"),
        option(
            "--wandb_images",
            type=click.Choice(("auto", "on", "off")),
            default="auto",
            help="test images to W&B: auto (default) = synthetic ones only, for licences forbid much; see docs",
        ),
        option("--wandb_checkpoint", is_flag=True, help="the finished model to W&B, as an artifact"),
    ]


def reading_options() -> list[click.Option]:
    """`--data.masks` and the other settings that turn files into pixels, as for `bench fit`."""
    masks = click.Choice(("required", "optional"))
    return [
        option("--data.masks", "masks", type=masks, help="whether some may lack"),
        option("--data.mask_threshold", "mask_threshold", type=int, metavar="N", help="least grey value of a defect"),
        option("--data.bits", "bits", type=int, metavar="N", help="that deep grey images use, 9 to 16"),
    ]


def reading_settings(known: Known) -> dict[str, object]:
    """These settings and the root, without those that were not typed."""
    typed = {name: getattr(known, name) for name in ("root", "masks", "mask_threshold", "bits")}
    return {name: value for name, value in typed.items() if value is not None}
