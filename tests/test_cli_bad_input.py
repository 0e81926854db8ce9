"""Bad input: each kind has its message and its exit code, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.support.command_line import CommandLine, Outcome, save_dense, save_model, save_samples

CPU = "-mcpu=cortex-m4"


@pytest.fixture
def tinycc(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> CommandLine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    return CommandLine(capsys)


def fails(done: Outcome, code: int, *messages: str) -> None:
    assert done.code == code, done.err
    assert done.err.startswith("error: ")
    for message in messages:
        assert message in done.err


def test_a_missing_file(tinycc: CommandLine, tmp_path: Path) -> None:
    done = tinycc("compile", tmp_path / "none.onnx", "-o", tmp_path / "out", CPU)
    fails(done, 1, "there is no such file", "none.onnx")
    assert not (tmp_path / "out").exists()


def truncated(path: Path) -> None:
    save_dense(path)
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_model(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(200)))


def text(path: Path) -> None:
    path.write_text("this is not a model\n")


def cyclic(path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Relu", ["b"], ["y"], "third"),
    ]
    save_model(path, nodes, [1, 4], [1, 4])


def unknown_operator(path: Path) -> None:
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], "strange"),
        helper.make_node("Bessel", ["a"], ["y"], "stranger"),
    ]
    save_model(path, nodes, [1, 4], [1, 4])


def unknown_attribute(path: Path) -> None:
    save_model(path, [helper.make_node("Relu", ["x"], ["y"], "odd", slope=0.5)], [1, 4], [1, 4])


def unknown_dtype(path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"], "double")
    save_model(path, [node], [1, 4], [1, 4], dtype=TensorProto.COMPLEX64)


def unknown_dimension(path: Path) -> None:
    save_model(path, [helper.make_node("Relu", ["x"], ["y"], "relu")], [1, "T"], [1, "T"])


@pytest.mark.parametrize(
    ("make", "messages"),
    [
        (truncated, ["m.onnx"]),
        (empty, ["empty"]),
        (no_model, ["ONNX"]),
        (text, ["ONNX"]),
        (cyclic, ["cycl"]),
        (unknown_operator, ["'strange'", "Frobnicate", "'stranger'", "Bessel"]),
        (unknown_attribute, ["'odd'", "slope"]),
        (unknown_dtype, ["x", "m.onnx"]),
        (unknown_dimension, ["T", "--input-dim"]),
    ],
)
def test_a_file_that_cannot_be_compiled(
    tinycc: CommandLine, tmp_path: Path, make: object, messages: list[str]
) -> None:
    assert callable(make)
    make(tmp_path / "m.onnx")
    done = tinycc("compile", tmp_path / "m.onnx", "-o", tmp_path / "out", CPU, "-MD")
    fails(done, 1, *messages)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    fails(tinycc("opt", tmp_path / "m.onnx"), 1, *messages)


def samples(shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("x", "names", "message"),
    [
        (samples((9, 7)), "", "the samples have the shape [7], the model's input [1, 8]"),
        (np.full((9, 8), np.nan, np.float32), "", "9 of 9 samples have NaN"),
        (samples((0, 8)), "", "there are no samples"),
        (samples((9, 8)), ":x[20:]", "there are no samples"),
        (samples((9, 8)), ":z", "there is no array 'z'"),
    ],
)
@pytest.mark.parametrize("option", ["--calib", "--eval"])
def test_data_that_does_not_fit(
    tinycc: CommandLine, tmp_path: Path, option: str, x: object, names: str, message: str
) -> None:
    model = save_dense(tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.asarray(x))
    data = f"{tmp_path / 'd.npz'}{names}"
    done = tinycc("compile", model, "-o", tmp_path / "out", CPU, option, data)
    fails(done, 1, message, "d.npz")
    assert not (tmp_path / "out").exists()


def test_labels_that_do_not_fit(tinycc: CommandLine, tmp_path: Path) -> None:
    model, out = save_dense(tmp_path / "m.onnx"), tmp_path / "out"
    np.savez(tmp_path / "d.npz", x=samples((9, 8)), y=np.arange(9), z=np.arange(4))
    command: list[str | Path] = ["compile", model, "-o", out, CPU, "--no-measure", "--eval"]
    fails(tinycc(*command, tmp_path / "d.npz"), 1, "labels 0 to 8", "has 3 classes")
    fails(tinycc(*command, f"{tmp_path}/d.npz:x"), 1, "the evaluation data has no labels")
    fails(tinycc(*command, f"{tmp_path}/d.npz:x,z"), 1, "different numbers of samples")
    fails(tinycc(*command, f"{tmp_path}/d.npz:x[1"), 2, "does not name an array")
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-flash", "100"], "flash is "),
        (["--max-ram", "16"], "RAM is "),
        (["--max-latency", "0.0001us"], "latency is "),
    ],
)
def test_a_network_over_its_limits(
    tinycc: CommandLine, tmp_path: Path, options: list[str], message: str
) -> None:
    model = save_dense(tmp_path / "m.onnx")
    done = tinycc("compile", model, "-o", tmp_path / "out", "--target", "stm32f407", *options)
    fails(done, 3, message, "allowed; the largest layers:", "(dense, ", "m on stm32f407")
    assert done.out == ""
    assert not (tmp_path / "out").exists()


def test_a_network_that_does_not_fit_the_target(tinycc: CommandLine, tmp_path: Path) -> None:
    model = save_dense(tmp_path / "m.onnx", features=4096, classes=64)
    command: list[str | Path] = [
        "compile",
        model,
        "-o",
        tmp_path / "out",
        "--target",
        "stm32f407",
        "--no-measure",
    ]
    fails(tinycc(*command), 3, "flash is 1,048,", "1,048,576 allowed", "dense")
    assert not (tmp_path / "out").exists()


def test_a_missing_compiler(
    tinycc: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_dense(tmp_path / "m.onnx")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    command: list[str | Path] = ["compile", model, "-o", tmp_path / "out", CPU, "--no-cache"]
    fails(tinycc(*command), 1, "no C compiler for Cortex-M was found", "pip install")
    done = tinycc(*command, "--toolchain", "zig")
    fails(done, 1, "ziglang is not installed", "pip install")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(tinycc: CommandLine, tmp_path: Path) -> None:
    model = save_dense(tmp_path / "m.onnx")
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "sub"):
        done = tinycc("compile", model, "-o", out, CPU, "--no-measure")
        fails(done, 1, "can't write the output", "-o")
        assert done.out == ""
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no target"),
        ([CPU, "--target", "nrf52840"], "-mcpu and --target are both given"),
        (["-mcpu=cortex-m5"], "unknown core 'cortex-m5'"),
        (["--target", "nrf5284"], "did you mean 'nrf52840'?"),
        ([CPU, "--name", "3d-net"], "'3d-net' can't be the prefix of C names"),
        ([CPU, "--name", "string"], "string.h would hide a header of the C library"),
        ([CPU, "--max-flash", "much"], "'much' is not a value of --max-flash"),
        ([CPU, "--max-latency", "5 parsec"], "is not a value of --max-latency"),
        ([CPU, "--max-latency", "5ms"], "--max-latency needs the latency"),
        ([CPU, "--input-dim", "N"], "'N' is not of the form NAME=SIZE"),
        ([CPU, "--input-dim", "N=-1"], "is not a positive integer"),
        ([CPU, "--kernel", "y"], "'y' is not of the form LAYER=NAME"),
        ([CPU, "--dtype", "int8"], "int8 needs samples"),
    ],
)
def test_options_that_make_no_sense(
    tinycc: CommandLine, tmp_path: Path, options: list[str], message: str
) -> None:
    model = save_dense(tmp_path / "m.onnx")
    fails(tinycc("compile", model, "-o", tmp_path / "out", *options), 2, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", "fold-bm"], "did you mean 'fold-bn'?"),
        (["--backend", "tvn"], "did you mean 'tvm'?"),
        (["--kernel", "nothing=direct"], "nothing"),
    ],
)
def test_names_that_do_not_exist(
    tinycc: CommandLine, tmp_path: Path, options: list[str], message: str
) -> None:
    model = save_dense(tmp_path / "m.onnx")
    fails(tinycc("compile", model, "-o", tmp_path / "out", CPU, *options), 1, message)
    assert not (tmp_path / "out").exists()


def test_no_output_directory(tinycc: CommandLine, tmp_path: Path) -> None:
    fails(tinycc("compile", save_dense(tmp_path / "m.onnx"), CPU), 2, "give one with -o DIR")


def test_a_folder_that_compile_did_not_write(tinycc: CommandLine, tmp_path: Path) -> None:
    data = save_samples(tmp_path / "d.npz")
    fails(tinycc("run", tmp_path, "--data", data), 1, "not an output of tinycc-nn compile")
    (tmp_path / "report.json").write_text("{}")
    fails(tinycc("run", tmp_path, "--data", data), 1, "not a report of this version")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4)), min_size=1, max_size=4),
    end=st.none() | st.integers(0, 10**6),
)
def test_a_damaged_model_never_shows_a_traceback(
    tinycc: CommandLine, tmp_path: Path, cuts: list[tuple[int, bytes]], end: int | None
) -> None:
    data = bytearray(save_dense(tmp_path / "m.onnx").read_bytes())
    for place, change in cuts:
        at = place % len(data)
        data[at : at + len(change)] = change
    path = tmp_path / "damaged.onnx"
    path.write_bytes(data[: None if end is None else end % len(data)])
    done = tinycc("opt", path)
    assert done.code in (0, 1), done.err
    assert done.code == 0 or done.err.startswith("error: ")
