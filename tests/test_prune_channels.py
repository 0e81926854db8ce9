"""prune-channels: targets are met, coupled channels go together, fitting helps, dead channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.support.graphs import networks, samples
from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.channels import Group, channel_groups
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.ir import F32, I8, Array, Graph, TensorType
from tinycc_nn.ops import emit, opdef
from tinycc_nn.passes.low_rank import LowRank
from tinycc_nn.passes.prune_channels import PruneChannels
from tinycc_nn.passes.prune_weights import PruneWeights
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.passes.quantize_interface import QuantizeInterface
from tinycc_nn.passes.quantize_weights import QuantizeWeights
from tinycc_nn.pipeline import Context
from tinycc_nn.pruning.group_scores import Criterion, group_scores, without
from tinycc_nn.pruning.layers import total_macs
from tinycc_nn.pruning.samples import compute
from tinycc_nn.pruning.selection import by_ratio, units
from tinycc_nn.reference import run

RNG = np.random.default_rng(5)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


X = normal(96, 1, 6, 6, 3)


def network(dead: tuple[int, ...] = (), bias_of_dead: float = 0.0) -> Graph:
    """conv -> depthwise -> 1x1 -> residual sum -> flatten -> dense.

    The `dead` channels of the first layer, and so of the depthwise layer, are constant. Nothing
    pads if that constant isn't 0.
    """
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 6, 6, 3)))
    w, b = normal(16, 3, 3, 3), normal(16)
    w[list(dead)] = 0
    b[list(dead)] = bias_of_dead
    a = emit(
        g, "conv2d", [x, g.constant("w", w), g.constant("b", b)],
        {"act": "relu", "pad": (0,) * 4 if bias_of_dead else (1,) * 4}, result="first",
    )  # fmt: skip
    u, k = normal(16, 3, 3, 1), normal(16)
    k[list(dead)] = bias_of_dead
    d = emit(
        g, "conv2d", [a, g.constant("u", u), g.constant("k", k)],
        {"act": "relu", "groups": 16}, result="depthwise",
    )  # fmt: skip
    v, c = g.constant("v", normal(8, 1, 1, 16)), g.constant("c", normal(8))
    p = emit(g, "conv2d", [d, v, c], {"act": "relu"}, result="second")
    r, e = g.constant("r", normal(8, 1, 1, 8)), g.constant("e", normal(8))
    s = emit(g, "conv2d", [p, r, e], result="third")
    t = emit(g, "add", [p, s], {"act": "relu"}, result="sum")
    f = emit(g, "reshape", [t], {"shape": (1, t.type.size)}, result="flat")
    g.outputs = [emit(g, "dense", [f, g.constant("z", normal(4, t.type.size))], result="last")]
    return g


SMALL = network()


def pruned(g: Graph, p: PruneChannels) -> Graph:
    return p(g, Context({"x": X}))


def error(g: Graph, changed: Graph) -> float:
    a, b = run(g, {"x": X})[0], run(changed, {"x": X})[0]
    return float(np.square(a - b).mean() / np.square(a).mean())


def channels(g: Graph) -> dict[str, int]:
    """Channels of each layer's result."""
    made = {op.result.name: op.type.shape[-1] for op in g.ops if op.name != "const"}
    return {n: c for n, c in made.items() if n not in ("flat", "last")}


@given(graph=networks())
@settings(max_examples=50, deadline=None)
def test_removal_equals_channels_that_are_zero(graph: Graph) -> None:
    free = [g for g in channel_groups(graph) if not g.fixed]
    try:
        out = PruneChannels(ratio=0.5, criterion="l2", multiple=1, reconstruct=False)(graph)
    except TinyccError:
        assert not free
        return
    inputs = samples(graph)
    want = _run_with_zeros(graph, out, inputs)
    assert total_macs(out) <= total_macs(graph)
    for a, b in zip(want, run(out, inputs), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3)


def _run_with_zeros(graph: Graph, out: Graph, inputs: dict[str, Array]) -> list[Array]:
    """What `graph` computes if the channels that `out` has lost are real 0."""
    groups = [g for g in channel_groups(graph) if not g.fixed]
    scores = group_scores(graph, groups, "l2", {}, compensated=False)
    chosen = by_ratio(units(groups, scores, 1, relative=True), len(groups), 0.5, together=True)
    gone = Group(tuple(c for u in chosen for g in u.groups for c in g.channels), fixed=False)
    ops = [op for op in graph.ops if op.name != "const"]
    base = {v: inputs[v.name] for v in graph.inputs}
    n = len(inputs["x"])
    for op in ops:
        base[op.result] = compute(op, base, n)
    base |= without(gone, ops, base, n)
    return [base[v] for v in graph.outputs]


@given(graph=networks())
@settings(max_examples=30, deadline=None)
def test_a_budget_is_kept_or_the_nearest_is_said(graph: Graph) -> None:
    data = {v.name: normal(8, *v.type.shape) for v in graph.inputs}
    if not any(not g.fixed for g in channel_groups(graph)):
        return
    try:
        out = PruneChannels(macs=0.7, multiple=1)(graph, Context(data))
    except LimitError as e:
        nearest = float(str(e).split("macs=")[1])
        assert nearest > 0.7
        out = PruneChannels(macs=min(nearest, 1.0), multiple=1)(graph, Context(data))
        assert total_macs(out) <= nearest * total_macs(graph)
        return
    assert total_macs(out) <= 0.7 * total_macs(graph)
    assert [v.type for v in out.outputs] == [v.type for v in graph.outputs]


@pytest.mark.parametrize("criterion", ["l1", "l2", "activation", "sensitivity"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_budgets_are_met_within_one_group(criterion: Criterion, scope: str) -> None:
    p = PruneChannels(
        macs=0.6, criterion=criterion, scope="layer" if scope == "layer" else "global", multiple=1
    )
    part = total_macs(pruned(SMALL, p)) / total_macs(SMALL)
    assert 0.6 - 0.06 <= part <= 0.6


@pytest.mark.parametrize("macs", [0.8, 0.6])
def test_fitting_saves_most_of_the_error(macs: float) -> None:
    plain = pruned(SMALL, PruneChannels(macs=macs, reconstruct=False, multiple=1))
    fitted = pruned(SMALL, PruneChannels(macs=macs, multiple=1))
    assert error(SMALL, fitted) < error(SMALL, plain) / 3


def test_measured_criteria_beat_norms() -> None:
    found = {
        c: error(SMALL, pruned(SMALL, PruneChannels(ratio=0.25, criterion=c, reconstruct=False)))
        for c in ("l1", "activation", "sensitivity")
    }
    assert found["sensitivity"] < found["l1"] and found["activation"] < found["l1"]


@pytest.mark.parametrize(("multiple", "left"), [(1, 5), (4, 8), (8, 8)])
def test_ratio_of_each_layer_rounds_up_to_the_multiple(multiple: int, left: int) -> None:
    out = pruned(SMALL, PruneChannels(ratio=0.7, scope="layer", multiple=multiple))
    assert channels(out)["first"] == channels(out)["depthwise"] == left
    assert channels(out)["second"] == {1: 3, 4: 4, 8: 8}[multiple]


def test_coupled_layers_and_skipped_ones() -> None:
    out = pruned(SMALL, PruneChannels(keep=4))
    assert set(channels(out).values()) == {4}
    assert out.outputs[0].type == SMALL.outputs[0].type
    out = pruned(SMALL, PruneChannels(keep=4, skip=("sum",)))
    assert channels(out) == {"first": 4, "depthwise": 4, "second": 8, "third": 8, "sum": 8}


def test_int8_graphs() -> None:
    data = Context({"x": X})
    q = QuantizeInterface()(Quantize()(SMALL, data), data)
    out = PruneChannels(macs=0.7)(q, data)
    before = PruneChannels(macs=0.7, reconstruct=False)(q, data)
    stored = stored_inputs(q, {"x": X})
    want, found, plain = (run(g, stored)[0].astype(np.float64) for g in (q, out, before))
    assert total_macs(out) <= 0.7 * total_macs(q)
    assert np.square(found - want).mean() < np.square(plain - want).mean() / 3
    for op in out.ops:
        if op.name in ("conv2d", "dense"):
            assert op.operands[1].type.dtype == I8 and op.operands[2].type.dtype.name == "i32"


DEAD = (1, 4, 5, 9, 15)


@pytest.mark.parametrize(
    ("criterion", "bias"), [("activation", 0.0), ("activation", 0.7), ("sensitivity", 0.0)]
)
def test_dead_channels_go_bit_for_bit_and_the_live_macs_remain(
    criterion: Criterion, bias: float
) -> None:
    data = Context({"x": X})
    q = Quantize()(network(DEAD, bias), data)
    ratio = len(DEAD) / len([c for c in channel_groups(q) if not c.fixed])
    out = PruneChannels(ratio=ratio, criterion=criterion, multiple=1)(q, data)
    np.testing.assert_array_equal(run(out, {"x": X})[0], run(q, {"x": X})[0])
    assert channels(out)["first"] == channels(out)["depthwise"] == 16 - len(DEAD)
    coupled = {"first", "depthwise", "second"}
    macs = sum(opdef(op.name).macs(op) for op in q.ops if op.result.name in coupled)
    assert total_macs(out) == total_macs(q) - macs * len(DEAD) // 16


def test_errors_name_the_option() -> None:
    for bad in ({"ratio": -0.1}, {"macs": 1.5}, {"keep": -1}, {"ratio": 0.1, "macs": 0.5}):
        with pytest.raises(ValueError, match=r"ratio|macs|keep"):
            PruneChannels(**bad)
    with pytest.raises(TinyccError, match="criterion=activation needs calibration data"):
        PruneChannels(ratio=0.5, reconstruct=False)(SMALL)
    for p in (PruneChannels(ratio=0.5), PruneWeights(), LowRank(rank=2)):
        with pytest.raises(TinyccError, match="infinite or not a number"):
            p(SMALL, Context({"x": np.full_like(X, np.nan)}))
    with pytest.raises(LimitError, match="MACs") as e:
        pruned(SMALL, PruneChannels(macs=0.01))
    assert e.value.exit_code == 3 and "the nearest that can be met is macs=" in str(e.value)


def test_weights_in_codes_are_pruned_but_not_fitted() -> None:
    data = Context({"x": X})
    q = QuantizeWeights(format="i4", rounding="nearest")(Quantize()(SMALL, data), data)
    out = PruneChannels(macs=0.7, multiple=1)(q, data)
    assert total_macs(out) <= 0.7 * total_macs(q)
    layers = [op for op in out.ops if op.name in ("conv2d", "dense")]
    assert {op.operands[1].type.dtype.name for op in layers} == {"i4"}


def test_what_a_transposed_convolution_reads_counts() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 6, 6, 3)))
    a = emit(g, "conv2d", [x, g.constant("w", normal(4, 1, 1, 3))], result="a")
    v = normal(2, 2, 2, 4)
    v[..., 2] = 0
    g.outputs = [emit(g, "conv2d_transpose", [a, g.constant("v", v)], {"stride": (2, 2)})]
    out = PruneChannels(keep=3, multiple=1)(g, Context({"x": X}))
    np.testing.assert_allclose(run(out, {"x": X})[0], run(g, {"x": X})[0], atol=1e-4)
