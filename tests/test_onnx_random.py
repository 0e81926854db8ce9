"""Random networks, and the quantized operators of com.microsoft, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.support.onnx_models import onnxruntime_session
from tinycc_nn.ir import Array
from tinycc_nn.onnx import read_model
from tinycc_nn.reference import run

UNARY = ["Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Softplus", "Abs", "Identity"]
CHANNELS, SIDE = 4, 6


def build(nodes: list[NodeProto], arrays: dict[str, Array], output: str) -> ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "random",
        [info("x", TensorProto.FLOAT, (1, CHANNELS, SIDE, SIDE))],
        [info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def both(model: ModelProto) -> tuple[Array, Array]:
    """The output here and in onnxruntime, where nothing may be fused."""
    data = model.SerializeToString()
    shape = (1, CHANNELS, SIDE, SIDE)
    x = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    (want,) = onnxruntime_session(data).run(None, {"x": x})
    got = run(read_model(data), {"x": x[None]})[0][0]
    assert got.shape == want.shape
    return got, want


@st.composite
def networks(draw: st.DrawFn) -> ModelProto:
    """Up to eight ops that keep [1, 4, 6, 6], each on any earlier results."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    nodes: list[NodeProto] = []
    arrays: dict[str, Array] = {}
    values = ["x"]
    for i in range(draw(st.integers(1, 8))):
        a, b, y = draw(st.sampled_from(values)), draw(st.sampled_from(values)), f"v{i}"
        kind = draw(st.sampled_from(["unary", "binary", "scale", "conv", "pool", "join", "split"]))
        if kind == "unary":
            nodes.append(helper.make_node(draw(st.sampled_from(UNARY)), [a], [y]))
        elif kind == "binary":
            op = draw(st.sampled_from(["Add", "Sub", "Mul", "Min", "Max"]))
            nodes.append(helper.make_node(op, [a, b], [y]))
        elif kind == "scale":
            shape = draw(st.sampled_from([(), (1,), (CHANNELS, 1, 1), (1, CHANNELS, 1, SIDE)]))
            arrays[f"c{i}"] = np.asarray(rng.uniform(0.5, 1.5, shape), np.float32)
            op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "PRelu"]))
            nodes.append(helper.make_node(op, [a, f"c{i}"], [y]))
        elif kind == "conv":
            group = draw(st.sampled_from([1, 2, CHANNELS]))
            weights = rng.normal(0, 0.3, (CHANNELS, CHANNELS // group, 3, 3))
            arrays[f"w{i}"] = weights.astype(np.float32)
            attrs: dict[str, Any] = {"auto_pad": "SAME_UPPER", "group": group}
            nodes.append(helper.make_node("Conv", [a, f"w{i}"], [y], **attrs))
        elif kind == "pool":
            op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            nodes.append(helper.make_node(op, [a], [y], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        elif kind == "join":
            axis = draw(st.integers(1, 3))
            half = [CHANNELS, SIDE, SIDE][axis - 1] * 2
            arrays |= {
                f"b{i}": np.array([1], np.int64),
                f"e{i}": np.array([half], np.int64),
                f"a{i}": np.array([axis], np.int64),
                f"s{i}": np.array([2], np.int64),
            }
            nodes.append(helper.make_node("Concat", [a, b], [f"j{i}"], axis=axis))
            slices = [f"j{i}", f"b{i}", f"e{i}", f"a{i}", f"s{i}"]
            nodes.append(helper.make_node("Slice", slices, [y]))
        else:
            names = [f"p{i}", f"q{i}"]
            nodes.append(helper.make_node("Split", [a], names, axis=3))
            nodes.append(helper.make_node("Concat", names[::-1], [y], axis=3))
        values.append(y)
    return build(nodes, arrays, values[-1])


@settings(max_examples=100, deadline=None)
@given(networks())
def test_random_networks(model: ModelProto) -> None:
    got, want = both(model)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


ONE = ("q", "sx", "zx")
QLINEAR: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "QLinearAdd": ((*ONE, *ONE, "sy", "zy"), {}),
    "QLinearMul": ((*ONE, *ONE, "sy", "zy"), {}),
    "QLinearSigmoid": ((*ONE, "sy", "zy"), {}),
    "QLinearLeakyRelu": ((*ONE, "sy", "zy"), {"alpha": 0.1}),
    "QLinearAveragePool": ((*ONE, "sy", "zy"), {"kernel_shape": [2, 2]}),
    "QLinearGlobalAveragePool": ((*ONE, "sy", "zy"), {}),
    "QLinearConcat": (("sy", "zy", *ONE, *ONE), {"axis": 1}),
}


@pytest.mark.parametrize("op", QLINEAR)
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_quantized_operators(op: str, kind: type[np.generic]) -> None:
    inputs, attrs = QLINEAR[op]
    arrays: dict[str, Array] = {
        "sx": np.array(0.02, np.float32),
        "zx": np.array(7, kind),
        # No ratio of scales that makes ties: those round differently.
        "sy": np.array(0.031, np.float32),
        "zy": np.array(4, kind),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["q"]),
        helper.make_node(op, inputs, ["r"], domain="com.microsoft", **attrs),
        helper.make_node("DequantizeLinear", ["r", "sy", "zy"], ["y"]),
    ]
    got, want = both(build(nodes, arrays, "y"))
    assert np.abs(got - want).max() <= 0.0311, "one step of the result"
    assert np.mean(got != want) < 0.05
