"""Layers whose weights are codes: the C on the host and on emulated cores against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.coded import BOOK, FORMATS, Layer, add, coded, layers
from tests.support.forced import compare, forced, random_inputs
from tests.support.ops import rngs
from tinycc_nn import reference
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.backends.tvm.tir.codes import Decoder
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import I8, Attr, DType, Graph, Quant, TensorType
from tinycc_nn.ops import emit, verify
from tinycc_nn.target import Target

cases = st.lists(st.tuples(layers(), st.sampled_from(FORMATS)), min_size=4, max_size=10)
FAMILIES = ("coded",)


def network(drawn: list[tuple[Layer, DType]], rng: np.random.Generator) -> Graph:
    g = Graph("g")
    g.outputs = [add(g, layer, dtype, rng) for layer, dtype in drawn]
    verify(g)
    return g


@settings(max_examples=15, deadline=None)
@given(cases, st.sampled_from(["cortex-m0plus", "cortex-m4"]), st.integers(0, 20), rngs)
def test_on_the_host(
    drawn: list[tuple[Layer, DType]], cpu: str, pick: int, rng: np.random.Generator
) -> None:
    g = network(drawn, rng)
    artifact = forced(g, Target.for_cpu(cpu), FAMILIES, pick)
    inputs = random_inputs(g, rng)
    found = HostLibrary(artifact.source, level="-O1", flags=["-Werror"]).run(list(inputs.values()))
    compare(g, found, inputs)


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m3", "cortex-m4"])
@settings(max_examples=4, deadline=None)
@given(drawn=cases, pick=st.integers(0, 20), rng=rngs)
def test_on_cores(
    cpu: str, drawn: list[tuple[Layer, DType]], pick: int, rng: np.random.Generator
) -> None:
    """Also that nothing beside the buffers is written: they are guarded."""
    g = network(drawn, rng)
    target = Target.for_cpu(cpu)
    inputs = random_inputs(g, rng)
    device = Device(forced(g, target, FAMILIES, pick).source, target)
    compare(g, device.run(list(inputs.values())), inputs)


@pytest.mark.parametrize(
    ("cpu", "pick"), [("cortex-m0plus", 0), ("cortex-m4", 0), ("cortex-m4", -1)]
)
def test_every_format_on_every_kind_of_layer(cpu: str, pick: int) -> None:
    """Results spread over the int8 range, so that a wrong bit shows."""
    rng = np.random.default_rng(3)
    shapes: list[Layer] = [
        ("dense", {}, (1, 70), (10, 70)),
        ("conv2d", {}, (1, 5, 4, 8), (9, 1, 1, 8)),
        ("conv2d", {"pad": (1, 0, 1, 1)}, (1, 5, 4, 8), (5, 3, 3, 8)),
        ("conv2d", {"pad": (1, 1, 1, 1), "groups": 5}, (1, 5, 4, 5), (5, 3, 3, 1)),
    ]
    g = network([(s, f) for f in FORMATS for s in shapes], rng)
    inputs = random_inputs(g, rng)
    wanted = reference.run(g, inputs)
    assert np.mean([len(np.unique(y)) / min(y.size, 40) for y in wanted]) > 0.4
    target = Target.for_cpu(cpu)
    device = Device(forced(g, target, FAMILIES, pick).source, target)
    compare(g, device.run(list(inputs.values())), inputs)


@pytest.mark.parametrize(("pixels", "out"), [((5, 5), 4), ((4, 4), 8), ((6, 4), 6)])
def test_in_place(pixels: tuple[int, int], out: int) -> None:
    """A 1x1 convolution between two others may write where it reads."""
    rng = np.random.default_rng(1)
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, *pixels, 8), Quant(0.05, 3)))
    depthwise = coded(g, DType.parse("i4"), (8, 3, 3, 1), rng, per_channel=True)
    attrs: dict[str, Attr] = {"groups": 8, "pad": (1, 1, 1, 1)}
    for channels in (8, out, out):
        w = coded(g, DType.parse("i4"), (channels, 1, 1, x.type.shape[3]), rng, per_channel=True)
        x = emit(g, "conv2d", [x, w], quant=Quant(0.2, 1))
        if channels == 8:
            x = emit(g, "conv2d", [x, depthwise], attrs, quant=Quant(0.2, -9))
    g.outputs = [x]
    verify(g)
    target = Target.for_cpu("cortex-m4")
    layers = [op for op in g.ops if op.name == "conv2d"]
    kernels = {}
    for op in layers:
        fitting = [k for k in candidates(op, target) if k.in_place]
        assert fitting
        kernels[op.result.name] = fitting[0].name
    artifact = load_backend("tvm").compile(g, target, BackendOptions("net", kernels=kernels))
    inputs = random_inputs(g, rng)
    compare(g, Device(artifact.source, target).run(list(inputs.values())), inputs)
    assert artifact.source.arena_bytes < 2 * pixels[0] * pixels[1] * 8 + max(
        k.scratch for op in layers for k in candidates(op, target) if k.name in kernels.values()
    )


def dense(dtype: DType, outputs: int = 64, inputs: int = 256) -> Graph:
    rng = np.random.default_rng(1)
    return network([(("dense", {}, (1, inputs), (outputs, inputs)), dtype)], rng)


@pytest.mark.parametrize(
    ("text", "bits"), [("i4", 4), ("posit<5,1>", 5), ("ternary", 2), ("binary", 1)]
)
def test_codes_are_packed_in_flash(text: str, bits: int) -> None:
    g = dense(DType.parse(text))
    assert g.ops[0].type.nbytes == 64 * 256 * bits // 8
    for kernel in candidates(g.outputs[0].owner, Target.for_cpu("cortex-m4")):  # type: ignore[arg-type]
        codes = kernel.code().constants[0]
        assert codes.nbytes == 64 * 256 * bits // 8, kernel.name


def test_layers_share_the_table() -> None:
    rng = np.random.default_rng(1)
    layer: Layer = ("dense", {}, (1, 32), (16, 32))
    source = [
        load_backend("tvm").compile(
            network([(layer, DType.parse("posit<8,0>"))] * n, rng),
            Target.for_cpu("cortex-m4"),
            BackendOptions("net"),
        ).source.files["net_data.c"].count("int16_t")
        for n in (1, 3)
    ]  # fmt: skip
    assert source[0] == source[1] > 0


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_decoders_read_what_is_packed(dtype: DType) -> None:
    book = dtype.book
    assert book is not None
    decoder = Decoder.of(book)
    assert decoder.period % 2 == 0 and decoder.period * decoder.bits % 32 == 0
    assert decoder.packed(np.zeros(3, np.uint8)).size == decoder.words(3)


def test_a_grouped_convolution_with_codes_has_no_kernel() -> None:
    rng = np.random.default_rng(1)
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 4, 4, 4), Quant(0.05, 0)))
    w = coded(g, BOOK, (6, 1, 1, 2), rng, per_channel=True)
    g.outputs = [emit(g, "conv2d", [x, w], {"groups": 2}, quant=Quant(0.1, 0), result="y")]
    verify(g)
    with pytest.raises(TinyccError, match=r"no kernel of .* computes:\n  %y: conv2d"):
        load_backend("tvm").compile(g, Target.for_cpu("cortex-m4"), BackendOptions("net"))
