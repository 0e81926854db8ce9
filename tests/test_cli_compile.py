"""`tinycc-nn compile`, `run` and `validate` on a small network."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.command_line import CommandLine, save_dense, save_samples
from tinycc_nn import reference
from tinycc_nn.ir import Array, Graph
from tinycc_nn.report import Report
from tinycc_nn.toolchain import find_toolchain

CPU = "-mcpu=cortex-m4"
OUTPUTS = {"CMakeLists.txt", "m.c", "m.h", "m_data.c", "report.json"}


@pytest.fixture
def tinycc(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> CommandLine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    return CommandLine(capsys)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_dense(tmp_path / "m.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_samples(tmp_path / "d.npz")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def report_of(folder: Path) -> Report:
    return Report.from_json((folder / "report.json").read_text())


def test_float_network(tinycc: CommandLine, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = tinycc("compile", model, "-o", out, CPU)
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} == OUTPUTS
    report = report_of(out)
    assert (report.name, report.dtype, report.level) == ("m", "float32", "O2")
    assert report.bit_exact is not None and report.bit_exact.mismatches == 0
    assert report.metrics.macs == 24
    assert report.metrics.cycles and report.metrics.flash_bytes and report.metrics.stack_bytes
    assert report.metrics.latency_ms is None
    assert sum(layer.cycles or 0 for layer in report.layers) <= report.metrics.cycles
    for word in ("flash", "RAM arena", "stack", "cycles", "layer", "dense"):
        assert word in done.out


def test_int8_with_accuracy_on_a_device(
    tinycc: CommandLine, model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = tinycc(
        "compile", model, "-o", out, "--target", "nucleo-l4r5zi", "-Os", "--name", "net",
        "--calib", f"{data}:x[:30]", "--eval", f"{data}:x[30:],y[30:]",
    )  # fmt: skip
    assert done.code == 0, done.err
    report = report_of(out)
    assert (report.name, report.dtype, report.level) == ("net", "int8", "Os")
    assert report.accuracy is not None
    assert (report.accuracy.metric, report.accuracy.samples) == ("top1", 10)
    assert report.interface.inputs[0].dtype == "int8"
    assert report.metrics.latency_ms and report.metrics.energy_uj
    assert "accuracy" in done.out and "latency" in done.out and "energy" in done.out


def test_the_same_command_gives_the_same_bytes_anywhere(
    tinycc: CommandLine, model: Path, data: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = save_dense(elsewhere / "m.onnx")
    common = [CPU, "--calib", str(data), "--no-cache"]
    assert tinycc("compile", model, "-o", tmp_path / "a", *common).code == 0
    assert tinycc("compile", other, "-o", tmp_path / "b", *common).code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    first = (tmp_path / "a" / "m.c").read_text().splitlines()
    assert "tinycc-nn 0." in "\n".join(first[:4])
    assert "tinycc-nn compile m.onnx --name m -mcpu=cortex-m4 -O2" in "\n".join(first[:4])


def test_an_unchanged_command_is_answered_from_the_cache(
    tinycc: CommandLine, model: Path, data: Path, tmp_path: Path
) -> None:
    command: list[str | Path] = [
        "compile",
        str(model),
        CPU,
        "-v",
        "--calib",
        str(data),
        "--name",
        "cached",
        "-o",
    ]
    first = tinycc(*command, tmp_path / "a")
    again = tinycc(*command, tmp_path / "b")
    assert "unchanged" not in first.err
    assert "unchanged" in again.err
    assert again.out == first.out
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    save_samples(data, samples=41)
    assert "unchanged" not in tinycc(*command, tmp_path / "b").err
    assert "unchanged" not in tinycc(*command, tmp_path / "b", "-O1").err
    assert "unchanged" not in tinycc(*command, tmp_path / "b", "--no-cache").err


def test_the_dependency_rule(tinycc: CommandLine, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command: list[str | Path] = [
        "compile",
        model,
        "-o",
        out,
        CPU,
        "--no-measure",
        "--calib",
        data,
        "-MD",
    ]
    assert tinycc(*command).code == 0
    assert (out / "m.d").read_text() == f"{out}/m.c: \\\n  {model} \\\n  {data}\n"
    rule = tmp_path / "deps" / "rule.d"
    assert tinycc(*command, "-MF", rule, "-MT", "all").code == 0
    assert rule.read_text().startswith("all: \\\n")


def test_without_measurement_nothing_is_built(
    tinycc: CommandLine, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    out = tmp_path / "out"
    done = tinycc("compile", model, "-o", out, CPU, "--no-measure", "--no-cache")
    assert done.code == 0, done.err
    metrics = report_of(out).metrics
    assert metrics.flash_bytes is None and metrics.cycles is None
    assert metrics.cycles_basis == "not measured"


def test_temporary_files_are_kept_on_request(
    tinycc: CommandLine, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert tinycc("compile", model, "-o", out, CPU, "-save-temps").code == 0
    names = {p.name for p in out.iterdir()}
    assert names == OUTPUTS | {
        "m.elf", "m.given.tnn", "m.given.npz", "m.final.tnn", "m.final.npz",
    }  # fmt: skip
    assert (out / "m.elf").read_bytes().startswith(b"\x7fELF")
    assert tinycc("opt", out / "m.final.tnn").code == 0


def test_the_pipeline_that_is_printed_is_the_default(
    tinycc: CommandLine, model: Path, data: Path, tmp_path: Path
) -> None:
    printed = tinycc("compile", model, CPU, "--calib", data, "--print-pipeline")
    assert printed.code == 0
    text = printed.out.strip()
    assert "quantize" in text
    tinycc("compile", model, CPU, "--calib", data, "-o", tmp_path / "a")
    assert report_of(tmp_path / "a").pipeline == text
    done = tinycc("compile", model, CPU, "--calib", data, "-o", tmp_path / "b", "-p", text)
    assert done.code == 0
    assert (tmp_path / "a" / "m_data.c").read_text().splitlines()[3:] == (
        (tmp_path / "b" / "m_data.c").read_text().splitlines()[3:]
    )


def test_symbolic_dimensions(tinycc: CommandLine, tmp_path: Path) -> None:
    model = save_dense(tmp_path / "m.onnx", batch="N")
    out = tmp_path / "out"
    done = tinycc("compile", model, "-o", out, CPU, "--input-dim", "N=2", "--no-measure")
    assert done.code == 0, done.err
    assert report_of(out).interface.inputs[0].shape == (2, 8)


def test_a_model_from_standard_input(
    tinycc: CommandLine, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    stdin = SimpleNamespace(buffer=io.BytesIO(model.read_bytes()))
    monkeypatch.setattr("sys.stdin", stdin)
    done = tinycc("compile", "-", "-o", out, CPU, "--no-measure", "--name", "m")
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} == OUTPUTS


@pytest.mark.parametrize("place", ["interpreter", "host", "device"])
def test_a_model_runs_where_one_wants(
    tinycc: CommandLine, model: Path, data: Path, tmp_path: Path, place: str
) -> None:
    saved = tmp_path / "out" / "y.npz"
    done = tinycc("run", model, "--data", f"{data}:x[:3]", "--on", place, CPU, "-o", saved)
    assert done.code == 0, done.err
    plain = tinycc("run", model, "--data", f"{data}:x[:3]").out
    assert plain.count("sample ") == 3
    with np.load(saved) as arrays:
        assert arrays["y"].shape == (3, 1, 3)
        assert float(plain.split()[2]) == pytest.approx(float(arrays["y"][0, 0, 0]), abs=1e-4)
    scored = tinycc("run", model, "--data", data, "--on", place, CPU)
    assert "% of 40 samples" in scored.out


def test_a_compiled_folder_runs(
    tinycc: CommandLine, model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tinycc("compile", model, "-o", out, CPU, "--calib", data, "--eval", data)
    report = report_of(out)
    assert report.accuracy is not None
    for place in ("host", "device"):
        done = tinycc("run", out, "--data", data, "--on", place)
        assert done.code == 0, done.err
        assert done.out == f"accuracy {100 * report.accuracy.compiled:.2f} % of 40 samples\n"


def test_validate_compares_every_tensor(tinycc: CommandLine, model: Path, data: Path) -> None:
    done = tinycc("validate", model, CPU, "--data", data, "--calib", data)
    assert done.code == 0, done.err
    assert "they agree on 4 samples" in done.out
    for pair in ("onnxruntime - interpreter", "interpreter - host C", "host C - core"):
        assert pair in done.out


def test_the_toolchain_is_in_the_report(tinycc: CommandLine, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    toolchain = find_toolchain()
    tinycc("compile", model, "-o", out, CPU, "--toolchain", toolchain.name)
    assert json.loads((out / "report.json").read_text())["toolchain"] == toolchain.version


def test_validate_names_the_first_place_where_they_part(
    tinycc: CommandLine, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off_by_one(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
        outputs = reference.run(graph, inputs)
        return [outputs[0], *(a + 1 for a in outputs[1:])]

    monkeypatch.setattr("tinycc_nn.validate.run", off_by_one)
    done = tinycc("validate", model, CPU, "-O0")
    assert done.code == 1
    assert "interpreter - host C part by 1" in done.err
    assert " --> y (relu)" in done.err


def test_validate_says_how_to_get_onnxruntime(
    tinycc: CommandLine, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = tinycc("validate", model, CPU)
    assert done.code == 1
    assert "onnxruntime is not installed" in done.err
    assert "pip install 'tinycc-nn[validate]'" in done.err


def test_c_that_differs_from_the_interpreter_is_never_written(
    tinycc: CommandLine, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
        return [a + 1 for a in reference.run(graph, inputs)]

    monkeypatch.setattr("tinycc_nn.measure.run", wrong)
    done = tinycc("compile", model, "-o", tmp_path / "out", CPU, "--no-cache")
    assert done.code == 4
    assert "differs from the interpreter in 4 of 4 samples" in done.err
    assert not (tmp_path / "out").exists()


def test_a_quantized_model_stays_so_without_calibration(
    tinycc: CommandLine, data: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "m.tnn", tmp_path / "out"
    path.write_text(
        "graph @m(%x: f32[1,8]) {\n"
        "  %q = quantize %x : i8[1,8] q(0.5, 3)\n"
        "  %y = dequantize %q : f32[1,8]\n"
        "  return %y\n}\n"
    )
    refused = tinycc("compile", path, "-o", out, CPU, "--dtype", "float32")
    assert refused.code == 2
    assert "the model is quantized" in refused.err
    done = tinycc("compile", path, "-o", out, CPU, "--calib", data)
    assert done.code == 0, done.err
    assert "note: the calibration data was not used" in done.err
    assert report_of(out).dtype == "int8"
