"""equalize: the float function stays, the ranges of channels even out."""

from __future__ import annotations

import numpy as np
import pytest

from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.passes.equalize import Equalize
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.pipeline import Context
from tinycc_nn.reference import run

RNG = np.random.default_rng(2)
SPREAD = np.array([0.01, 100, 1, 3, 0.3, 30], np.float32)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def network(act: str = "relu") -> Graph:
    """conv -> depthwise -> pool -> reshape -> dense, with channels of uneven range."""
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 6, 6, 3)))
    w1 = g.constant("w1", normal(6, 3, 3, 3) * SPREAD.reshape(-1, 1, 1, 1))
    b1 = g.constant("b1", normal(6) * SPREAD)
    a = emit(g, "conv2d", [x, w1, b1], {"act": act, "pad": (1, 1, 1, 1)}, result="a")
    w2 = g.constant("w2", normal(6, 3, 3, 1) / SPREAD.reshape(-1, 1, 1, 1))
    d = emit(g, "conv2d", [a, w2], {"groups": 6, "act": "relu"}, result="d")
    p = emit(g, "max_pool2d", [d], {"kernel": (2, 2), "stride": (2, 2)})
    r = emit(g, "reshape", [p], {"shape": (1, 24)})
    g.outputs = [
        emit(g, "dense", [r, g.constant("w3", normal(4, 24)), g.constant("b3", normal(4))])
    ]
    return g


def weight(g: Graph, layer: str) -> Array:
    made: dict[str, Value] = {op.result.name: op.result for op in g.ops}
    owner = made[layer].owner
    assert owner is not None
    w = owner.operands[1].constant
    assert w is not None
    return np.asarray(np.abs(w.reshape(len(w), -1)).max(axis=1))


def test_the_function_stays_and_ranges_even_out() -> None:
    g, x = network(), normal(20, 1, 6, 6, 3)
    e = Equalize()(g)
    want, got = run(g, {"x": x})[0], run(e, {"x": x})[0]
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
    assert weight(g, "a").max() / weight(g, "a").min() > 1000
    assert weight(e, "a").max() / weight(e, "a").min() < 10


def test_per_tensor_weights_gain() -> None:
    g, x = network(), normal(50, 1, 6, 6, 3)
    errors = []
    for graph in (g, Equalize()(g)):
        q = Quantize(weights="per-tensor")(graph, Context({"x": x}))
        errors.append(float(np.mean((run(q, {"x": x})[0] - run(g, {"x": x})[0]) ** 2)))
    assert errors[1] < errors[0] / 4


@pytest.mark.parametrize("act", ["relu6", "clip"])
def test_a_saturating_activation_is_left_alone(act: str) -> None:
    g = network(act)
    e = Equalize()(g)
    assert np.array_equal(weight(g, "a"), weight(e, "a"))


def test_a_value_with_two_users_is_left_alone() -> None:
    g = network()
    g.outputs.append(next(op.result for op in g.ops if op.result.name == "a"))
    assert np.array_equal(weight(g, "a"), weight(Equalize()(g), "a"))
