"""Channels made dead on purpose: both passes leave the live ones, and every bit of the output."""

from __future__ import annotations

import numpy as np
import pytest

from tinycc_nn.ir import F32, Array, Graph, TensorType, Value
from tinycc_nn.ir.graph import Attr
from tinycc_nn.ops import emit
from tinycc_nn.passes.drop_dead_channels import DropDeadChannels
from tinycc_nn.passes.prune_channels import PruneChannels
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.passes.quantize_interface import QuantizeInterface
from tinycc_nn.pipeline import Context, Pass
from tinycc_nn.pruning.layers import total_macs
from tinycc_nn.reference import run

RNG = np.random.default_rng(6)
DEAD = (1, 4, 6, 7)
X = RNG.normal(size=(40, 1, 6, 6, 3)).astype(np.float32)


def conv(g: Graph, x: Value, out: int, name: str, live: int, **attrs: int) -> Value:
    """A 3x3 layer; with fewer than `out` live channels those of DEAD are always 0."""
    inputs = 1 if "groups" in attrs else x.type.shape[-1]
    w = RNG.normal(size=(out, 3, 3, inputs)).astype(np.float32)
    b = RNG.normal(size=out).astype(np.float32)
    if live < out:
        w[list(DEAD)], b[list(DEAD)] = 0, 0
    given: dict[str, Attr] = {"act": "relu", "pad": (1, 1, 1, 1), **attrs}
    operands = [x, g.constant(f"{name}.w", w), g.constant(f"{name}.b", b)]
    return emit(g, "conv2d", operands, given, result=name)


def network(width: int, live: int) -> Graph:
    """A residual sum, a depthwise layer, a concatenation, flattened to a dense layer."""
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 6, 6, 3)))
    a = conv(g, x, width, "a", live)
    s = emit(g, "add", [a, conv(g, a, width, "b", live)], result="s")
    d = conv(g, s, width, "d", live, groups=width)
    c = emit(g, "concat", [d, conv(g, s, width, "e", live)], {"axis": 3}, result="c")
    f = emit(g, "reshape", [c], {"shape": (1, c.type.size)}, result="f")
    w: Array = RNG.normal(size=(5, c.type.size)).astype(np.float32)
    g.outputs = [emit(g, "dense", [f, g.constant("w", w)], result="y")]
    return g


FLOAT = network(8, 4)
LIVE_MACS = total_macs(network(4, 4))
INT8 = QuantizeInterface()(Quantize(bias_correction=False)(FLOAT, Context({"x": X})))
PRUNE = PruneChannels(keep=4, multiple=1, criterion="l1", reconstruct=False)


@pytest.mark.parametrize("made_by", [DropDeadChannels(), PRUNE], ids=lambda p: p.name())
@pytest.mark.parametrize("graph", [FLOAT, INT8], ids=["float", "int8"])
def test_the_macs_that_remain_are_the_live_ones(graph: Graph, made_by: Pass) -> None:
    out = made_by(graph)
    assert total_macs(out) == LIVE_MACS < total_macs(graph)
    samples = X if graph is FLOAT else RNG.integers(-128, 128, X.shape).astype(np.int8)
    before, after = run(graph, {"x": samples})[0], run(out, {"x": samples})[0]
    if graph is INT8:
        np.testing.assert_array_equal(after, before)
    else:
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
