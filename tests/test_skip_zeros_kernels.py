"""Kernels that skip inputs which are zero: the interpreter's bits on every machine, in less time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.forced import compare, random_inputs
from tests.support.ops import rngs
from tinycc_nn.backend import Artifact, BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.backends.tvm.tir.skip_zeros import Lay, pack, packed_bytes, pairs_fit
from tinycc_nn.backends.tvm.tuning.key import LayerKey
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import I8, Array, Blob, Graph, Quant, TensorType
from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import emit
from tinycc_nn.target import Target

CPUS = ("cortex-m0plus", "cortex-m3", "cortex-m4")


def layer(
    shape: tuple[int, ...], out: int, rng: np.random.Generator, zero: int = -128, skip: int = 50
) -> Graph:
    """A dense layer or 1x1 convolution that is marked."""
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, shape, Quant(0.05, zero)))
    w = rng.integers(-127, 128, (out, shape[-1])).astype(np.int8)
    scales = Blob("s", rng.uniform(0.004, 0.008, out).astype(np.float32))
    window = (1, 1) if len(shape) == 4 else ()
    quant = Quant(scales, 0, 0) if rng.random() < 0.7 else Quant(0.005, 0)
    operands = [x, g.constant("w", w.reshape(out, *window, -1), quant)]
    if rng.random() < 0.7:
        operands.append(g.constant("b", rng.integers(-900, 900, out).astype(np.int32)))
    name = "conv2d" if window else "dense"
    attrs = {"skip": skip} | ({"act": "relu"} if rng.random() < 0.3 else {})
    result = Quant(float(np.float32(0.05 * np.sqrt(shape[-1]))), 5)
    g.outputs = [emit(g, name, operands, attrs, quant=result, result="y")]
    return g


def op_of(g: Graph) -> Op:
    op = g.outputs[0].owner
    assert op is not None
    return op


def compiled(g: Graph, cpu: str) -> Artifact:
    artifact = load_backend("tvm").compile(g, Target.for_cpu(cpu), BackendOptions("net"))
    quant = g.inputs[0].type.quant
    # Without the DSP extension only what comes out of a ReLU is skipped.
    skips = cpu == "cortex-m4" or (quant is not None and quant.zero == -128)
    assert all(layer.kernel.startswith("skip-zeros-") == skips for layer in artifact.layers)
    return artifact


def sparse(g: Graph, rng: np.random.Generator, zeros: float) -> dict[str, Array]:
    """An input of which about a part `zeros` is the zero point, and nothing else is if that is 0."""
    ((name, x),) = random_inputs(g, rng).items()
    quant = g.inputs[0].type.quant
    assert quant is not None
    other = 3 if quant.zero != 3 else 4
    x = np.where(x == quant.zero, other, x)
    return {name: np.where(rng.random(x.shape) < zeros, quant.zero, x).astype(np.int8)}


shapes = st.one_of(
    st.tuples(st.integers(1, 3), st.integers(1, 40)),
    st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 4), st.integers(1, 40)),
)


@pytest.mark.parametrize("cpu", CPUS)
@settings(max_examples=4, deadline=None)
@given(
    shape=shapes,
    out=st.integers(1, 19),
    zero=st.sampled_from([-128, -128, -7, 127]),
    zeros=st.sampled_from([0.0, 0.5, 1.0]),
    rng=rngs,
)
def test_bits(
    cpu: str,
    shape: tuple[int, ...],
    out: int,
    zero: int,
    zeros: float,
    rng: np.random.Generator,
) -> None:
    g = layer(shape, out, rng, zero)
    source, inputs = compiled(g, cpu).source, sparse(g, rng, zeros)
    given = list(inputs.values())
    compare(g, HostLibrary(source, flags=["-Werror"]).run(given), inputs)
    compare(g, Device(source, Target.for_cpu(cpu)).run(given), inputs)


@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4"])
def test_the_worst_case_computes_the_same(cpu: str) -> None:
    rng = np.random.default_rng(5)
    g = layer((2, 21), 11, rng)
    source, inputs = compiled(g, cpu).source, sparse(g, rng, 0.5)
    worst = HostLibrary(source, flags=source.worst_case_flags)
    compare(g, worst.run(list(inputs.values())), inputs)


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
def test_the_fewer_inputs_the_less_time_and_the_worst_case_is_the_longest(cpu: str) -> None:
    rng = np.random.default_rng(2)
    g, target = layer((1, 64), 32, rng), Target.for_cpu(cpu)
    source = compiled(g, cpu).source
    device = Device(source, target)
    worst = Device(source, target, flags=source.worst_case_flags)
    inputs = {zeros: sparse(g, rng, zeros)["x"] for zeros in (0.0, 0.5, 1.0)}
    none, half, whole = (device.cycles([x]) for x in inputs.values())
    assert half < 0.7 * none and whole < 0.45 * none
    least, *_, most = sorted(worst.cycles([x]) for x in inputs.values())
    assert none <= least <= most <= 1.001 * least, "a clipped output may take a cycle less"
    assert most < 1.1 * none


@pytest.mark.parametrize("cpu", CPUS)
def test_offered_for_marked_layers_alone_and_nothing_else_is_offered_for_these(cpu: str) -> None:
    rng = np.random.default_rng(0)
    families = [
        {
            k.family
            for k in candidates(op_of(layer((1, 16), 8, rng, skip=skip)), Target.for_cpu(cpu))
        }
        for skip in (0, 40)
    ]
    assert "skip_zeros" not in families[0] and families[1] == {"skip_zeros"}


def test_a_marked_layer_that_no_kernel_skips_is_computed_in_full() -> None:
    rng = np.random.default_rng(0)
    deep = candidates(op_of(layer((1, 9000), 2, rng)), Target.for_cpu("cortex-m4"))
    assert deep and "skip_zeros" not in {k.family for k in deep}


def test_costs_do_not_depend_on_the_percentage() -> None:
    one, other = (layer((1, 16), 8, np.random.default_rng(0), skip=s) for s in (30, 60))
    assert LayerKey.of(op_of(one)) == LayerKey.of(op_of(other))


def test_what_is_stored() -> None:
    w = np.array([[1, 2, 3], [-4, 5, -6]], np.int8)
    halves = pack(w, Lay.HALVES, 4).view(np.uint8).reshape(4, 4).astype(int) - 128
    assert halves.tolist() == [[0, 0, 0, 0], [1, -4, 0, 0], [2, 5, 0, 0], [3, -6, 0, 0]]
    pairs = pack(w, Lay.PAIRS, 8).view("<i2").reshape(4, 4)
    assert pairs[:, 0].tolist() == [0, 1 - 1024, 2 + 1280, 3 - 1536] and not pairs[:, 1:].any()
    assert packed_bytes(8, 3, 2) == pairs.nbytes


def test_pairs_whose_sums_could_overflow_are_not_stored_as_pairs() -> None:
    w = np.full((2, 259), 127, np.int8)
    assert pairs_fit(w, 255) and not pairs_fit(np.full((2, 260), 127, np.int8), 255)
    assert not pairs_fit(np.array([[-1], [-128]], np.int8), 255)
    g = layer((1, 300), 2, np.random.default_rng(0))
    op, cpu = op_of(g), Target.for_cpu("cortex-m4")
    g.set_operand(op, 1, g.constant("w", np.full((2, 300), 127, np.int8), Quant(0.1, 0), before=op))
    (kernel,) = candidates(op, cpu)
    assert kernel.name == "skip-zeros-8-halves"
    x = {"x": np.full((1, 1, 300), 127, np.int8)}
    compare(g, Device(compiled(g, "cortex-m4").source, cpu).run([x["x"]]), x)
