"""Kernels that skip blocks of zeros: the interpreter's bits on host and cores, costs by density."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import int8, rngs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates, value_facts
from tinycc_nn.backends.tvm.tir.block_stream import byte_stream, live_blocks, word_stream
from tinycc_nn.backends.tvm.tir.packing import Blocking, Packing
from tinycc_nn.backends.tvm.tuning.database import Database
from tinycc_nn.backends.tvm.tuning.key import LayerKey
from tinycc_nn.backends.tvm.tuning.records import Record, Setting
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import I8, Array, Attr, Blob, Graph, Quant, TensorType, Value
from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import emit, verify
from tinycc_nn.target import Target

M4 = Target.for_cpu("cortex-m4")
FAMILY = "block_sparse"
CPUS = ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"]


def sparse(rng: np.random.Generator, shape: tuple[int, ...], live: float, block: int) -> Array:
    """Weights of which blocks of 4 inputs x `block` outputs are zero, whole rows among them."""
    flat = rng.integers(-127, 128, (shape[0], int(np.prod(shape[1:])))).astype(np.int8)
    rows, columns = -(-flat.shape[0] // block), -(-flat.shape[1] // 4)
    keep = rng.random((rows, columns)) < live
    keep[rng.random(rows) < 0.2] = False
    mask = np.repeat(np.repeat(keep, block, 0), 4, 1)[: flat.shape[0], : flat.shape[1]]
    return (flat * mask).reshape(shape)


def add(g: Graph, x: Value, weights: Array, rng: np.random.Generator, attrs: dict[str, Attr]) -> Op:
    """The layer with weights as given, per tensor or per channel."""
    n = len(weights)
    scales = rng.uniform(0.004, 0.008, n).astype(np.float32)
    quant = Quant(Blob("s", scales), 0, 0) if rng.random() < 0.7 else Quant(0.005, 0)
    operands = [x, g.constant("w", weights, quant)]
    if rng.random() < 0.8:
        operands.append(g.constant("b", rng.integers(-900, 900, n).astype(np.int32)))
    name = "dense" if weights.ndim == 2 else "conv2d"
    scale = float(np.float32(0.05 * np.sqrt(weights[0].size)))
    y = emit(g, name, operands, attrs, quant=Quant(scale, int(rng.integers(-9, 9))))
    assert y.owner is not None
    return y.owner


@st.composite
def layers(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Attr]]:
    """Shapes of input and weights, attributes; all remainders of inputs, outputs and pixels."""
    out, depth = draw(st.integers(1, 13)), draw(st.integers(1, 30))
    act: dict[str, Attr] = {"act": draw(st.sampled_from(["none", "relu"]))}
    kind = draw(st.sampled_from(["dense", "rows", "pointwise", "conv"]))
    if kind in ("dense", "rows"):
        return (1 if kind == "dense" else draw(st.integers(2, 7)), depth), (out, depth), act
    size = draw(st.integers(1, 6)), draw(st.integers(3, 6))
    if kind == "pointwise":
        return (1, *size, depth), (out, 1, 1, depth), act
    channels = draw(st.sampled_from([1, 3, 4, 8]))
    stride = draw(st.sampled_from([(1, 1), (2, 1)]))
    more: dict[str, Attr] = {"stride": stride, "pad": draw(st.tuples(*[st.integers(1, 2)] * 4))}
    return (1, *size, channels), (out, 3, 3, channels), act | more


cases = st.lists(
    st.tuples(layers(), st.sampled_from([0.0, 0.2, 0.5, 0.75]), st.sampled_from([2, 4])),
    min_size=4,
    max_size=10,
)
Case = tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Attr]], float, int]


def network(drawn: list[Case], rng: np.random.Generator) -> Graph:
    g = Graph("g")
    for (shape, weights, attrs), live, block in drawn:
        x = g.add_input("x", TensorType(I8, shape, Quant(0.05, int(rng.integers(-128, 128)))))
        op = add(g, x, sparse(rng, weights, live, block), rng, attrs)
        g.outputs = [*g.outputs, op.result]
    verify(g)
    return g


@settings(max_examples=10, deadline=None)
@given(cases, st.sampled_from(["cortex-m0plus", "cortex-m4"]), st.integers(0, 20), rngs)
def test_on_the_host(drawn: list[Case], cpu: str, pick: int, rng: np.random.Generator) -> None:
    g = network(drawn, rng)
    artifact = forced(g, Target.for_cpu(cpu), [FAMILY], pick)
    inputs = random_inputs(g, rng)
    found = HostLibrary(artifact.source, level="-O1", flags=["-Werror"]).run(list(inputs.values()))
    compare(g, found, inputs)


@pytest.mark.parametrize("cpu", CPUS)
@settings(max_examples=2, deadline=None)
@given(drawn=cases, pick=st.integers(0, 20), rng=rngs)
def test_on_cores(cpu: str, drawn: list[Case], pick: int, rng: np.random.Generator) -> None:
    """Also that nothing beside the buffers is read or written: they are guarded."""
    g = network(drawn, rng)
    target = Target.for_cpu(cpu)
    artifact = forced(g, target, [FAMILY], pick)
    inputs = random_inputs(g, rng)
    compare(g, Device(artifact.source, target).run(list(inputs.values())), inputs)


@pytest.mark.parametrize(
    ("shape", "level"), [((1, 5, 5, 12), "O0"), ((1, 18), "O0"), ((1, 16), "Os")]
)
def test_without_optimization(shape: tuple[int, ...], level: str) -> None:
    rng = np.random.default_rng(0)
    window = (1, 1) if len(shape) == 4 else ()
    g = network([((shape, (7, *window, shape[-1]), {}), 0.5, 2)], rng)
    artifact = forced(g, M4, [FAMILY])
    inputs = random_inputs(g, rng)
    compare(g, Device(artifact.source, M4, level=f"-{level}").run(list(inputs.values())), inputs)


def test_streams_hold_just_the_blocks_that_are_there() -> None:
    weights = np.zeros((4, 1, 1, 12), np.int8)
    weights[0, 0, 0, 5], weights[1, 0, 0, 11], weights[2, 0, 0, 0] = 1, 2, 3
    pairs = Blocking(1, 2, 1, Packing.WORDS).groups(4)
    assert live_blocks(weights, pairs) == 3
    assert word_stream(weights, pairs, 32).tolist() == [
        32, 0, 0, 1, 0, 0, 0, 0, 0, 2 << 16, -1, 0, 3, 0, 0, 0, -1,
    ]  # fmt: skip
    stream = byte_stream(weights, pairs).view(np.uint8).tolist()
    assert stream[:10] == [1, 0, 0, 1, 0, 0, 0, 0, 0, 0] and stream[-1] == 255


def test_distances_beyond_a_byte_go_over_a_block_of_zeros() -> None:
    rng = np.random.default_rng(1)
    weights = np.zeros((3, 4 * 700), np.int8)
    weights[:, 4 * 600 :] = rng.integers(-127, 128, (3, 400))
    weights[0, 0] = 1
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 2800), Quant(0.05, 3)))
    g.outputs = [add(g, x, weights, rng, {}).result]
    inputs = {"x": int8(rng, 1, 1, 2800)}
    for cpu in ("cortex-m3", "cortex-m4"):
        artifact = forced(g, Target.for_cpu(cpu), [FAMILY])
        compare(g, HostLibrary(artifact.source).run([inputs["x"]]), inputs)


def pointwise(live: float, seed: int = 0, channels: int = 64) -> Op:
    rng = np.random.default_rng(seed)
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 25, 5, channels), Quant(0.05, 3)))
    weights = rng.integers(1, 128, (channels // 2, channels // 4)).astype(np.int8)
    weights *= np.argsort(np.argsort(rng.random(weights.size))).reshape(weights.shape) >= round(
        (1 - live) * weights.size
    )
    whole = np.repeat(np.repeat(weights, 2, 0), 4, 1).reshape(channels, 1, 1, channels)
    return add(g, x, whole, rng, {})


def test_offered_where_enough_blocks_are_zero() -> None:
    offered = [
        any(k.family == FAMILY for k in candidates(pointwise(d), M4)) for d in (1, 0.95, 0.89, 0.5)
    ]
    assert offered == [False, False, True, True]


def test_chosen_on_cortex_m4_at_half_the_blocks_and_not_at_most() -> None:
    for live, wanted in ((0.5, True), (0.89, False)):
        op = pointwise(live)
        g = Graph("g")
        copy = {v: g.add_input("x", v.type) if v.constant is None else g.constant(v.name, v.constant, v.type.quant) for v in op.operands}  # fmt: skip
        g.outputs = [emit(g, op.name, list(copy.values()), op.attrs, quant=op.type.quant)]
        (layer,) = load_backend("tvm").compile(g, M4, BackendOptions("net", "O3")).layers
        assert (layer.kernel == "block-sparse-4x2") == wanted
        assert layer.macs == 25 * 5 * 64 * 64 * (live if wanted else 1), "those that are done"


def test_costs_are_recorded_by_the_number_of_blocks() -> None:
    half, quarter, other = pointwise(0.5), pointwise(0.25), pointwise(0.5, seed=1)
    assert value_facts(half)[0] == value_facts(other)[0] != value_facts(quarter)[0]
    assert value_facts(pointwise(1)) == ()
    kernel, less = (
        next(k for k in candidates(op, M4) if k.family == FAMILY) for op in (half, quarter)
    )
    assert kernel.facts == ("blocks=256",) and less.facts == ("blocks=128",)
    setting, layer = Setting("cortex-m4", "gcc-12", "O2"), LayerKey.of(half)
    assert layer == LayerKey.of(quarter), "the key of all other kernels"

    def record(facts: tuple[str, ...], cycles: int) -> Record:
        version = family_version(FAMILY)
        return Record(
            setting, layer.with_facts(facts), kernel.name, version, cycles, 1, 900, 1000.0
        )

    found = Database([record(("blocks=250",), 2000), record(("blocks=64",), 9000)])
    assert found.find(setting, layer, kernel.name, kernel) is None
    near = found.cost(setting, layer, kernel.name, kernel)
    assert near.basis == "near" and near.cycles == pytest.approx(2 * kernel.cycles)
    found.add(record(kernel.facts, 77))
    assert found.cost(setting, layer, kernel.name, kernel).basis == "tuned"
    assert found.cost(setting, layer, less.name, less).basis == "near"


def test_smaller_storage_of_zeros_does_not_forbid_faster_kernels() -> None:
    """Of single zeros everywhere: a bitmap would be the smallest, and is no measure below -O3."""
    rng = np.random.default_rng(2)
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 25, 5, 64), Quant(0.05, 3)))
    w = rng.integers(-127, 128, (64, 1, 1, 64)).astype(np.int8)
    w *= rng.random(w.shape) < 0.4
    g.outputs = [add(g, x, w, rng, {}).result]
    (layer,) = load_backend("tvm").compile(g, M4, BackendOptions("net", "O2")).layers
    assert "bitmap" in layer.alternatives and layer.kernel.startswith("gemm")
