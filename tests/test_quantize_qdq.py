"""fuse-qdq: graphs with quantize and dequantize become integer graphs of the same values."""

from __future__ import annotations

import numpy as np
import pytest

from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import F32, I8, Array, Blob, Quant, TensorType
from tinycc_nn.ops import emit, verify
from tinycc_nn.passes.fuse_qdq import FuseQdq
from tinycc_nn.passes.quantize_interface import QuantizeInterface
from tinycc_nn.reference import run

RNG = np.random.default_rng(1)
X, Y, Z = Quant(0.05, 3), Quant(0.5, -10), Quant(0.25, 20)


def ints(*shape: int) -> Array:
    return RNG.integers(-127, 128, shape).astype(np.int8)


def start(*shape: int, quant: Quant = X) -> tuple[Graph, Value]:
    """A graph and its only input, quantized and dequantized."""
    g = Graph("g")
    return g, pair(g, g.add_input("x", TensorType(F32, shape)), quant)


def pair(g: Graph, v: Value, quant: Quant) -> Value:
    return emit(g, "dequantize", [emit(g, "quantize", [v], quant=quant)])


def parameter(g: Graph, name: str, array: Array, quant: Quant) -> Value:
    return emit(g, "dequantize", [g.constant(name, array, quant)])


def finish(g: Graph, v: Value) -> Graph:
    g.outputs = [v]
    verify(g)
    return g


def names(g: Graph) -> list[str]:
    return [op.name for op in g.ops if op.name != "const"]


def difference(a: Graph, b: Graph, quant: Quant, *shape: int) -> float:
    """The largest difference of the outputs, in steps of the output."""
    x = RNG.normal(size=(50, *shape)).astype(np.float32) * 3
    d = run(a, {"x": x})[0] - run(b, {"x": x})[0]
    return float(np.abs(d).max() / quant.scales()[0])


def layer(g: Graph, x: Value, *, channels: bool, bias_scale: float = 1.0) -> Value:
    scales = np.array([0.01, 0.02, 0.005, 0.03], np.float32)
    quant = Quant(Blob("s", scales), 0, 0) if channels else Quant(0.01)
    sb = (scales if channels else np.full(4, 0.01, np.float32)) * np.float32(0.05 * bias_scale)
    bias_quant = Quant(Blob("sb", sb), 0, 0)
    w = parameter(g, "w", ints(4, 3, 3, 2), quant)
    b = parameter(g, "b", RNG.integers(-900, 900, 4).astype(np.int32), bias_quant)
    return emit(g, "conv2d", [x, w, b], {"pad": (1, 1, 1, 1)}, result="layer")


@pytest.mark.parametrize("channels", [True, False])
@pytest.mark.parametrize("bias_scale", [1.0, 0.37])
@pytest.mark.parametrize("activation", ["none", "relu", "clip", "fused"])
def test_a_layer_becomes_integer(channels: bool, bias_scale: float, activation: str) -> None:
    g, x = start(1, 5, 5, 2)
    y = layer(g, x, channels=channels, bias_scale=bias_scale)
    if activation == "fused":
        assert y.owner is not None
        y.owner.attrs["act"] = "relu"
    elif activation != "none":
        limits = {"min": -1.0, "max": 6.0} if activation == "clip" else {}
        y = emit(g, activation, [y], limits)
    finish(g, pair(g, y, Y))
    f = FuseQdq()(g)
    assert names(f) == ["quantize", "conv2d", "dequantize"]
    conv = next(op for op in f.ops if op.name == "conv2d")
    assert conv.type.dtype == conv.operands[1].type.dtype == I8
    assert difference(g, f, Y, 1, 5, 5, 2) <= 1  # rounding may part at halves
    assert names(QuantizeInterface()(f)) == ["conv2d"]


def test_storage_ops_between_equal_quantizations_move_integers() -> None:
    g, x = start(1, 4, 4, 2)
    y = emit(g, "max_pool2d", [x], {"kernel": (2, 2), "stride": (2, 2)})
    y = emit(g, "reshape", [pair(g, y, X)], {"shape": (1, 8)})
    finish(g, y)
    f = FuseQdq()(g)
    assert names(f) == ["quantize", "max_pool2d", "reshape", "dequantize"]
    assert difference(g, f, X, 1, 4, 4, 2) == 0


def test_another_quantization_is_a_requantize() -> None:
    g, x = start(1, 4, 4, 2)
    f = FuseQdq()(finish(g, pair(g, emit(g, "reshape", [x], {"shape": (1, 32)}), Y)))
    assert names(f) == ["quantize", "reshape", "requantize", "dequantize"]
    assert difference(g, f, Y, 1, 4, 4, 2) <= 1


def test_operands_of_storage_ops_get_the_quantization_of_the_result() -> None:
    g, x = start(1, 4, 4, 2)
    other = pair(g, emit(g, "sigmoid", [x]), Quant(1 / 256, -128))
    f = FuseQdq()(finish(g, pair(g, emit(g, "maximum", [x, other]), Z)))
    assert names(f).count("requantize") == 2
    assert all(v.type.dtype == I8 for op in f.ops if op.name == "maximum" for v in op.operands)
    assert difference(g, f, Z, 1, 4, 4, 2) <= 1


def test_quantize_moves_up_through_a_transpose() -> None:
    g, x = start(1, 5, 5, 2)
    y = emit(g, "transpose", [layer(g, x, channels=True)], {"perm": (0, 3, 1, 2)})
    f = FuseQdq()(finish(g, pair(g, y, Y)))
    assert names(f) == ["quantize", "conv2d", "transpose", "dequantize"]
    assert difference(g, f, Y, 1, 5, 5, 2) <= 1


def test_residual_sum() -> None:
    g, x = start(1, 5, 5, 2)
    a = pair(g, layer(g, x, channels=True), Y)
    b = pair(g, emit(g, "relu", [a]), Z)
    f = FuseQdq()(finish(g, pair(g, emit(g, "relu", [emit(g, "add", [a, b])]), Y)))
    add = next(op for op in f.ops if op.name == "add")
    assert add.attrs["act"] == "relu" and add.type.dtype == I8
    assert difference(g, f, Y, 1, 5, 5, 2) <= 2


def test_softmax_keeps_its_fixed_scale() -> None:
    g, x = start(1, 8)
    f = FuseQdq()(finish(g, pair(g, emit(g, "softmax", [x], {"axis": 1}), Quant(0.0042, -128))))
    assert names(f) == ["quantize", "softmax", "requantize", "dequantize"]
    assert difference(g, f, Quant(0.0042), 1, 8) <= 2


def test_what_has_no_integer_form_stays_float() -> None:
    g, x = start(1, 4, 4, 2)
    two = g.constant("two", np.full((1, 1, 1, 1), 2, np.float32))
    d = emit(g, "div", [x, two])
    f = FuseQdq()(finish(g, pair(g, d, Y)))
    assert names(f) == ["quantize", "dequantize", "div", "quantize", "dequantize"]
    assert difference(g, f, Y, 1, 4, 4, 2) == 0


def test_a_result_that_is_also_used_as_float_stays_float() -> None:
    g, x = start(1, 5, 5, 2)
    y = layer(g, x, channels=True)
    finish(g, pair(g, y, Y))
    g.outputs.append(y)
    f = FuseQdq()(g)
    assert next(op for op in f.ops if op.name == "conv2d").type.dtype == F32


def test_a_bias_beyond_32_bits_stays_float() -> None:
    g, x = start(1, 4, quant=Quant(1e-6, 0))
    w = parameter(g, "w", ints(3, 4), Quant(1e-6))
    b = g.constant("b", np.array([0, 5e3, 0], np.float32))
    f = FuseQdq()(finish(g, pair(g, emit(g, "dense", [x, w, b]), Y)))
    assert names(f) == ["quantize", "dequantize", "dequantize", "dense", "quantize", "dequantize"]


def test_an_input_with_float_users_stays_float() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 4)))
    g.outputs = [emit(g, "add", [pair(g, x, X), x])]
    assert QuantizeInterface()(g).inputs[0].type.dtype == F32
