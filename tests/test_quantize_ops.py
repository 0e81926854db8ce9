"""Every operator with an integer form, by quantize, close to its float result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tinycc_nn.ir.graph import Attr, Graph, Value
from tinycc_nn.ir.types import F32, I8, Array, TensorType
from tinycc_nn.ops import Int8, emit, opdefs
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.pipeline import Context
from tinycc_nn.reference import run

SHAPE = (1, 6, 6, 4)
Build = Callable[[Graph, Value], Value]


def normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def unary(name: str, **attrs: Attr) -> Build:
    return lambda g, x: emit(g, name, [x], attrs)


def binary(name: str, **attrs: Attr) -> Build:
    def build(g: Graph, x: Value) -> Value:
        return emit(g, name, [x, emit(g, "hard_swish", [x])], attrs)

    return build


def weighted(name: str, shape: tuple[int, ...], **attrs: Attr) -> Build:
    def build(g: Graph, x: Value) -> Value:
        w, b = g.constant("w", normal(*shape)), g.constant("b", normal(shape[0]))
        return emit(g, name, [x, w, b], attrs)

    return build


def constant(name: str, *shape: int) -> Build:
    return lambda g, x: emit(g, name, [x, g.constant("c", normal(*shape))])


def product(g: Graph, x: Value) -> Value:
    turned = emit(g, "transpose", [x], {"perm": (0, 1, 3, 2)})
    return emit(g, "matmul", [x, turned])


def of_positive(name: str, **attrs: Attr) -> Build:
    def build(g: Graph, x: Value) -> Value:
        return emit(g, name, [emit(g, "add", [emit(g, "sigmoid", [x]), one(g)])], attrs)

    def one(g: Graph) -> Value:
        return g.constant("one", np.ones((1, 1, 1, 1), np.float32))

    return build


CASES: dict[str, Build] = {
    "conv2d": weighted("conv2d", (8, 3, 3, 2), groups=2, pad=(1, 1, 1, 1), act="relu6"),
    "conv2d_transpose": weighted("conv2d_transpose", (3, 2, 2, 4), stride=(2, 2)),
    "dense": weighted("dense", (5, 4)),
    "matmul": product,
    "add": binary("add", act="relu"),
    "sub": binary("sub"),
    "mul": binary("mul"),
    "minimum": binary("minimum"),
    "maximum": binary("maximum"),
    "concat": binary("concat", axis=3),
    "prelu": constant("prelu", 1, 1, 1, 4),
    "max_pool2d": unary("max_pool2d", kernel=(2, 2), stride=(2, 2)),
    "avg_pool2d": unary("avg_pool2d", kernel=(3, 3), stride=(2, 2), pad=(1, 1, 1, 1)),
    "reduce_mean": unary("reduce_mean", axes=(1, 2)),
    "reduce_sum": unary("reduce_sum", axes=(1, 2), keep=False),
    "reduce_max": unary("reduce_max", axes=(1, 2)),
    "reshape": unary("reshape", shape=(1, 144)),
    "transpose": unary("transpose", perm=(0, 3, 1, 2)),
    "slice": unary("slice", begin=(0, 1, 0, 0), end=(1, 6, 6, 4), step=(1, 2, 1, 1)),
    "take": unary("take", axis=1, indices=(3, 0)),
    "pad": unary("pad", pads=(0, 0, 1, 1, 1, 1, 0, 0), value=9.0),
    "softmax": unary("softmax", axis=3),
    "clip": unary("clip", min=-1.0, max=1.5),
    "resize_nearest": unary("resize_nearest", rows=(0, 2, 4), columns=(5, 1)),
    "resize_linear": unary(
        "resize_linear", rows=(0, 2), columns=(1, 3), row_fraction=(0.25, 0.5),
        column_fraction=(0.0, 0.75),
    ),
    **{name: of_positive(name) for name in ("log", "sqrt", "reciprocal")},
    "power": of_positive("power", exponent=1.5),
    "exit_if": binary("exit_if", threshold=9.0),
}  # fmt: skip
STEPS = ("sign", "floor", "ceil", "round", "thresholded_relu")  # a rounded input may fall elsewhere
CASTS = ("quantize", "dequantize", "requantize")
OF_BITS = ("pack_signs", "xnor_conv2d")  # binarize makes them, of int8 layers


def names() -> list[str]:
    found = [n for n, d in opdefs().items() if d.int8 is not Int8.NONE]
    return sorted(set(found) - {*STEPS, *CASTS, *OF_BITS})


@pytest.mark.parametrize("name", names())
def test_an_operator(name: str) -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, SHAPE))
    build = CASES.get(name) or unary(name)
    # something that computes before it, as storage operators follow their operands
    g.outputs = [build(g, emit(g, "leaky_relu", [x], {"alpha": 0.5}))]
    samples = normal(40, *SHAPE)
    q = Quantize()(g, Context({"x": samples}))
    assert any(op.name == name and op.type.dtype == I8 for op in q.ops)
    assert all(op.type.dtype == I8 for op in q.ops if op.name not in ("dequantize", "const"))
    want, got = run(g, {"x": samples})[0], run(q, {"x": samples})[0]
    error = np.sqrt(np.mean((want - got) ** 2) / np.var(want))
    assert error < 0.05
