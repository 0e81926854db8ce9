"""Gemm, MatMul, reductions, softmax, batch normalization of ONNX against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_models import IR_VERSION, assert_agree, node_model
from tests.support.ops import floats, rngs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.types import Array, Blob
from tinycc_nn.onnx import read_model


@settings(max_examples=60, deadline=None)
@given(
    st.booleans(), st.booleans(), st.sampled_from([1.0, 0.5]), st.sampled_from([1.0, 0.0, 2.0]),
    st.sampled_from([None, (), (1,), (5,), (1, 5), (3, 1), (3, 5)]), st.integers(1, 3),
    st.sampled_from([7, 9, 11, 13]), rngs,
)  # fmt: skip
def test_gemm(
    left: bool, right: bool, alpha: float, beta: float, c: tuple[int, ...] | None, runtime: int,
    opset: int, rng: np.random.Generator,
) -> None:  # fmt: skip
    a = floats(rng, 4, 3) if left else floats(rng, 3, 4)
    b = floats(rng, 5, 4) if right else floats(rng, 4, 5)
    attributes = {"transA": int(left), "transB": int(right), "alpha": alpha, "beta": beta}
    inputs = [a, b]
    if c is not None or opset < 11:
        inputs.append(floats(rng, *(c or ())))
    assert_agree("Gemm", inputs, attributes, opset=opset, runtime=runtime)


@pytest.mark.parametrize("runtime", [1, 2])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (1, 4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((3, 4), (1, 1, 4, 5)),
        ((4,), (1, 4, 5)),
        ((4,), (2, 4, 5)),
        ((2, 1, 3, 4), (3, 4, 5)),
        ((2, 3, 4), (4,)),
    ],
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...], runtime: int) -> None:
    rng = np.random.default_rng(0)
    assert_agree("MatMul", [floats(rng, *a), floats(rng, *b)], runtime=runtime)


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("opset", [7, 11, 13, 18])
@pytest.mark.parametrize("axes", [None, [1], [-1], [2, -3], [0, 1, 2, 3]])
@pytest.mark.parametrize("keep", [None, 0])
def test_reductions(op_type: str, opset: int, axes: list[int] | None, keep: int | None) -> None:
    x = floats(np.random.default_rng(0), 1, 3, 4, 5)
    attributes: dict[str, Any] = {} if keep is None else {"keepdims": keep}
    inputs: list[Array | None] = [x]
    if opset >= (13 if op_type == "ReduceSum" else 18):
        inputs += [] if axes is None else [np.array(axes, np.int64)]
    elif axes is not None:
        attributes["axes"] = axes
    assert_agree(op_type, inputs, attributes, opset=opset)


@pytest.mark.parametrize("noop", [0, 1])
def test_a_reduction_over_no_axes(noop: int) -> None:
    x, none = floats(np.random.default_rng(0), 1, 3, 4), np.zeros(0, np.int64)
    assert_agree("ReduceSum", [x, none], {"noop_with_empty_axes": noop}, opset=13)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [7, 11, 12, 13])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (1, 3, 1, 1), (2, 1, 4, 1)])
def test_softmax(op_type: str, opset: int, axis: int | None, shape: tuple[int, ...]) -> None:
    attributes = {} if axis is None else {"axis": axis}
    assert_agree(op_type, [floats(np.random.default_rng(0), *shape)], attributes, opset=opset)


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 4), (1, 3, 4, 5), (1, 3, 2, 2, 2)])
def test_batch_normalization(opset: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    parameters = [floats(rng, 3), floats(rng, 3), floats(rng, 3), np.abs(floats(rng, 3))]
    attributes = {"epsilon": 0.01, "momentum": 0.5}
    assert_agree("BatchNormalization", [floats(rng, *shape), *parameters], attributes, opset=opset)


@pytest.mark.parametrize(
    ("op_type", "opset", "shapes", "attributes", "message"),
    [
        ("Gemm", 13, [(3, 4, 1), (4, 5)], {}, "A and B must have 2 axes"),
        ("Gemm", 13, [(3, 4), (3, 5)], {}, r"weights \[5, 3\] do not fit the input \[3, 4\]"),
        ("MatMul", 13, [(3, 4), (3, 5)], {}, "do not fit"),
        ("ReduceMean", 13, [(3, 4)], {"axes": [2]}, r"axes \[2\] of a tensor with 2 axes"),
        ("ReduceMean", 13, [(3, 4)], {"axes": [0, -2]}, r"axes \[0, 0\] of a tensor"),
        ("Softmax", 13, [(3, 4)], {"axis": 2}, "axis 2 of a tensor with 2 axes"),
        ("BatchNormalization", 15, [(1, 3), *[(3,)] * 4], {"training_mode": 1}, "in training mode"),
        ("BatchNormalization", 7, [(1, 3), *[(3,)] * 4], {"spatial": 0}, "spatial=0"),
        ("BatchNormalization", 9, [(1, 3), *[(2,)] * 4], {}, r"gamma is \[2\]"),
    ],
)
def test_what_makes_no_sense(
    op_type: str,
    opset: int,
    shapes: list[tuple[int, ...]],
    attributes: dict[str, Any],
    message: str,
) -> None:
    arrays = [np.zeros(s, np.float32) for s in shapes]
    with pytest.raises(TinyccError, match=message):
        read_model(node_model(op_type, arrays, attributes, opset=opset))


def quantized(nodes: list[Any], constants: dict[str, Array], shape: tuple[int, ...]) -> bytes:
    """A model of nodes from the input x to the output y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("op_type", "shape", "weights", "axis", "attributes", "stored"),
    [
        ("Conv", (1, 3, 4, 4), (2, 3, 3, 3), 0, {}, (2, 3, 3, 3)),
        ("ConvTranspose", (1, 4, 4, 4), (4, 2, 3, 3), 1, {"group": 1}, (2, 3, 3, 4)),
        ("ConvTranspose", (1, 4, 4, 4), (4, 2, 3, 3), 1, {"group": 2}, (4, 3, 3, 2)),
        ("Gemm", (1, 3), (2, 3), 0, {"transB": 1}, (2, 3)),
        ("Gemm", (1, 3), (3, 2), 1, {}, (2, 3)),
        ("MatMul", (1, 3), (3, 2), 1, {}, (2, 3)),
    ],
)
def test_quantized_weights_stay_quantized(
    op_type: str,
    shape: tuple[int, ...],
    weights: tuple[int, ...],
    axis: int,
    attributes: dict[str, Any],
    stored: tuple[int, ...],
) -> None:
    w = np.arange(np.prod(weights)).astype(np.int8).reshape(weights)
    scales = np.array([0.5, 0.25], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["r"], axis=axis),
        helper.make_node(op_type, ["x", "r"], ["y"], **attributes),
    ]
    g = read_model(quantized(nodes, {"w": w, "s": scales, "z": np.zeros(2, np.int8)}, shape))
    (weighted,) = (op for op in g if op.name in ("conv2d", "conv2d_transpose", "dense"))
    dequantize = weighted.operands[1].owner
    assert dequantize is not None and dequantize.name == "dequantize"
    t = dequantize.operands[0].type
    assert (t.dtype.name, t.shape) == ("i8", stored)
    assert t.quant is not None and t.quant.axis == 0 and isinstance(t.quant.scale, Blob)
    assert set(t.quant.scale.array.tolist()) == {0.5, 0.25}


def test_quantized_weights_may_be_transposed() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    w = np.array([[1, 2, 3], [4, 5, 6]], np.int8)
    constants: dict[str, Array] = {
        "w": w,
        "s": np.array(0.5, np.float32),
        "z": np.array(0, np.int8),
    }
    g = read_model(quantized(nodes, constants, (1, 3)))
    assert [op.name for op in g] == ["const", "dequantize", "dense"]
    assert g.ops[0].result.constant is not None
    np.testing.assert_array_equal(g.ops[0].result.constant, w)
