"""Layers in bits: operators by their definition, the pass, the C on the host and on emulated cores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.forced import compare
from tests.support.ops import int8, rngs
from tests.test_quantize_weights import after, error, network
from tinycc_nn import reference
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import I8, Array, Attr, Blob, Graph, Quant, TensorType
from tinycc_nn.ops import emit, verify
from tinycc_nn.ops.xnor import pack_bits, signs
from tinycc_nn.passes.binarize import Binarize
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.quantization.xnor import otsu
from tinycc_nn.target import Target

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4")
BASE = "quantize, quantize-interface"
SHAPES: list[tuple[int, tuple[int, int, int], dict[str, Attr]]] = [
    (64, (1, 1, 5), {}),
    (5, (1, 1, 3), {"act": "relu"}),
    (40, (3, 3, 4), {"pad": (1, 1, 1, 1), "stride": (2, 1)}),
    (128, (3, 3, 6), {"pad": (1, 0, 2, 1), "act": "relu"}),
    (320, (1, 1, 2), {}),
    (32, (2, 2, 3), {"dilation": (2, 1)}),
    (64, (5, 3, 2), {"pad": (2, 2, 1, 1)}),
    (961, (1, 1, 3), {}),
]
"""Input channels; rows and columns of the kernel, output channels; attributes."""


def layers(rng: np.random.Generator, ones: float = 0.5) -> Graph:
    """`ones`: this part of the weights is +1."""
    g = Graph("g")
    for channels, (kh, kw, out), attrs in SHAPES:
        x = g.add_input("x", TensorType(I8, (1, 6, 5, channels), Quant(0.1, 3)))
        threshold = int(rng.integers(-60, 60))
        bits = emit(g, "pack_signs", [x], {"threshold": threshold}, quant=Quant(1.0))
        w = pack_bits(rng.random((out, kh, kw, channels)) < ones)
        gain = rng.uniform(0.5, 2, out).astype(np.float32)
        scale = Quant(Blob("s", gain), 0, 0) if out > 2 else Quant(1.0)
        depth = kh * kw * channels
        b = rng.integers(-9, 9, out).astype(np.int32)
        operands = [bits, g.constant("w", w, scale), g.constant("b", b)]
        y = Quant(float(np.float32(np.sqrt(depth) / 40)), -5)
        g.outputs.append(emit(g, "xnor_conv2d", operands, {**attrs, "channels": channels}, quant=y))
    verify(g)
    return g


def inputs_of(g: Graph, rng: np.random.Generator) -> dict[str, Array]:
    return {v.name: int8(rng, 1, *v.type.shape) for v in g.inputs}


@pytest.mark.parametrize("cpu", CORES)
def test_on_cores_and_the_host(cpu: str) -> None:
    rng = np.random.default_rng(4)
    g, target = layers(rng), Target.for_cpu(cpu)
    artifact = load_backend("tvm").compile(g, target, BackendOptions("net"))
    device = Device(artifact.source, target)
    host = HostLibrary(artifact.source, level="-O1", flags=["-Werror"])
    for _ in range(2):
        inputs = inputs_of(g, rng)
        compare(g, device.run(list(inputs.values())), inputs)
        compare(g, host.run(list(inputs.values())), inputs)
    wanted = reference.run(g, inputs)
    assert np.mean([len(np.unique(y)) / min(y.size, 60) for y in wanted]) > 0.3


def test_extremes_of_the_counts() -> None:
    """All bits equal, all different: the counters hold them."""
    rng = np.random.default_rng(4)
    g = layers(rng, ones=1.0)
    target = Target.for_cpu("cortex-m4")
    host = HostLibrary(load_backend("tvm").compile(g, target, BackendOptions("net")).source)
    for value in (-128, 127):
        inputs = {v.name: np.full((1, *v.type.shape), value, np.int8) for v in g.inputs}
        compare(g, host.run(list(inputs.values())), inputs)


@settings(max_examples=50)
@given(rngs, st.integers(1, 70))
def test_bits_can_be_read_back(rng: np.random.Generator, channels: int) -> None:
    bits = rng.random((3, channels)) < 0.5
    words = pack_bits(bits)
    assert words.shape == (3, -(-channels // 32)) and words.dtype == np.int32
    np.testing.assert_array_equal(signs(words, channels) > 0, bits)
    assert [int(w) & 0xFFFFFFFF for w in words[:, 0]] == [
        sum(int(b) << i for i, b in enumerate(row[:32])) for row in bits
    ]


def test_sums_by_their_definition() -> None:
    """Equal bits less different ones, padding as -1, in Python's integers."""
    rng = np.random.default_rng(1)
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 2, 2, 3), Quant(0.1, 3)))
    bits = emit(g, "pack_signs", [x], {"threshold": 10}, quant=Quant(1.0))
    v = rng.random((2, 3, 3, 3)) < 0.5
    w, b = g.constant("w", pack_bits(v), Quant(1.0)), g.constant("b", np.array([1, -2], np.int32))
    attrs: dict[str, Attr] = {"channels": 3, "pad": (1, 1, 1, 1)}
    g.outputs = [emit(g, "xnor_conv2d", [bits, w, b], attrs, quant=Quant(1.0))]
    verify(g)
    image = int8(rng, 1, 1, 2, 2, 3)
    (y,) = reference.run(g, {"x": image})
    for i, j, n in np.ndindex(2, 2, 2):
        total = [1, -2][n]
        for p, q, c in np.ndindex(3, 3, 3):
            r, s = i + p - 1, j + q - 1
            plus = 0 <= r < 2 and 0 <= s < 2 and image[0, 0, r, s, c] >= 10
            total += 1 if plus == v[n, p, q, c] else -1
        assert y[0, 0, i, j, n] == total


def test_the_cut_between_two_classes() -> None:
    counts = np.zeros(256, np.int64)
    counts[[20, 21, 22, 200, 201]] = 5
    assert 22 - 128 < otsu(counts) <= 200 - 128
    assert -127 <= otsu(np.eye(256, dtype=np.int64)[0]) <= 127


@pytest.mark.parametrize("cpu", CORES)
def test_a_network(cpu: str) -> None:
    """The layers' outputs keep their mean, and the network runs on the core, bit for bit."""
    g, data = network()
    new = after(f"{BASE}, binarize{{layers=[pointwise, dense]}}", g, data)
    assert [op.name for op in new.ops].count("xnor_conv2d") == 2
    target = Target.for_cpu(cpu)
    artifact = load_backend("tvm").compile(new, target, BackendOptions("net"))
    rng = np.random.default_rng(3)
    inputs = inputs_of(new, rng)
    compare(new, Device(artifact.source, target).run(list(inputs.values())), inputs)


def test_gains_are_better_than_none() -> None:
    g, data = network()
    floats = after("quantize", g, data)
    new = after("quantize, binarize{layers=[dense]}", g, data)
    assert error(new, floats, data) < 0.9


def test_bits_of_weights_are_packed() -> None:
    g, data = network()
    new = after(f"{BASE}, binarize{{layers=[dense]}}", g, data)
    op = next(op for op in new.ops if op.name == "xnor_conv2d")
    assert op.operands[1].type.nbytes == 10 * 256 // 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("binarize{layers=[densee]}", "is called 'densee'"),
        ("binarize{layers=[depthwise]}", "is called 'depthwise'"),
    ],
)
def test_bad_input(text: str, message: str) -> None:
    g, data = network()
    with pytest.raises(TinyccError, match=message):
        after(f"{BASE}, {text}", g, data)


def test_layers_are_asked_for_where_options_are_read() -> None:
    with pytest.raises(TinyccError, match="binarize: give the names of layers") as e:
        parse_pipeline("quantize, binarize")
    assert "1:11" in str(e.value)
    with pytest.raises(ValueError, match=r"as in \{layers=\[conv2\]\}"):
        Binarize()


def test_words_must_fit_the_channels() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (1, 2, 2, 40), Quant(0.1, 3)))
    bits = emit(g, "pack_signs", [x], {"threshold": 1}, quant=Quant(1.0))
    w = g.constant("w", np.zeros((2, 1, 1, 1), np.int32), Quant(1.0))
    b = g.constant("b", np.zeros(2, np.int32))
    with pytest.raises(TinyccError, match="40 channels are 2 words, not 2 and 1"):
        emit(g, "xnor_conv2d", [bits, w, b], {"channels": 40}, quant=Quant(1.0))
