"""`tinycc-nn opt`, and what runs a pipeline."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.command_line import CommandLine, save_dense, save_samples
from tinycc_nn.backend import LEVELS
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, Graph, TensorType, read_graph
from tinycc_nn.levels import default_pipeline
from tinycc_nn.ops import emit
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context, Pass
from tinycc_nn.pipeline_text import parse_pipeline

TEXT = """graph @t(%x: f32[1,4]) {
  %y = relu %x : f32[1,4]
  return %y
}
"""


@pytest.fixture
def tinycc(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@dataclass(frozen=True)
class Crash(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        raise KeyError("a bug")


@dataclass(frozen=True)
class Negate(Pass):
    """It says that it keeps values, and does not."""

    def apply(self, graph: Graph, context: Context) -> None:
        (y,) = graph.outputs
        graph.outputs = [emit(graph, "neg", [y])]


def relu() -> Graph:
    graph = Graph("t")
    x = graph.add_input("x", TensorType(F32, (1, 4)))
    graph.outputs = [emit(graph, "relu", [x], result="y")]
    return graph


def test_text_through_no_pass_is_the_same_text(tinycc: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "t.tnn").write_text(TEXT)
    assert tinycc("opt", tmp_path / "t.tnn").out == TEXT


def test_standard_input(tinycc: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(TEXT.encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert tinycc("opt", "-").out == TEXT


def test_onnx_to_int8_text_and_back(tinycc: CommandLine, tmp_path: Path) -> None:
    model, data = save_dense(tmp_path / "m.onnx"), save_samples(tmp_path / "d.npz")
    out = tmp_path / "new" / "q.tnn"
    done = tinycc("opt", model, "-p", "quantize", "--calib", data, "-o", out)
    assert (done.code, done.out) == (0, "")
    assert any(op.name == "dense" and op.type.dtype.name == "i8" for op in read_graph(out).ops)
    again = tinycc("opt", out)
    assert again.code == 0
    assert again.out == out.read_text()


def test_times_and_steps_go_to_stderr(tinycc: CommandLine, tmp_path: Path) -> None:
    model = save_dense(tmp_path / "m.onnx")
    done = tinycc("opt", model, "-p", "fold-bn", "--time-passes", "--print-ir-after-all")
    assert "// after 1: fold-bn\ngraph @" in done.err
    assert re.search(r"ms  fold-bn +\d+ -> \d+ ops", done.err)
    assert done.out.startswith("graph @")


@pytest.mark.parametrize(
    ("pipeline", "message", "caret"),
    [
        ("fold-bn, fold-bm", "unknown pass 'fold-bm'", "         ^^^^^^^"),
        ("fold-bn{", "the text ends too early", "        ^"),
        ("quantize{method=best}", "'best' is not a value of method", "         ^^^^^^"),
        ("quantize{mehtod=mse}", "quantize has no option 'mehtod'", "         ^^^^^^"),
        ("fold-bn fold-bn", "'fold-bn' is not expected here", "        ^^^^^^^"),
    ],
)
def test_errors_in_a_pipeline_have_a_caret(
    tinycc: CommandLine, tmp_path: Path, pipeline: str, message: str, caret: str
) -> None:
    done = tinycc("opt", save_dense(tmp_path / "m.onnx"), "-p", pipeline)
    assert done.code == 1
    assert message in done.err
    assert f"1 | {pipeline}\n  | {caret}\n" in done.err + "\n"
    assert done.out == ""


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("relu %x", "relu %z", "%z is not defined", 2),
        ("relu", "relo", "unknown operator 'relo'", 2),
        ("f32[1,4])", "f32[1,4)", "')' is not expected here", 1),
        ("return %y", "", "'}' is not expected here", 4),
        ("}\n", "", "the text ends too early", 3),
        (": f32[1,4]\n", ": f32[4,1]\n", "is declared f32[4,1]", 2),
    ],
)
def test_errors_in_ir_text_have_their_place(
    tinycc: CommandLine, tmp_path: Path, old: str, new: str, message: str, line: int
) -> None:
    path = tmp_path / "t.tnn"
    path.write_text(TEXT.replace(old, new))
    done = tinycc("opt", path, "-o", tmp_path / "out" / "o.tnn")
    assert done.code == 1
    assert message in done.err
    assert f"{path}:{line}:" in done.err and "^" in done.err
    assert not (tmp_path / "out").exists()


def test_a_reproducer_of_a_diagnosed_error(tinycc: CommandLine, tmp_path: Path) -> None:
    model = save_dense(tmp_path / "m.onnx")
    file = tmp_path / "crash.tnn"
    done = tinycc("opt", model, "-p", "fold-bn, quantize", "--crash-reproducer", file)
    assert done.code == 1
    assert "the pass quantize needs calibration data" in done.err
    assert file.read_text().startswith("// tinycc-nn opt crash.tnn -p 'quantize'\ngraph @")
    again = tinycc("opt", file, "-p", "quantize")
    assert "the pass quantize needs calibration data" in again.err


def test_a_reproducer_of_a_bug_has_the_calibration_data(tmp_path: Path) -> None:
    graph, file = relu(), tmp_path / "crash.tnn"
    data = np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    with pytest.raises(KeyError):
        run_pipeline(graph, (Crash(),), Context({"x": data}), reproducer=file)
    assert "-p 'crash' --calib crash-calib.npz" in file.read_text()
    with np.load(tmp_path / "crash-calib.npz") as saved:
        assert np.array_equal(saved["x"], data)


def test_verify_each_catches_a_pass_that_breaks_its_word() -> None:
    run_pipeline(relu(), (Negate(),))
    with pytest.raises(TinyccError, match="negate changed the output %y by") as e:
        run_pipeline(relu(), (Negate(),), verify_each=True)
    assert e.match("a bug of the pass")


@pytest.mark.parametrize("dtype", ["float32", "int8", "quantized"])
@pytest.mark.parametrize("level", LEVELS)
def test_the_pipelines_of_the_levels(level: str, dtype: str) -> None:
    passes = parse_pipeline(default_pipeline(level, dtype))
    assert level != "O0" or dtype != "float32" or passes == ()
    if level == "O1" and dtype == "float32":
        assert all(p.keeps_values for p in passes)


def test_the_python_of_the_documentation_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[1]
    monkeypatch.chdir(root)
    text = (root / "docs" / "cli.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "docs/cli.md", "exec"), {})
    assert capsys.readouterr().out.startswith("graph @")
