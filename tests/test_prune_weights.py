"""prune-weights and prune-blocks: how many zeros and where, what fitting saves, exact zeros."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import networks
from tinycc_nn.channels import is_depthwise
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, I8, Array, Graph, Op, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.passes.prune_blocks import PruneBlocks
from tinycc_nn.passes.prune_weights import PruneWeights
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.pipeline import Context, Pass
from tinycc_nn.pruning.layers import is_layer, total_macs
from tinycc_nn.pruning.least_squares import fit, unexplained
from tinycc_nn.pruning.masks import block_means, spread
from tinycc_nn.reference import run

RNG = np.random.default_rng(8)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def network() -> Graph:
    """3x3 conv -> 1x1 conv with ReLU -> dense; the inputs of each are correlated."""
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 6, 6, 4)))
    w, b = g.constant("w", normal(16, 3, 3, 4)), g.constant("b", normal(16))
    a = emit(g, "conv2d", [x, w, b], {"act": "relu"}, result="first")
    v, c = g.constant("v", normal(8, 1, 1, 16)), g.constant("c", normal(8))
    d = emit(g, "conv2d", [a, v, c], {"act": "relu6"}, result="second")
    f = emit(g, "reshape", [d], {"shape": (1, 128)}, result="flat")
    g.outputs = [emit(g, "dense", [f, g.constant("z", normal(4, 128))], result="last")]
    return g


SMALL = network()
X = (normal(200, 1, 6, 6, 2) @ normal(2, 4) + 0.3 * normal(200, 1, 6, 6, 4)).astype(np.float32)
DATA = Context({"x": X})


def weight(op: Op) -> Array:
    w = op.operands[1].constant
    assert w is not None
    q = op.operands[1].type.quant
    return w.astype(np.int32) - q.zero if q is not None else w


def zeros(g: Graph) -> dict[str, float]:
    return {op.result.name: float(np.mean(weight(op) == 0)) for op in g.ops if is_layer(op)}


def nonzero(g: Graph) -> int:
    return sum(int(np.count_nonzero(weight(op))) for op in g.ops if is_layer(op))


def error(before: Graph, after: Graph) -> float:
    a, b = run(before, {"x": X})[0], run(after, {"x": X})[0]
    return float(np.square(a - b).mean() / np.square(a).mean())


@given(graph=networks(), ratio=st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_any_graph_gets_its_zeros_and_no_other_change(graph: Graph, ratio: float) -> None:
    layers = [op for op in graph.ops if is_layer(op) and not is_depthwise(op)]
    p = PruneWeights(ratio=ratio, criterion="magnitude", reconstruct=False)
    if not layers:
        with pytest.raises(TinyccError, match="no layer to prune"):
            p(graph)
        return
    out = p(graph)
    before = np.concatenate([weight(op).ravel() for op in layers])
    after = np.concatenate(
        [weight(op).ravel() for op in out.ops if is_layer(op) and not is_depthwise(op)]
    )
    assert np.array_equal(after[after != 0], before[after != 0])
    assert (after == 0).sum() >= int(ratio * len(after))
    assert ((after == 0) & (before != 0)).sum() <= ratio * len(after)
    assert total_macs(out) == total_macs(graph)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_ratio_is_met_exactly(scope: str) -> None:
    p = PruneWeights(ratio=0.75, scope="layer" if scope == "layer" else "global")
    found = zeros(p(SMALL, DATA))
    if scope == "layer":
        assert found == {"first": 0.75, "second": 0.75, "last": 0.75}
    sizes = {"first": 576, "second": 128, "last": 512}
    assert sum(found[n] * s for n, s in sizes.items()) == 0.75 * sum(sizes.values())


@pytest.mark.parametrize(
    ("plain", "fitted"),
    [
        (PruneWeights(reconstruct=False), PruneWeights()),
        (PruneBlocks(reconstruct=False), PruneBlocks()),
        (PruneBlocks(n_m=(2, 4), reconstruct=False), PruneBlocks(n_m=(2, 4))),
    ],
    ids=str,
)
def test_fitting_saves_half_of_the_error_for_as_many_zeros(plain: Pass, fitted: Pass) -> None:
    a, b = plain(SMALL, DATA), fitted(SMALL, DATA)
    assert error(SMALL, b) < error(SMALL, a) / 2
    assert nonzero(a) == nonzero(b)


def test_criteria_that_look_at_inputs_do_better() -> None:
    found = [
        error(SMALL, PruneWeights(ratio=0.6, criterion=c, scope="layer")(SMALL, DATA))
        for c in ("magnitude", "obs")
    ]
    assert found[1] < found[0]


def test_int8_weights_keep_exact_zeros_and_types() -> None:
    q = Quantize()(SMALL, DATA)
    out = PruneBlocks(block=(4, 2))(q, DATA)
    assert error(SMALL, out) < error(SMALL, PruneBlocks(reconstruct=False)(q, DATA)) / 3
    for op in out.ops:
        if is_layer(op):
            assert op.operands[1].type.dtype == I8
            assert op.operands[2].type.dtype.name == "i32"
    assert min(zeros(out).values()) >= 0.5


def test_blocks_are_whole() -> None:
    out = PruneBlocks(ratio=0.5, block=(4, 2))(SMALL, DATA)
    w = next(weight(op) for op in out.ops if op.result.name == "second").reshape(4, 2, 4, 4)
    empty = (w == 0).all(axis=(1, 3))
    assert empty.mean() == 0.5
    assert (w != 0).transpose(0, 2, 1, 3)[~empty].all()


def test_n_of_m_stay_in_each_row() -> None:
    out = PruneBlocks(n_m=(2, 4))(SMALL, DATA)
    for op in out.ops:
        if is_layer(op):
            w = weight(op)
            assert ((w.reshape(len(w), -1, 4) != 0).sum(axis=-1) == 2).all()


def test_skipped_layers_get_no_zeros() -> None:
    found = zeros(PruneWeights(skip=("second",))(SMALL, DATA))
    assert found["second"] == 0 and found["first"] > 0


@given(
    st.integers(1, 9), st.integers(1, 3), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4)
)
def test_blocks_cover_every_weight_once(o: int, p: int, i: int, bi: int, bo: int) -> None:
    a = RNG.normal(size=(o, p, i))
    means = block_means(a, (bi, bo))
    assert means.shape == (-(-o // bo), p, -(-i // bi))
    full = spread(means, (bi, bo), a.shape)
    assert full.shape == a.shape
    np.testing.assert_allclose(full.sum(), a.sum(), atol=1e-9)


def test_the_fit_is_least_squares_with_the_ridge_towards_what_is_there() -> None:
    x, w = RNG.normal(size=(400, 6)), RNG.normal(size=(3, 6))
    y = x @ w.T + 2
    keep = RNG.random((3, 6)) < 0.5
    found, bias = fit(x, y, w, keep)
    assert not found[~keep].any()
    for row in range(3):
        columns = np.c_[x[:, keep[row]], np.ones(400)]
        best = np.linalg.lstsq(columns, y[:, row], rcond=None)[0]
        np.testing.assert_allclose(found[row, keep[row]], best[:-1], atol=0.01)
        np.testing.assert_allclose(bias[row], best[-1], atol=0.01)
    same, offset = fit(x, y, w)
    np.testing.assert_allclose(same, w, atol=1e-5)
    np.testing.assert_allclose(offset, 2, atol=1e-5)


def test_what_relu_hides_does_not_count() -> None:
    x = RNG.normal(size=(2000, 3))
    y = np.maximum(x @ np.array([[1.0, 2, -1]]).T - 1, 0)
    w, bias = fit(x, y, np.array([[0.8, 1.5, -0.5]]), clip=(0.0, np.inf))
    linear, offset = fit(x, y, np.array([[0.8, 1.5, -0.5]]))
    aware = np.square(np.maximum(x @ w.T + bias, 0) - y).mean()
    blind = np.square(np.maximum(x @ linear.T + offset, 0) - y).mean()
    assert aware < blind / 4


def test_a_column_that_others_explain_is_unneeded() -> None:
    x = RNG.normal(size=(500, 3))
    x = np.c_[x, x @ [1.0, 1, 0]]
    left = unexplained(x)
    assert left[2] > 0.5 and max(left[0], left[1], left[3]) < 0.01
