"""prune-channels to a latency of the target, and by gradients."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest

from tests.support.small_networks import chain
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.channels import channel_groups
from tinycc_nn.cost import Costs
from tinycc_nn.data import Dataset
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.ir import F32, Array, Graph, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.passes.prune_channels import PruneChannels
from tinycc_nn.pipeline import Context
from tinycc_nn.pruning.group_scores import sum_over_group
from tinycc_nn.reference import run
from tinycc_nn.target import Target
from tinycc_nn.training.data import ArrayData
from tinycc_nn.training.saliency import channel_saliencies

needs_gcc = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on PATH"
)
INT8 = chain(8, 16, 24, 8)
X = np.random.default_rng(3).normal(size=(40, 1, 6, 6, 3)).astype(np.float32)


def costs(target: Target) -> Costs:
    return load_backend("tvm").costs(target, BackendOptions("net"))


def prune(max_cycles: int = 0, max_ms: float = 0.0) -> PruneChannels:
    return PruneChannels(
        max_cycles=max_cycles, max_ms=max_ms, criterion="l2", reconstruct=False, multiple=4
    )


@needs_gcc
def test_max_cycles_holds_for_what_is_built() -> None:
    asked = costs(Target.for_cpu("cortex-m4"))
    limit = int(0.6 * asked.built(INT8))
    out = prune(limit)(INT8, Context(costs=asked))
    assert 0.4 * limit < asked.built(out) <= limit


@needs_gcc
def test_max_ms_is_by_the_clock_of_the_device() -> None:
    asked = costs(Target.load("nucleo-l4r5zi"))
    clock = asked.target.clock
    assert clock is not None
    whole = asked.built(INT8)
    out = prune(max_ms=0.7 * whole / clock * 1e3)(INT8, Context(costs=asked))
    assert asked.built(out) <= 0.7 * whole


def test_what_can_not_be_met_says_the_nearest() -> None:
    asked = costs(Target.for_cpu("cortex-m4"))
    with pytest.raises(LimitError, match="10 cycles at most, but the channels that may be") as e:
        prune(10)(INT8, Context(costs=asked))
    assert e.value.hint is not None and "max_cycles=" in e.value.hint


def test_a_latency_needs_a_target_and_a_clock() -> None:
    with pytest.raises(TinyccError, match="the pass prune-channels needs a target"):
        prune(1000)(INT8)
    core = Context(costs=costs(Target.for_cpu("cortex-m4")))
    with pytest.raises(TinyccError, match="max_ms: cortex-m4 has no clock"):
        prune(max_ms=1.0)(INT8, core)
    with pytest.raises(ValueError, match="must be above 0"):
        PruneChannels(max_cycles=-1)
    with pytest.raises(ValueError, match="give one of"):
        PruneChannels(max_cycles=1, macs=0.5)


def network(seed: int = 0) -> Graph:
    """A layer of 8 channels, a residual sum, a mean and a dense layer with softmax."""
    random = np.random.default_rng(seed)
    g = Graph("g")

    def normal(*shape: int) -> Array:
        return random.normal(size=shape).astype(np.float32)

    x = g.add_input("x", TensorType(F32, (1, 6, 6, 3)))
    a = emit(g, "conv2d", [x, g.constant("w", normal(8, 3, 3, 3))], {"act": "relu"})
    b = emit(g, "conv2d", [a, g.constant("v", normal(8, 1, 1, 8))])
    pooled = emit(g, "avg_pool2d", [emit(g, "add", [a, b])], {"kernel": (4, 4)})
    flat = emit(g, "reshape", [pooled], {"shape": (1, 8)})
    y = emit(g, "dense", [flat, g.constant("z", normal(5, 8))])
    g.outputs = [emit(g, "softmax", [y], {"axis": 1})]
    return g


def test_saliency_is_the_square_of_the_first_order_change() -> None:
    g = network()
    groups = [c for c in channel_groups(g) if not c.fixed]
    head = g.outputs[0].owner
    assert head is not None
    last = head.operands[0].owner
    assert last is not None
    v = last.operands[0]
    found = channel_saliencies(g, [v], {"x": X}, None)[v]
    assert found.shape == (8,) and groups
    # The outputs depend on this value linearly: the change is weight times value, exactly.
    until = g.clone()
    until.outputs = [next(u for op in until.ops for u in op.results if u.name == v.name)]
    values = run(until, {"x": X})[0].reshape(len(X), 8).astype(np.float64)
    w = last.operands[1].constant
    assert w is not None
    exact = (np.square(values[:, None, :] * w[None])).sum(axis=1).mean(axis=0)
    np.testing.assert_allclose(found, exact, rtol=0.4)
    np.testing.assert_array_equal(np.argsort(found)[[0, -1]], np.argsort(exact)[[0, -1]])


def test_taylor_removes_the_channel_that_no_output_depends_on() -> None:
    g = network()
    for op in g.ops:
        if op.name == "const" and op.result.name == "w":
            w = op.result.constant
            assert w is not None
            changed = w.copy()
            changed[5] = 0
            g.set_operand(next(iter(op.result.uses))[0], 1, g.constant("w2", changed, before=op))
            break
    out = PruneChannels(ratio=0.1, criterion="taylor", multiple=1, reconstruct=False)(
        g, Context({"x": X})
    )
    np.testing.assert_allclose(run(out, {"x": X})[0], run(g, {"x": X})[0], atol=1e-5)


def test_taylor_uses_labels_where_there_are_some() -> None:
    g = network()
    labels = np.arange(40) % 5
    training = ArrayData(Dataset({"x": X}, labels), "made up")
    assert training.labelled
    p = PruneChannels(ratio=0.3, criterion="taylor", multiple=1, reconstruct=False)
    with_labels = p(g, Context({"x": X}, training=training))
    assert with_labels.outputs[0].type == g.outputs[0].type


def test_taylor_needs_floats_calibration_and_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    p = PruneChannels(ratio=0.3, criterion="taylor", reconstruct=False)
    with pytest.raises(TinyccError, match=r"criterion=taylor needs calibration data"):
        p(network())
    x = {INT8.inputs[0].name: np.zeros((2, *INT8.inputs[0].type.shape), np.float32)}
    with pytest.raises(TinyccError, match="criterion=taylor needs a float network") as e:
        p(INT8, Context(x))
    assert e.value.hint == "put the pass in front of quantize, or take another criterion"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TinyccError, match=r"prune-channels\{criterion=taylor\} needs PyTorch"):
        p(network(), Context({"x": X}))


def test_scores_of_a_group_are_summed() -> None:
    g = network()
    groups = [c for c in channel_groups(g) if not c.fixed]
    v = groups[0].channels[0][0]
    scores = {v: np.arange(8.0)}
    np.testing.assert_array_equal(
        np.sort(sum_over_group(groups, scores)), np.arange(len(groups), dtype=float)
    )
