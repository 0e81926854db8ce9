"""Commands that only say something, what they import, and how errors end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import tinycc_nn
from tests.support.command_line import CommandLine
from tinycc_nn.cli import _main
from tinycc_nn.options import option_infos
from tinycc_nn.pipeline import load, pass_names
from tinycc_nn.target import target_names

HEAVY = ("tvm", "onnx", "onnxruntime", "unicorn")


@pytest.fixture
def tinycc(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def test_help_lists_every_command(tinycc: CommandLine) -> None:
    done = tinycc("--help")
    assert done.code == 0
    for name in ("compile", "opt", "run", "validate", "passes", "targets", "ops", "cmake-dir"):
        assert f"\n  {name} " in done.out


def test_the_version(tinycc: CommandLine) -> None:
    assert tinycc("--version").out == f"tinycc-nn {tinycc_nn.__version__}\n"


def test_passes_lists_all_and_shows_the_options_of_one(tinycc: CommandLine) -> None:
    listed = tinycc("passes").out
    for name in pass_names():
        assert f"  {name} " in listed
        one = tinycc("passes", name)
        assert one.code == 0
        for info in option_infos(load(name)):
            assert info.name in one.out


def test_the_passes_as_markdown(tinycc: CommandLine) -> None:
    text = tinycc("passes", "--markdown").out
    assert text.startswith("# Passes\n")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == pass_names()


def test_targets(tinycc: CommandLine) -> None:
    listed = tinycc("targets").out
    assert all(name in listed for name in target_names())
    assert "cortex-m4" in tinycc("targets", "nrf52840").out


def test_ops(tinycc: CommandLine) -> None:
    assert "conv2d" in tinycc("ops").out
    assert "QuantizeLinear" in tinycc("ops", "--onnx").out


def test_the_cmake_folder(tinycc: CommandLine) -> None:
    assert (Path(tinycc("cmake-dir").out.strip()) / "tinycc_nnConfig.cmake").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["complie"], "did you mean 'compile'?"),
        (["--frobnicate"], "No such option '--frobnicate'"),
        (["targets", "stm32f40"], "did you mean 'stm32f407'?"),
        (["compile", "m.onnx", "-mcpux=3"], "No such option"),
        (["compile", "m.onnx", "-O7"], "'7' is not one of"),
        (["compile"], "Missing argument 'MODEL'"),
        ([], "Usage"),
    ],
)
def test_usage_errors(tinycc: CommandLine, arguments: list[str], message: str) -> None:
    done = tinycc(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_an_unknown_pass_is_an_error_with_the_nearest_one(tinycc: CommandLine) -> None:
    done = tinycc("passes", "fold-bm")
    assert done.code == 1
    assert "did you mean 'fold-bn'?" in done.err


def test_an_internal_error_asks_for_a_report(
    tinycc: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise KeyError("boom")

    monkeypatch.setattr("tinycc_nn.pipeline.pass_names", fail)
    done = tinycc("passes")
    assert done.code == 4
    assert done.err.startswith("internal error: KeyError: 'boom' (test_cli_info.py:")
    assert "tinycc-nn --traceback passes" in done.err


def test_an_interrupt_is_no_error_of_ours(
    tinycc: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinycc_nn.pipeline.pass_names", interrupt)
    assert tinycc("passes").code == _main.INTERRUPTED


@pytest.mark.parametrize("command", [["--help"], ["passes"], ["targets"], ["compile", "--help"]])
def test_a_command_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; from tinycc_nn.cli._main import run_command\n"
        f"assert run_command({command}) == 0\n"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_help_is_quick() -> None:
    command = [sys.executable, "-c", "from tinycc_nn.cli import main; main()", "--help"]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.3
