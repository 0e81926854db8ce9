"""`tinycc-nn compile --weights`: number formats of weights, from the command line to the core."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, save_dense, save_samples
from tinycc_nn.quantization.wish import parse_wish
from tinycc_nn.report import Report

CPU = "-mcpu=cortex-m4"


@pytest.fixture
def tinycc(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> CommandLine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    return CommandLine(capsys)


@pytest.fixture
def given(tmp_path: Path) -> list[str | Path]:
    model = save_dense(tmp_path / "m.onnx", features=64, classes=16)
    return [model, "--calib", save_samples(tmp_path / "d.npz", features=64), CPU]


@pytest.mark.parametrize(
    "text",
    [
        "int2",
        "int4",
        "int7",
        "fixed<6,2>",
        "fixed<5>",
        "posit<5,1>",
        "posit<6>",
        "posit<8,2>",
        "auto:5",
        "book<16>",
        "hashed<256>",
        "ternary",
        "binary",
    ],
)
def test_formats(tinycc: CommandLine, given: list[str | Path], tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    done = tinycc("compile", *given, "-o", out, "--weights", text)
    assert done.code == 0, done.err
    report = Report.from_json((out / "report.json").read_text())
    assert report.bit_exact is not None and report.bit_exact.mismatches == 0
    assert f"--weights {text}" in report.command.replace("'", "")
    assert "quantize-weights" in report.pipeline
    (layer,) = (x for x in report.layers if x.op == "dense")
    assert layer.kernel.startswith("coded")
    bits = 5 if text == "auto:5" else parse_wish(text).bits
    table = 512 if text[0] in "apbh" else 0
    assert layer.constant_bytes <= 1.2 * 64 * 16 * bits / 8 + 8 * 16 + table


def test_int8_is_the_default(tinycc: CommandLine, given: list[str | Path]) -> None:
    plain = tinycc("compile", *given, "--print-pipeline").out
    assert tinycc("compile", *given, "--print-pipeline", "--weights", "int8").out == plain
    assert "quantize-weights" not in plain
    coded = tinycc("compile", *given, "--print-pipeline", "--weights", "posit<5,1>").out
    assert 'quantize-weights{format="posit<5,1>"}' in coded


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "int9"], "unknown number format 'i9'"),
        (["--weights", "posit<9,0>"], "posit<9,0>: n must be 4..8 and es 0..2"),
        (["--weights", "ternery"], "did you mean 'ternary'?"),
        (["--weights", "auto:1"], "the mean number of bits must be 2..8"),
        (["--weights", "int4", "--dtype", "float32"], "--weights is for int8 layers"),
        (["--weights", "int4", "-p", "quantize"], "--weights is for the default pipeline"),
    ],
)
def test_bad_input(
    tinycc: CommandLine, given: list[str | Path], tmp_path: Path, options: list[str], message: str
) -> None:
    done = tinycc("compile", *given, "-o", tmp_path / "out", *options)
    assert done.code == 2
    assert message in done.err


def test_without_calibration_data(
    tinycc: CommandLine, given: list[str | Path], tmp_path: Path
) -> None:
    done = tinycc("compile", given[0], CPU, "-o", tmp_path / "out", "--weights", "int4")
    assert done.code == 2
    assert "int8 needs samples" in done.err
