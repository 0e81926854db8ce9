"""Names of networks, inputs and outputs that C, files or shells use for something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.command_line import CommandLine, save_dense
from tests.test_cli_compile import tinycc

__all__ = ["tinycc"]

NAMES = [
    "int",
    "class",
    "uint8_t",
    "ARENA",
    "arena",
    "net_run",
    "a/b:0",
    "größe",
    "1st",
    "",
    " ",
    "*/",
    "/*",
    "\\",
    "K0",
    "k0",
    "NET_X_SIZE",
    "net_c0",
    "input0",
    "a_b_0",
]


@pytest.mark.parametrize("name", ["main", "for", "NULL", "int8_t", "K"])
def test_names_of_networks(tinycc: CommandLine, tmp_path: Path, name: str) -> None:
    model = save_dense(tmp_path / f"{name}.onnx")
    done = tinycc("compile", model, "-o", tmp_path / "out", "-mcpu=cortex-m4")
    assert done.code == 0, done.err
    assert (tmp_path / "out" / f"{name}.h").exists()


def test_names_of_inputs_and_outputs(tinycc: CommandLine, tmp_path: Path) -> None:
    """Each name once as an input and, with a prime, as an output; clashes stay apart."""
    names = [n for n in NAMES if n]
    info = helper.make_tensor_value_info
    nodes, weights = [], []
    for i, n in enumerate(names):
        weights.append(numpy_helper.from_array(np.full(2, i + 1, np.float32), f"w{i}"))
        nodes.append(helper.make_node("Mul", [n, f"w{i}"], [f"{n}'"]))
    graph = helper.make_graph(
        nodes,
        "names",
        [info(n, TensorProto.FLOAT, [1, 2]) for n in names],
        [info(f"{n}'", TensorProto.FLOAT, [1, 2]) for n in names],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    done = tinycc("compile", path, "-o", tmp_path / "out", "-mcpu=cortex-m4")
    assert done.code == 0, done.err
    header = (tmp_path / "out" / "net.h").read_text()
    assert header.count("float") >= 2 * len(names)
