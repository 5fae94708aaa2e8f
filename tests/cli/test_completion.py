"""A shell completes commands, options, methods, datasets, categories and runs, and asks without importing torch."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

PROMPT = "ready> "


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a `bench` that shells find."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bench "$@"\n')
    (folder / "bench").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def bash(program: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A real bash that sourced the script: what its line is after these keys."""
    monkeypatch.setenv("BENCH_DATA", str(data_root))
    monkeypatch.setenv("PS1", PROMPT)
    monkeypatch.setenv("TERM", "dumb")
    shell = pexpect.spawn("bash", ["--norc", "--noprofile"], encoding="utf-8", timeout=20, dimensions=(24, 200))
    shell.expect_exact(PROMPT)
    shell.sendline('eval "$(bench completion bash)"; PS1=; echo "so" "it" "is"')
    shell.expect_exact("so it is\r\n")

    def after(keys: str) -> str:
        shell.send(f"{keys}\x01echo '\x05'\r")  # to the begin of the line, to its end, and print it
        shell.expect(r"\nbench [^\r]*\r\n")
        return str(shell.after).strip("\r\n")

    yield after
    shell.close(force=True)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("bench fi\t", "bench fit "),
        ("bench fit --model deep_svdd_s\t", "bench fit --model deep_svdd_soft "),
        ("bench fit --model pad\t", "bench fit --model padim"),
        ("bench fit --category scr\t", "bench fit --category screw "),
        ("bench fit --data synth\t--category carp\t", "bench fit --data synthetic --category carpet "),
        ("bench fit padim scr\t", "bench fit padim screw "),
        ("bench fit --print\t", "bench fit --print_config "),
        ("bench fit padim --model.red\t", "bench fit padim --model.reduction "),
        ("bench data desc\t", "bench data describe "),
    ],
)
def test_bash_completes(bash, keys, line):
    assert bash(keys) == line


def test_bash_completes_the_folder_of_a_run(bash, own_folder):
    run = own_folder / "runs/vae/screw/0123456789abcdef"
    run.mkdir(parents=True)
    (run / "record.json").write_text("{}")
    for command in ("report", "compare", "test --run", "predict photo.png --run", "fit --resume"):
        assert bash(f"bench {command} ru\t") == f"bench {command} runs/vae/screw/0123456789abcdef "


# What makes the shell ready: its keys as in bash, the script, no prompt, and a word that says so.
STARTS = {
    "zsh": (
        ["-f"],
        'bindkey -e; autoload -Uz compinit; compinit -D -u; eval "$(bench completion zsh)"; PS1=; PROMPT_EOL_MARK=; '
        'echo "so" "it" "is"',
    ),
    "fish": (
        ["--no-config"],
        "bench completion fish | source; function fish_prompt; end; set -g fish_autosuggestion_enabled 0; "
        'echo "so" "it" "is"',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", STARTS)
def test_zsh_and_fish_complete_what_bash_does(program, data_root, own_folder, monkeypatch, shell):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    monkeypatch.setenv("BENCH_DATA", str(data_root))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("HOME", str(own_folder))
    options, start = STARTS[shell]
    child = pexpect.spawn(path, options, encoding="utf-8", timeout=30, dimensions=(24, 200))
    try:
        child.sendline(start)
        child.expect(r"so it is\r?\n")
        for keys, line in (
            ("bench fi\t", "bench fit"),
            ("bench fit --model deep_svdd_s\t", "bench fit --model deep_svdd_soft"),
            ("bench fit --category scr\t", "bench fit --category screw"),
            ("bench fit padim scr\t", "bench fit padim screw"),
            ("bench fit padim --model.red\t", "bench fit padim --model.reduction"),
            ("bench data desc\t", "bench data describe"),
        ):
            child.send(f"{keys}\x01echo '\x05'\r")
            child.expect(r"\nbench [^\r\n]*\r")
            assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", str(child.after)).strip() == line
    finally:
        child.close(force=True)


def offered(words: str, shell: str = "bash") -> str:
    """What `bench` answers to a shell that completes the last of these words."""
    last = words.split(" ")[-1] if shell == "fish" else str(len(words.split(" ")) - 1)  # fish names the word itself
    place = {"COMP_WORDS": words, "COMP_CWORD": last, "_BENCH_COMPLETE": f"{shell}_complete"}
    code = "from bench.cli.main import main; main(); import sys; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | place, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("bench fit --model pad", r"plain,padim\nplain,padim_effb5_paper\n.*"),
        ("bench fit --data.root ", r"dir,\n"),
        ("bench fit --model ./", r"file,./\n"),
        ("bench fit --wandb o", r"plain,online\nplain,offline\n"),
        ("bench fit --model.", r""),
        ("bench fit --ep", r"plain,--epochs\n"),
        ("bench fit vae --model.lat", r"plain,--model.latent_dim\n"),
        ("bench fit --model nothing --model.", r""),
        ("bench fit --frobnicate --mod", r"plain,--model\n"),
        ("bench sweep --models padim,va", r"plain,padim,vae\n.*"),
        ("bench sweep --models vae --data synthetic --categories screw,c", r"plain,screw,carpet\n"),
        ("bench sweep padim", r"plain,padim_ablation\n"),
        ("bench data check --category bo", r"plain,bottle\n"),
        ("bench completion ", r"plain,bash\nplain,zsh\nplain,fish\n"),
    ],
)
def test_a_word_is_completed_without_torch_and_without_complaint(words, answer):
    assert re.fullmatch(answer + r"\n?", offered(words), flags=re.DOTALL), offered(words)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(bench, shell, tmp_path):
    outcome = bench("completion", shell)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "_BENCH_COMPLETE" in outcome.stdout
    assert "fit" in offered("bench fi", shell).replace(",", "\n").splitlines()[1].split()
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(outcome.stdout)
        subprocess.run([program, "-n", tmp_path / "script"], check=True)


def test_another_shell_is_refused(refuse):
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in refuse("completion", "csh")


def test_accept_offers_the_categories_that_were_imported_here(bash, tmp_path):
    (tmp_path / "products" / "tablet" / "train" / "good").mkdir(parents=True)
    assert bash("bench accept tab\t") == "bench accept tablet "
