"""low-rank and separate-conv: exact where the weights allow it, MACs as asked, fits that help."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import networks
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.ir import F32, Array, Graph, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.passes.low_rank import LowRank
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.passes.separate_conv import SeparateConv
from tinycc_nn.pipeline import Context, Pass
from tinycc_nn.pruning.factors import low_rank, most_rank, separable, spectrum
from tinycc_nn.pruning.layers import total_macs
from tinycc_nn.reference import run

RNG = np.random.default_rng(4)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def network() -> Graph:
    """3x3 conv -> 1x1 conv of rank 4 -> dense with correlated inputs, with ReLU and biases."""
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 6, 6, 4)))
    w, b = g.constant("w", normal(16, 3, 3, 4)), g.constant("b", normal(16))
    a = emit(g, "conv2d", [x, w, b], {"act": "relu", "pad": (1, 1, 1, 1)}, result="first")
    thin = (normal(16, 4) @ normal(4, 16)).reshape(16, 1, 1, 16)
    v, c = g.constant("v", thin), g.constant("c", normal(16))
    d = emit(g, "conv2d", [a, v, c], {"act": "relu", "stride": (2, 2)}, result="second")
    f = emit(g, "reshape", [d], {"shape": (1, 144)}, result="flat")
    g.outputs = [emit(g, "dense", [f, g.constant("z", normal(12, 144))], result="last")]
    return g


SMALL = network()
X = (normal(150, 1, 6, 6, 2) @ normal(2, 4) + 0.3 * normal(150, 1, 6, 6, 4)).astype(np.float32)
DATA = Context({"x": X})


def error(before: Graph, after: Graph) -> float:
    a, b = run(before, {"x": X})[0], run(after, {"x": X})[0]
    return float(np.square(a - b).mean() / np.square(a).mean())


def results(g: Graph) -> list[str]:
    return [op.result.name for op in g.ops if op.name in ("conv2d", "dense")]


@pytest.mark.parametrize("calibrate", [True, False])
def test_a_layer_of_low_rank_keeps_its_values(calibrate: bool) -> None:
    out = LowRank(rank=4, layers=("second",), calibrate=calibrate)(SMALL, DATA)
    assert results(out) == ["first", "second.low", "second", "last"]
    assert error(SMALL, out) < 1e-8
    assert total_macs(out) == total_macs(SMALL) - 9 * (256 - 4 * 32)


@pytest.mark.parametrize("calibrate", [True, False])
def test_separable_filters_keep_their_values(calibrate: bool) -> None:
    g = network()
    first = next(op for op in g.ops if op.result.name == "first")
    rows = np.einsum("tcp,oct->opc", normal(2, 4, 9), normal(16, 4, 2)).reshape(16, 3, 3, 4)
    g.set_operand(first, 1, g.constant("w", rows, before=first))
    out = SeparateConv(terms=2, calibrate=calibrate)(g, DATA)
    assert error(g, out) < 1e-6
    assert total_macs(out) == total_macs(g) - 36 * (16 * 36 - 8 * (9 + 16))


@pytest.mark.parametrize(
    ("blind", "measured"),
    [
        (LowRank(ratio=0.2, calibrate=False), LowRank(ratio=0.2)),
        (SeparateConv(calibrate=False), SeparateConv()),
    ],
    ids=str,
)
def test_calibration_saves_half_of_the_error(blind: Pass, measured: Pass) -> None:
    assert error(SMALL, measured(SMALL, DATA)) < error(SMALL, blind(SMALL)) / 2


def test_more_terms_and_more_energy_lose_less() -> None:
    terms = [error(SMALL, SeparateConv(terms=t)(SMALL, DATA)) for t in (1, 2, 4)]
    assert terms == sorted(terms, reverse=True) and terms[0] > 4 * terms[2]
    for kind, layer, parts in (
        (LowRank, "last", (0.5, 0.8, 0.95)),
        (SeparateConv, "first", (0.3, 0.5, 0.7)),
    ):
        kept = [kind(energy=e, layers=(layer,))(SMALL, DATA) for e in parts]
        lost, macs = [error(SMALL, g) for g in kept], [total_macs(g) for g in kept]
        assert lost == sorted(lost, reverse=True) and macs == sorted(macs)
        assert lost[0] > lost[2] and macs[0] < macs[2]


@pytest.mark.parametrize("part", [0.98, 0.96, 0.95])
def test_a_budget_is_met_within_one_rank(part: float) -> None:
    out = LowRank(macs=part)(SMALL, DATA)
    largest = max(9 * (16 + 16), 144 + 12)
    assert part * total_macs(SMALL) - largest <= total_macs(out) <= part * total_macs(SMALL)
    assert LowRank(macs=1.0)(SMALL, DATA).ops


@pytest.mark.parametrize("part", [0.9, 0.6, 0.4])
def test_a_budget_is_met_within_one_term(part: float) -> None:
    out = SeparateConv(macs=part)(SMALL, DATA)
    each = 36 * 4 * (9 + 16)
    assert part * total_macs(SMALL) - each <= total_macs(out) <= part * total_macs(SMALL)


def test_all_ways_to_ask_for_terms_agree() -> None:
    """First has 9 terms at most; each takes 3600 of the network's MACs."""
    by_number = SeparateConv(terms=3)(SMALL, DATA)
    found = {op.result.name for op in by_number.ops}
    for other in (
        SeparateConv(ratio=0.33),
        SeparateConv(macs=(total_macs(by_number) + 0.5) / total_macs(SMALL)),
    ):
        out = other(SMALL, DATA)
        assert {op.result.name for op in out.ops} == found
        np.testing.assert_array_equal(run(out, {"x": X})[0], run(by_number, {"x": X})[0])


def test_a_budget_that_cannot_be_met_says_the_nearest() -> None:
    with pytest.raises(LimitError) as e:
        LowRank(macs=0.2)(SMALL, DATA)
    assert e.value.exit_code == 3
    nearest = float(str(e.value).split("macs=")[1])
    assert total_macs(LowRank(macs=nearest)(SMALL, DATA)) <= nearest * total_macs(SMALL)


def test_both_quantize_well() -> None:
    for p in (LowRank(ratio=0.25), SeparateConv(terms=3)):
        out = p(SMALL, DATA)
        q = Quantize()(out, DATA)
        assert not any(op.type.dtype == F32 for op in q.ops if op.name in ("conv2d", "dense"))
        assert error(out, q) < 5e-3


@given(graph=networks(), rank=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_any_graph_verifies_and_never_costs_more(graph: Graph, rank: int) -> None:
    data = Context({v.name: normal(6, *v.type.shape) for v in graph.inputs})
    refusals = []
    for p in (LowRank(rank=rank), SeparateConv(terms=rank)):
        try:
            out = p(graph, data)
        except TinyccError as e:
            refusals.append(e.message)
            continue
        assert total_macs(out) <= total_macs(graph)
        assert [v.type for v in out.outputs] == [v.type for v in graph.outputs]
    assert all("no layer" in message for message in refusals)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_principal_components_are_the_best_of_their_rank(out: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    w, x = random.normal(size=(out, k)), random.normal(size=(60, k)) @ random.normal(size=(k, k))
    s = spectrum(w, x)
    y = (x - x.mean(axis=0)) @ w.T
    singular = np.linalg.svd(y, compute_uv=False)
    for rank in range(1, min(out, k) + 1):
        u, v = low_rank(w, s, rank)
        lost = np.square((x - x.mean(axis=0)) @ (v @ u).T - y).sum()
        np.testing.assert_allclose(
            lost, np.square(singular[rank:]).sum(), atol=1e-6 * np.square(singular).sum()
        )
    assert s.rank_for(1.0) <= min(out, k)


def test_separable_terms_add_up_to_the_weights() -> None:
    w = RNG.normal(size=(5, 6, 2))
    for x in (None, RNG.normal(size=(50, 6, 2))):
        s = separable(w, x)
        np.testing.assert_allclose(np.einsum("ctp,oct->opc", s.depth, s.point), w, atol=1e-9)


@given(st.integers(2, 6), st.integers(2, 6), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_energies_of_terms_are_what_their_loss_is(out: int, p: int, c: int, seed: int) -> None:
    """Of channels whose inputs have nothing to do with each other."""
    w = np.random.default_rng(seed).normal(size=(out, p, c))
    s = separable(w, None)
    assert list(s.energy) == sorted(s.energy, reverse=True)
    for terms in range(1, min(out, p) + 1):
        rest = w - np.einsum("ctp,oct->opc", s.depth[:, :terms], s.point[:, :, :terms])
        np.testing.assert_allclose(
            np.square(rest).sum(), s.energy[terms:].sum(), atol=1e-8 * s.energy.sum()
        )


def test_two_layers_take_no_more_macs_up_to_the_rank() -> None:
    for k, n in ((64, 64), (640, 128), (3, 2), (1, 9)):
        r = most_rank(k, n)
        assert r * (k + n) <= k * n < (r + 1) * (k + n)
