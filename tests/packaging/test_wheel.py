"""The wheel works outside the checkout, with all of `conf/` inside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed, beside the packages of the test environment."""
    folder = tmp_path_factory.mktemp("wheel")
    succeed("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT)
    (wheel,) = folder.glob("*.whl")
    installed = folder / "installed"
    succeed("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", installed, wheel)
    return installed


def succeed(*arguments: object, target: Path | None = None, cwd: Path | None = None) -> str:
    """What Python prints when it runs with these arguments; with `target` before all other packages."""
    environment = os.environ | ({"PYTHONPATH": str(target)} if target else {})
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_what_runs_is_the_wheel_and_not_the_checkout(target, tmp_path):
    code = "import bench, bench.config.presets; print(bench.__file__); print(bench.config.presets.conf_folder())"
    package, conf = succeed("-c", code, target=target, cwd=tmp_path).splitlines()
    assert Path(package) == target / "bench" / "__init__.py"
    assert Path(conf) == target / "bench" / "conf"


def test_the_wheel_holds_every_setting_file(target):
    def contents(conf: Path) -> dict[Path, str]:
        return {path.relative_to(conf): path.read_text(encoding="utf-8") for path in conf.rglob("*.yaml")}

    assert contents(target / "bench" / "conf") == contents(CHECKOUT / "conf")


def test_the_wheel_holds_its_data_files_and_nothing_of_the_checkout_beside_the_package(target):
    assert (target / "bench" / "py.typed").is_file()
    assert (target / "bench" / "data" / "datasets" / "mvtec_ad.json").is_file()
    assert (target / "bench" / "records" / "published.json").is_file()
    pages = {path.name for path in (CHECKOUT / "src" / "bench" / "views").iterdir() if path.is_file()}
    assert {path.name for path in (target / "bench" / "views").iterdir() if path.is_file()} == pages
    (metadata,) = target.glob("bench-*.dist-info")
    assert {path.name for path in target.iterdir()} == {"bench", "bin", metadata.name}
    assert (metadata / "licenses" / "LICENSE").is_file()


def test_every_preset_is_listed(target, tmp_path):
    listed = json.loads(succeed("-m", "bench", "models", "--json", target=target, cwd=tmp_path))
    assert [model["name"] for model in listed] == sorted(path.stem for path in (CHECKOUT / "conf/model").glob("*.yaml"))


def test_the_command_is_installed(target, tmp_path):
    assert "bench fit --model" in succeed(target / "bin" / "bench", "--help", target=target, cwd=tmp_path)


def test_the_settings_of_a_run_are_found_and_typed(target, tmp_path):
    options = ("--model", "vae", "--category", "screw", "--data", "synthetic", "--print_config")
    printed = succeed("-m", "bench", "fit", *options, target=target, cwd=tmp_path)
    model = yaml.safe_load(printed)["model"]
    assert model["class_path"] == "bench.models.vae.VAE"
    assert isinstance(model["learning_rate"], float)
