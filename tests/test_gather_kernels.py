"""Convolutions of any kind in blocks of registers, against the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import channel_quant, floats, int8, rngs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import F32, I8, Attr, Graph, Quant, TensorType, Value
from tinycc_nn.ops import emit, opdef, verify
from tinycc_nn.target import Target

Q = Quant(0.05, -7)
Layer = tuple[str, dict[str, Attr], tuple[int, ...], tuple[int, ...]]
FAMILIES = ("float_gemm", "float_depthwise", "gather")
CPUS = ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7"]


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Operator, attributes, the shapes of input and weights."""
    name = draw(st.sampled_from(["conv2d", "conv2d", "conv2d_transpose", "dense"]))
    if name == "dense":
        rows, depth = draw(st.integers(1, 6)), draw(st.integers(1, 30))
        return name, {"act": "relu"}, (rows, depth), (draw(st.integers(1, 13)), depth)
    groups, each = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    per_group = draw(st.sampled_from([1, 2, 3, 4, 8]))
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = draw(pairs), draw(pairs), draw(pairs)
    most = 3 if name == "conv2d" else min(kernel) - 1
    pad = draw(st.tuples(*[st.integers(0, most)] * 4))
    size = [draw(st.integers(0, 5)) + max(2, dilation[i] * (kernel[i] - 1) + 1) for i in range(2)]
    attrs: dict[str, Attr] = {
        "stride": stride, "dilation": dilation, "pad": pad, "groups": groups,
        "act": draw(st.sampled_from(["none", "relu", "relu6"])),
    }  # fmt: skip
    if name == "conv2d_transpose":
        attrs["output_pad"] = tuple(draw(st.integers(0, s - 1)) for s in stride)
    if draw(st.booleans()):
        attrs |= {"stride": (1, 1), "pad": (0, 0, 0, 0), "output_pad": (0, 0)}
        kernel = 1, 1
        if name == "conv2d":
            del attrs["output_pad"]
    weights = groups * each, *kernel, per_group
    return name, attrs, (1, *size, groups * per_group), weights


def add(
    g: Graph,
    layer: Layer,
    is_int8: bool,
    rng: np.random.Generator,
) -> Value:
    name, attrs, shape, weights = layer
    if not is_int8:
        x = g.add_input("x", TensorType(F32, shape))
        w = g.constant("w", floats(rng, *weights))
        return emit(g, name, [x, w, g.constant("b", floats(rng, weights[0]))], attrs)
    x = g.add_input("x", TensorType(I8, shape, Q))
    w = g.constant("w", int8(rng, *weights), channel_quant(rng, weights[0]))
    b = g.constant("b", rng.integers(-900, 900, weights[0]).astype(np.int32))
    return emit(g, name, [x, w, b], attrs, quant=Quant(0.2, 3))


cases = st.lists(st.tuples(layers(), st.booleans()), min_size=3, max_size=8)


def network(drawn: Sequence[tuple[Layer, bool]], rng: np.random.Generator) -> Graph:
    g = Graph("g")
    g.outputs = [add(g, layer, is_int8, rng) for layer, is_int8 in drawn]
    verify(g)
    return g


@settings(max_examples=12, deadline=None)
@given(cases, st.sampled_from(CPUS), st.integers(0, 8), rngs)
def test_on_the_host(
    drawn: list[tuple[Layer, bool]], cpu: str, pick: int, rng: np.random.Generator
) -> None:
    g = network(drawn, rng)
    artifact = forced(g, Target.for_cpu(cpu), FAMILIES, pick)
    inputs = random_inputs(g, rng)
    compare(g, HostLibrary(artifact.source, level="-O1").run(list(inputs.values())), inputs)


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m7"])
@settings(max_examples=3, deadline=None)
@given(drawn=cases, pick=st.integers(0, 8), rng=rngs)
def test_on_cores(
    cpu: str, drawn: list[tuple[Layer, bool]], pick: int, rng: np.random.Generator
) -> None:
    """Also that nothing beside the buffers is written: they are guarded."""
    g = network(drawn, rng)
    target = Target.for_cpu(cpu)
    inputs = random_inputs(g, rng)
    device = Device(forced(g, target, FAMILIES, pick).source, target)
    compare(g, device.run(list(inputs.values())), inputs)


MEASURED: dict[str, tuple[Layer, bool, float]] = {
    "float 3x3": (("conv2d", {"pad": (1, 1, 1, 1)}, (1, 10, 10, 16), (16, 3, 3, 16)), False, 3.8),
    "float 1x1": (("conv2d", {}, (1, 9, 5, 64), (64, 1, 1, 64)), False, 3.7),
    "float dense": (("dense", {}, (1, 256), (64, 256)), False, 4.1),
    "float depthwise": (
        ("conv2d", {"pad": (1, 1, 1, 1), "groups": 32}, (1, 10, 8, 32), (32, 3, 3, 1)), False, 7.0
    ),
    "groups": (("conv2d", {"pad": (1, 1, 1, 1), "groups": 2}, (1, 9, 9, 16), (16, 3, 3, 8)), True, 3.1),
    "transposed": (("conv2d_transpose", {"stride": (2, 2)}, (1, 8, 8, 32), (16, 2, 2, 32)), True, 3.0),
}  # fmt: skip


def test_cycles_for_a_product_of_what_is_chosen_on_cortex_m4() -> None:
    rng, g = np.random.default_rng(4), Graph("g")
    g.outputs = [add(g, layer, is_int8, rng) for layer, is_int8, _ in MEASURED.values()]
    target = Target.for_cpu("cortex-m4")
    artifact = load_backend("tvm").compile(g, target, BackendOptions("net"))
    inputs = list(random_inputs(g, rng).values())
    profile = Device(artifact.source, target).profile(inputs)
    cycles = dict(zip((x.name for x in artifact.layers), profile.layers, strict=True))
    for v, (name, (_, _, limit)) in zip(g.outputs, MEASURED.items(), strict=True):
        assert v.owner is not None
        assert cycles[v.name].cycles / opdef(v.owner.name).macs(v.owner) < limit, name
