"""`bench test`: test the checkpoint of a finished run again."""

from bench.cli.command import Known, command, option
from bench.cli.completion import RUN, complete_settings
from bench.cli.options import run_options
from bench.errors import UsageError


@command(
    "Test the checkpoint of a finished run again.",
    *run_options(),
    option("--run", type=RUN, metavar="RUN", help="folder of the run"),
    settings=complete_settings,
)
def run(known: Known) -> int:
    """Print the metrics of a repeated test."""
    from bench.cli.early import check_cell
    from bench.config.paths import with_data_of_now
    from bench.config.setting_words import Vocabulary, any_vocabulary
    from bench.config.settings import read_layers, resolve
    from bench.config.trusted_code import check_is_of_run

    if not known.run:
        any_vocabulary(known.settings).full()  # an unknown option is the first mistake to tell
        raise UsageError("no run; name its folder: --run runs/MODEL/CATEGORY/FINGERPRINT")

    from bench.records.finished import check_has_model
    from bench.records.record import Record, settings_to_read

    finished = Record.read(known.run)
    check_has_model(known.run, finished)
    names = {"model": finished.model, "data": finished.dataset}
    check_is_of_run(known.run, names, finished.config, {"model": known.model, "data": known.data})
    own = settings_to_read(finished)
    layers = read_layers(model=known.model, data=known.data, category=None, files=[own])
    options = Vocabulary(known.settings, [layers.model], layers.data).full()
    files = [own if "data.root" in options else with_data_of_now(own)]
    layers = read_layers(model=known.model, data=known.data, category=None, files=files)
    check_cell(layers, layers.categories, options)

    from bench.cli.terminal import print_test
    from bench.runs.retest import test_again

    config = resolve(model=known.model, data=known.data, category=None, files=files, options=options)
    evaluation, record = test_again(config, known.run, progress=True)
    if evaluation is not None:  # None in all processes but the first
        print_test(evaluation, record, as_json=known.json)
    return 0
