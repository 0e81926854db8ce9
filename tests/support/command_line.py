"""Run commands in this process, and small models to run them on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tinycc_nn.cli._main import run_command


@dataclass(frozen=True)
class Outcome:
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str


class CommandLine:
    """`tinycc(...)` is `tinycc-nn ...` with a cache of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Outcome:
        self._capsys.readouterr()
        code = run_command([str(a) for a in arguments])
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)


def save_dense(path: Path, *, features: int = 8, classes: int = 3, batch: int | str = 1) -> Path:
    """An ONNX model: one dense layer with ReLU, x float32[batch, features] to y."""
    random = np.random.default_rng(1)
    weight = random.standard_normal((classes, features)).astype(np.float32)
    bias = random.standard_normal(classes).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["dense"], "dense", transB=1),
        helper.make_node("Relu", ["dense"], ["y"], "relu"),
    ]
    initializers = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    return save_model(path, nodes, [batch, features], [batch, classes], initializers)


def save_model(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    out: Sequence[int | str],
    initializers: Sequence[onnx.TensorProto] = (),
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """An ONNX model of `nodes` from x to y, opset 13."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, out)],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def save_samples(path: Path, *, features: int = 8, samples: int = 40) -> Path:
    """Samples and labels for `save_dense`."""
    random = np.random.default_rng(2)
    x = random.standard_normal((samples, features)).astype(np.float32)
    np.savez(path, x=x, y=random.integers(0, 3, samples))
    return path
