"""Bad input to passes that compress: what tests of single passes leave out, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, save_dense, save_samples
from tests.test_quantize_weights import after, network, quantized
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.pipeline_text import parse_pipeline


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("low-rank{ratio=-0.5}", "ratio must be in 0..1"),
        ("low-rank{energy=1.5}", "energy must be in 0..1"),
        ("low-rank{macs=-1}", "macs must be in 0..1"),
        ("low-rank{rank=-1}", "rank must be at least 1"),
        ("separate-conv{terms=-1}", "terms must be at least 1"),
        ("separate-conv{macs=1.5}", "macs must be in 0..1"),
        ("separate-conv{energy=-0.5}", "energy must be in 0..1"),
        ("prune-weights{ratio=-0.1}", "ratio must be between 0 and 1"),
        ("prune-blocks{ratio=1.5}", "ratio must be between 0 and 1"),
        ("prune-blocks{ratio=-0.5}", "ratio must be between 0 and 1"),
        ("prune-channels{ratio=-0.5}", "ratio must be in 0..1, below 1"),
        ("prune-channels{macs=1.5}", "macs must be in 0..1"),
        ("prune-iteratively{macs=1.5}", "macs must be in 0..1"),
        ("prune-iteratively{rounds=0}", "rounds and multiple must be at least 1"),
        ("select-pointwise{latency=-0.5}", "latency must be in 0..1"),
        ("early-exit{exits=-0.5}", "exits must be in 0..1"),
        ("early-exit{loss=1.5}", "loss must be in 0..1"),
        ('quantize-weights{format="posit<8,3>"}', "n must be 4..8 and es 0..2"),
        ('quantize-weights{format="posit<3,0>"}', "n must be 4..8 and es 0..2"),
        ('quantize-weights{format="fixed<17,0>"}', "n must be 2..16 and f 0..15"),
        ('quantize-weights{format="book<1>"}', "a code book has 2..256 entries"),
        ("quantize-weights{format=auto:1}", "the mean number of bits must be 2..8"),
    ],
)
def test_numbers_out_of_range(text: str, message: str) -> None:
    with pytest.raises(TinyccError) as e:
        parse_pipeline(text)
    assert e.value.message.startswith(f"{text.partition('{')[0]}: ") and message in e.value.message
    assert e.value.exit_code == 1


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("prune-weights{skip=[steam]}", "skip: no layer is called 'steam'", "'stem'"),
        ("prune-blocks{skip=[pointwisee]}", "skip: no layer is called 'pointwisee'", "'pointwise'"),
        ("separate-conv{layers=[steam]}", "layers: no layer is called 'steam'", "'stem'"),
    ],
)
def test_layers_that_there_are_not(text: str, message: str, hint: str) -> None:
    g, data = network()
    with pytest.raises(TinyccError) as e:
        after(text, g, data)
    assert message in e.value.message and e.value.hint == f"did you mean {hint}?"


def test_layers_that_there_are_not_behind_quantize() -> None:
    g, data = quantized()
    with pytest.raises(TinyccError, match="no int8 layer is called 'steam'") as e:
        after("widen-activations{layers=[steam]}", g, data)
    assert e.value.hint == "did you mean 'stem'?"
    with pytest.raises(TinyccError, match="is called 'densee'") as e:
        after("binarize{layers=[densee]}", g, data)
    assert e.value.hint == "did you mean 'dense'?"


def test_no_calibration_data() -> None:
    float_network, _ = network()
    int8, _ = quantized()
    for text, g in (("prune-iteratively", float_network), ("binarize{layers=[dense]}", int8)):
        name = text.partition("{")[0]
        with pytest.raises(TinyccError, match=f"the pass {name} needs calibration data") as e:
            after(text, g, None)
        assert e.value.hint == "give some with --calib"


@pytest.mark.parametrize("name", ["low-rank", "separate-conv", "prune-channels"])
def test_the_nearest_budget_can_be_met(name: str) -> None:
    g, data = network()
    with pytest.raises(LimitError, match=r"0\.01 of 23040 MACs is 230") as e:
        after(f"{name}{{macs=0.01}}", g, data)
    before, _, nearest = e.value.hint.partition("macs=")
    assert before == "the nearest that can be met is " and e.value.exit_code == 3
    after(f"{name}{{macs={nearest}}}", g, data)


def test_exit_codes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tinycc = CommandLine(capsys)
    model = save_dense(tmp_path / "m.onnx")
    done = tinycc("opt", model, "-p", "low-rank{macs=0.01, calibrate=false}")
    assert done.code == 3 and "the nearest that can be met is macs=" in done.err
    done = tinycc("opt", model, "-p", "prune-weights{ratio=1.5}")
    assert done.code == 1 and "ratio must be between 0 and 1" in done.err


def test_a_format_that_no_kernel_executes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = save_dense(tmp_path / "m.onnx")
    data = save_samples(tmp_path / "x.npz")
    wide = 'quantize, quantize-interface, quantize-weights{format="posit<16,1>"}'
    out = tmp_path / "out"
    tinycc = CommandLine(capsys)
    done = tinycc("compile", model, "-p", wide, "--calib", data, "-mcpu=cortex-m4", "-o", out)
    assert done.code == 1 and "no kernel of" in done.err and "posit, 16 bits" in done.err
    assert not out.exists()
