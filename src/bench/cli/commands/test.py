"""`bench test`: repeat the test of a finished run."""

import sys
from pathlib import Path

from bench.cli.arguments import read_settings, run_parser
from bench.errors import UsageError


def run(typed: list[str]) -> int:
    """test the checkpoint of a finished run again"""
    parser = run_parser("test", "Test the checkpoint of a finished run again.")
    parser.add_argument("--run", type=Path, metavar="RUN", help="folder of the run")
    if {"-h", "--help"} & set(typed):
        parser.print_help()
        return 0
    known, rest = parser.parse_known_args(typed)
    options = read_settings(rest, parser)
    if not known.run:
        raise UsageError("no run; name its folder: --run runs/MODEL/CATEGORY/FINGERPRINT")

    from bench.cli.terminal import print_test
    from bench.config.paths import with_data_of_now
    from bench.config.settings import resolve
    from bench.config.trusted_code import check_is_of_run
    from bench.records.record import Record, settings_to_read
    from bench.runs.retest import test_again

    finished = Record.read(known.run)
    names = {"model": finished.model, "data": finished.dataset}
    check_is_of_run(known.run, names, finished.config, {"model": known.model, "data": known.data})
    own = settings_to_read(finished)
    files = [own if "data.root" in options else with_data_of_now(own)]
    config = resolve(model=known.model, data=known.data, category=None, files=files, options=options)
    evaluation, record = test_again(config, known.run, progress=sys.stdout.isatty() and not known.json)
    if evaluation is not None:  # None in all processes but the first
        print_test(evaluation, record, as_json=known.json)
    return 0
