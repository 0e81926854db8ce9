"""The command line of a search: what its values mean, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import CommandLine
from tinycc_nn.cli.search import parse_budget, parse_drop, parse_energy
from tinycc_nn.diagnostics import UsageError
from tinycc_nn.search.settings import Budget


def test_budgets_drops_and_energies() -> None:
    assert parse_budget("500evals") == Budget(evaluations=500)
    assert parse_budget("30m") == Budget(seconds=1800)
    assert (parse_drop("1%"), parse_drop("0.02"), parse_drop(None)) == (0.01, 0.02, None)
    assert (parse_energy("1.5mJ"), parse_energy("900"), parse_energy(None)) == (1500, 900, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "0evals"], "'0evals' is not a value of --budget"),
        (["--budget", "soon"], "'soon' is not a value of --budget"),
        (["--max-accuracy-drop", "1"], "'1' is not a value of --max-accuracy-drop"),
        (["--max-energy", "-3uJ"], "'-3uJ' is not a value of --max-energy"),
        (["--max-energy", "900uJ"], "the energy of a cycle of cortex-m4 is not known"),
        (["--max-latency", "5ms"], "cortex-m4 has no clock"),
        (["--objectives", "speed"], "unknown objective 'speed'"),
        (["--objectives", ""], "no objective"),
        (["--weight", "energy=1"], "'energy' has a weight and is no objective"),
        (["--weight", "cycles=-1"], "'-1' is not a weight"),
        (["--population", "2"], "2 is not in the range x>=4"),
        (["--resume"], "there is no search"),
        (["--start", "no.txt"], "can't read the pipeline"),
        (["--scheduler", "tcp://127.0.0.1:1"], "can't reach the scheduler"),
    ],
)
def test_what_is_refused(
    digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("tinycc_nn.search.cluster._CONNECT_SECONDS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = CommandLine(capsys)(
        "search", digits / "digits.onnx", "-mcpu=cortex-m4", "--eval", f"{digits}/test.npz:x[:9],y[:9]",
        "-o", tmp_path / "out", "--budget", "4evals", *options,
    )  # fmt: skip
    assert done.code in (1, 2) and message in done.err
    assert not (tmp_path / "out" / "pareto.json").exists()


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ([], 600),
        (["--train", "TEST:x,y"], 21_600),
        (["--train", "TEST:x,y", "--timeout", "9m"], 540),
    ],
)
def test_trainings_get_more_time(
    digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    seconds: float,
) -> None:
    given: list[float] = []

    def executor(scheduler: str | None, workers: int, seconds: float) -> None:
        given.append(seconds)
        raise UsageError("no workers today")

    monkeypatch.setattr("tinycc_nn.cli.search._executor", executor)
    options = [o.replace("TEST", f"{digits}/test.npz") for o in options]
    done = CommandLine(capsys)(
        "search", digits / "digits.onnx", "-mcpu=cortex-m4", "--eval", f"{digits}/test.npz:x[:9],y[:9]",
        "-o", tmp_path / "out", "--budget", "4evals", *options,
    )  # fmt: skip
    assert "no workers today" in done.err
    assert given == [seconds]
