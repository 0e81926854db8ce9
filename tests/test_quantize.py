"""quantize: from a float graph and samples to integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import F32, I8, Array, Quant, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.passes.quantize_interface import QuantizeInterface
from tinycc_nn.pipeline import Context
from tinycc_nn.reference import run

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def graph_of(shape: tuple[int, ...], build: Callable[[Graph, Value], Value]) -> Graph:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, shape))
    g.outputs = [build(g, x)]
    return g


def conv(g: Graph, x: Value, name: str, out: int, kernel: int = 1, act: str = "none") -> Value:
    w = g.constant(f"{name}.w", normal(out, kernel, kernel, x.type.shape[3]))
    b = g.constant(f"{name}.b", normal(out))
    return emit(g, "conv2d", [x, w, b], {"act": act}, result=name)


def ops(g: Graph) -> list[str]:
    return [op.name for op in g.ops if op.name != "const"]


def made(g: Graph, name: str) -> Op:
    return next(op for op in g.ops if op.results and op.result.name == name)


def quantized(g: Graph, x: Array, **options: object) -> Graph:
    return Quantize(**options)(g, Context({"x": x}))  # type: ignore[arg-type]


def error(g: Graph, q: Graph, x: Array) -> float:
    """Root mean square of the quantization error over that of the float result."""
    want, got = run(g, {"x": x})[0], run(q, {"x": x})[0]
    return float(np.sqrt(np.mean((want - got) ** 2) / np.mean(want**2)))


def small(g: Graph, x: Value) -> Value:
    a = conv(g, x, "first", 8, 3, "relu")
    b = conv(g, a, "left", 8)
    s = emit(g, "add", [a, b], {"act": "relu"}, result="sum")
    p = emit(g, "avg_pool2d", [s], {"kernel": (4, 4)}, result="pool")
    r = emit(g, "reshape", [p], {"shape": (1, 8)}, result="flat")
    w, c = g.constant("last.w", normal(5, 8)), g.constant("last.b", normal(5))
    return emit(g, "dense", [r, w, c], result="last")


SMALL = graph_of((1, 6, 6, 3), small)
SAMPLES = normal(64, 1, 6, 6, 3)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("activations", ["asymmetric", "symmetric"])
@pytest.mark.parametrize("weights", ["per-channel", "per-tensor"])
def test_every_choice_computes_close_to_float(method: str, activations: str, weights: str) -> None:
    q = quantized(SMALL, SAMPLES, method=method, activations=activations, weights=weights)
    assert ops(q) == [
        "quantize", "conv2d", "conv2d", "add", "avg_pool2d", "reshape", "dense", "dequantize",
    ]  # fmt: skip
    assert error(SMALL, q, SAMPLES) < (0.3 if method == "entropy" else 0.06)
    zeros = {v.type.quant.zero for op in q.ops for v in op.results if v.type.quant}
    assert activations == "asymmetric" or zeros == {0}


def test_defaults_are_accurate_and_types_follow_the_convention() -> None:
    q = quantized(SMALL, SAMPLES)
    assert error(SMALL, q, SAMPLES) < 0.03
    first, last = made(q, "first"), next(op for op in q.ops if op.name == "dense")
    assert first.operands[1].type.quant is not None and first.operands[1].type.quant.axis == 0
    assert last.operands[1].type.quant is not None and last.operands[1].type.quant.axis is None
    assert first.type.quant is not None and first.type.quant.zero == -128  # after relu
    assert first.operands[2].type == TensorType(first.operands[2].type.dtype, (8,))
    for op in (first, last):
        w = op.operands[1].constant
        assert w is not None and w.dtype == np.int8 and w.min() >= -127 and abs(w).max() == 127


def test_pixels_need_no_rounding() -> None:
    g = graph_of((1, 4, 4, 3), lambda g, x: conv(g, x, "y", 4))
    pixels = RNG.integers(0, 256, (20, 1, 4, 4, 3)).astype(np.float32)
    pixels[0, 0, 0, 0] = [0, 255, 1]
    q = quantized(g, pixels)
    assert q.ops[0].type.quant == Quant(1.0, -128)


def test_names_survive() -> None:
    q = quantized(SMALL, SAMPLES)
    assert {op.result.name for op in q.ops} >= {"first", "first.w", "first.b", "sum", "last"}
    assert q.inputs[0].name == "x"


def test_layers_stay_float_by_name() -> None:
    q = quantized(SMALL, SAMPLES, keep_float=("left",))
    assert made(q, "left").type.dtype == F32
    assert ops(q)[:6] == ["quantize", "conv2d", "dequantize", "conv2d", "quantize", "add"]
    assert error(SMALL, q, SAMPLES) < 0.03
    nothing = quantized(SMALL, SAMPLES, keep_float=("first", "left", "sum", "pool", "last"))
    assert set(ops(nothing)).isdisjoint({"quantize", "dequantize"})


def test_an_unknown_layer_is_an_error() -> None:
    with pytest.raises(TinyccError, match="no layer is called 'frist'") as e:
        quantized(SMALL, SAMPLES, keep_float=("frist",))
    assert "did you mean 'first'?" in str(e.value)


def test_calibration_is_required_and_must_be_finite() -> None:
    with pytest.raises(TinyccError, match="needs calibration data"):
        Quantize()(SMALL)
    bad = SAMPLES.copy()
    bad[3, 0, 0, 0, 0] = np.nan
    with pytest.raises(TinyccError, match="%x infinite or not a number"):
        quantized(SMALL, bad)


def test_a_float_only_op_is_between_dequantize_and_quantize() -> None:
    def build(g: Graph, x: Value) -> Value:
        a = conv(g, x, "a", 4, 1, "relu")
        two = g.constant("two", np.full((1, 1, 1, 1), 2, np.float32))
        d = emit(g, "div", [a, two], result="d")
        return conv(g, d, "y", 4)

    q = quantized(graph_of((1, 4, 4, 3), build), normal(8, 1, 4, 4, 3))
    assert ops(q) == [
        "quantize", "conv2d", "dequantize", "div", "quantize", "conv2d", "dequantize",
    ]  # fmt: skip


def concat(g: Graph, x: Value) -> Value:
    a, b = conv(g, x, "a", 4), conv(g, x, "b", 4, 1, "relu")
    y = emit(g, "maximum", [a, b], result="y")
    return conv(g, y, "z", 4)


def test_operands_of_a_storage_op_share_a_quantization() -> None:
    g = graph_of((1, 4, 4, 3), concat)
    x = normal(32, 1, 4, 4, 3)
    q = quantized(g, x)
    assert ops(q) == ["quantize", "conv2d", "conv2d", "maximum", "conv2d", "dequantize"]
    assert made(q, "a").type.quant == made(q, "b").type.quant == made(q, "y").type.quant
    assert error(g, q, x) < 0.04


def test_an_operand_with_other_users_is_requantized() -> None:
    def build(g: Graph, x: Value) -> Value:
        a, wide = conv(g, x, "a", 4), g.constant("wide", 5 * normal(4, 1, 1, 3))
        b = emit(g, "conv2d", [x, wide], result="b")
        y = emit(g, "maximum", [a, b], result="y")
        return emit(g, "add", [y, a], result="z")

    g = graph_of((1, 4, 4, 3), build)
    x = normal(32, 1, 4, 4, 3)
    q = quantized(g, x)
    assert ops(q).count("requantize") == 1
    assert error(g, q, x) < 0.04


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_fixed_results(name: str) -> None:
    g = graph_of((1, 4, 4, 3), lambda g, x: emit(g, name, [conv(g, x, "a", 4)], result="y"))
    x = normal(32, 1, 4, 4, 3)
    q = quantized(g, x)
    want = Quant(1 / 256, -128) if name == "sigmoid" else Quant(1 / 128, 0)
    assert next(op for op in q.ops if op.name == name).type.quant == want
    assert error(g, q, x) < 0.04


def test_tiny_and_zero_channels() -> None:
    w = normal(4, 1, 1, 3)
    w[1], w[2] = 0, w[2] * 1e-12
    b = np.array([0.5, 3, -3, 0], np.float32)

    def build(g: Graph, x: Value) -> Value:
        return emit(g, "conv2d", [x, g.constant("w", w), g.constant("b", b)], result="y")

    g = graph_of((1, 4, 4, 3), build)
    x = normal(32, 1, 4, 4, 3)
    q = quantized(g, x)
    want, got = run(g, {"x": x})[0], run(q, {"x": x})[0]
    quant = next(op for op in q.ops if op.name == "conv2d").type.quant
    assert quant is not None
    assert np.abs(want - got)[..., 1:3].max() <= quant.scales()[0] / 2 * 1.01


def test_a_factor_out_of_range_names_the_layer() -> None:
    def build(g: Graph, x: Value) -> Value:
        w = g.constant("w", np.full((1, 1, 1, 2), 1e20, np.float32))
        a = emit(g, "conv2d", [x, w], result="huge")
        return emit(g, "sigmoid", [a], result="s")

    g = graph_of((1, 1, 1, 2), build)
    with pytest.raises(TinyccError, match=r"huge.*too large") as e:
        quantized(g, np.tile(np.array([1, -1], np.float32), (2, 1, 1, 1, 1)))
    assert "keep_float=[huge]" in str(e.value)


def test_a_sum_out_of_range_names_the_op() -> None:
    g = graph_of((1, 1), lambda g, x: emit(g, "sub", [x, x], result="none"))
    assert ops(quantized(g, np.full((2, 1, 1), 1e3, np.float32)))[-1] == "dequantize"
    with pytest.raises(TinyccError, match="sub %none: its scales are out of"):
        quantized(g, np.full((2, 1, 1), 1e12, np.float32))


def test_bias_correction_removes_the_mean_error() -> None:
    coarse = np.abs(normal(64, 1, 8, 8, 3)) + 1
    w = normal(4, 3, 3, 3) * 0.01
    w[:, 0, 0, 0] = 3.17  # one large weight makes the others coarse

    def build(g: Graph, x: Value) -> Value:
        return emit(g, "conv2d", [x, g.constant("w", w)], result="y")

    g = graph_of((1, 8, 8, 3), build)
    want = run(g, {"x": coarse})[0]

    def bias(correct: bool) -> float:
        got = run(quantized(g, coarse, bias_correction=correct), {"x": coarse})[0]
        return float(np.abs((got - want).mean(axis=(0, 1, 2, 3))).max())

    assert bias(True) < bias(False) / 5


def test_the_interface_becomes_int8() -> None:
    q = quantized(SMALL, SAMPLES)
    i = QuantizeInterface()(q)
    assert i.inputs[0].type == q.ops[0].type or i.inputs[0].type.dtype == I8
    assert "quantize" not in ops(i) and "dequantize" not in ops(i)
    (quant_in, quant_out) = (i.inputs[0].type.quant, i.outputs[0].type.quant)
    assert quant_in is not None and quant_out is not None
    stored = np.clip(
        np.rint(SAMPLES / np.float32(quant_in.scales()[0])) + quant_in.zero, -128, 127
    ).astype(np.int8)
    want = run(q, {"x": SAMPLES})[0]
    got = (run(i, {"x": stored})[0].astype(np.float32) - quant_out.zero) * np.float32(
        quant_out.scales()[0]
    )
    assert np.array_equal(got, want)
    half = QuantizeInterface(inputs=False)(q)
    assert half.inputs[0].type.dtype == F32 and half.outputs[0].type.dtype == I8
