import json

import pytest


@pytest.mark.slow
def test_the_first_command_of_the_readme_ends_in_an_honest_result(bench, own_folder):
    outcome = bench("fit", "--model", "vae", "--category", "screw", "--data", "synthetic", "--json")
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    assert record["official"] is False
    assert record["metrics"]["image_auroc"] > 0.6
    assert record["cost"]["fit_seconds"] + record["cost"]["test_seconds"] < 300
    assert len(list(own_folder.rglob("*_anomalous.png"))) == 2
