"""int8 kernels for Cortex-M0, M0+ and M3: bits against the definition, on the host and on the cores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.kernel_network import Int8, Layer, network, random_inputs
from tinycc_nn.backends.tvm.tir.depthwise_thumb1 import depthwise_thumb1, fits
from tinycc_nn.backends.tvm.tir.depthwise_unrolled import depthwise_unrolled
from tinycc_nn.backends.tvm.tir.packing import Blocking
from tinycc_nn.backends.tvm.tir.template import Requantize, Window
from tinycc_nn.backends.tvm.tir.thumb1 import LARGEST_DEPTH, gemm_thumb1
from tinycc_nn.backends.tvm.tir.unrolled import gemm_unrolled
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.target import Target

needs_gcc = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on PATH"
)
zeros = st.integers(-128, 127)
EXTREME = (-128, -127, 127)
"""Weights and inputs whose products are as large as they get."""


@st.composite
def requantizers(draw: st.DrawFn) -> Requantize:
    shift = draw(st.sampled_from([32, 32, 31, 28]))
    return Requantize(
        shift, draw(zeros), draw(st.sampled_from([-128, -20])), draw(st.sampled_from([127, 90])),
        per_channel=draw(st.booleans()), narrow=draw(st.booleans()), small=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def windows(draw: st.DrawFn, channels: int) -> Window:
    """Geometries with every oddity, all of which have at least one output pixel."""
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel, stride = draw(pair), draw(pair)
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pad = draw(st.tuples(*[st.integers(0, 3)] * 4))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    height, width = (
        max(1, extent[i] - pad[i] - pad[i + 2]) + draw(st.integers(0, 7)) for i in range(2)
    )
    return Window(height, width, draw(st.integers(1, channels)), kernel, stride, dilation, pad)


def extreme(layer: Layer) -> Layer:
    """The layer with the weights of the largest products."""
    random = np.random.default_rng(layer.seed)
    layer.weights = random.choice(np.array(EXTREME, np.int8), layer.weights.shape)
    return layer


@st.composite
def gemm_layers(draw: st.DrawFn) -> Layer:
    pointwise = st.builds(Window, st.integers(1, 7), st.just(1), st.integers(1, 300))
    window = draw(st.one_of(windows(9), pointwise))
    channels, zero, requantize = draw(st.integers(1, 9)), draw(zeros), draw(requantizers())
    unroll = draw(st.sampled_from([1, 2, 8]))
    if draw(st.booleans()):
        blocking = Blocking(draw(st.integers(1, 2)), draw(st.integers(1, 3)), unroll)
        in_place = draw(st.booleans())
        template = gemm_thumb1(window, channels, zero, requantize, blocking, in_place=in_place)
    else:
        blocking = Blocking(draw(st.integers(1, 4)), draw(st.integers(1, 4)), unroll)
        direct = draw(st.booleans())
        template = gemm_unrolled(window, channels, zero, requantize, blocking, direct=direct)
    layer = Layer(
        template, window, channels, zero, requantize, False, template.in_place, draw(zeros) + 128
    )
    return extreme(layer) if requantize.shift == 32 and draw(st.booleans()) else layer


@st.composite
def depthwise_layers(draw: st.DrawFn) -> Layer:
    window, zero, requantize = draw(windows(5)), draw(zeros), draw(requantizers())
    if fits(window) and draw(st.booleans()):
        template = depthwise_thumb1(window, zero, requantize)
    else:
        template = depthwise_unrolled(window, zero, requantize, draw(st.integers(1, 6)))
    in_place, seed = template.in_place, draw(zeros) + 128
    layer = Layer(template, window, window.channels, zero, requantize, True, in_place, seed)
    return extreme(layer) if requantize.shift == 32 and draw(st.booleans()) else layer


layer_lists = st.lists(st.one_of(gemm_layers(), depthwise_layers()), min_size=3, max_size=8)


def check(
    layers: Sequence[Layer],
    run: Callable[[Sequence[Int8]], Sequence[np.ndarray]],
    inputs: Sequence[Int8] = (),
) -> None:
    inputs = inputs or random_inputs(layers, seed=1)
    for layer, x, y in zip(layers, inputs, run(inputs), strict=True):
        np.testing.assert_array_equal(y, layer.reference(x), layer.template.name)


@settings(max_examples=12, deadline=None)
@given(layer_lists)
def test_on_the_host(layers: list[Layer]) -> None:
    check(layers, HostLibrary(network(layers), level="-O1", flags=["-Werror"]).run)


def test_windows_that_read_padding_alone() -> None:
    window, requantize = Window(2, 1, 1, (1, 1), (1, 2), (1, 1), (0, 1, 0, 0)), Requantize(32, 3)
    layer = Layer(depthwise_thumb1(window, 5, requantize), window, 1, 5, requantize, depthwise=True)
    check([layer], HostLibrary(network([layer])).run)


@needs_gcc
@pytest.mark.parametrize(
    ("cpu", "level"),
    [
        ("cortex-m0plus", "-O2"),
        ("cortex-m0plus", "-O0"),
        ("cortex-m0plus", "-Os"),
        ("cortex-m3", "-O2"),
    ],
)
@settings(max_examples=5, deadline=None)
@given(layers=layer_lists)
def test_on_cores(cpu: str, level: str, layers: list[Layer]) -> None:
    """Also that nothing beside the buffers is written: they are guarded, scratch is exact."""
    check(layers, Device(network(layers), Target.load(cpu), level=level).run)


@needs_gcc
def test_the_largest_products_on_cortex_m0plus() -> None:
    """All inputs and weights at a limit of int8, over so much depth that halves of words overflow."""
    window = Window(3, 1, 700)
    layers = [
        extreme(Layer(gemm_thumb1(window, 5, zero, RELU, blocking), window, 5, zero, RELU))
        for zero in (-128, 127)
        for blocking in (Blocking(1, 3, 8), Blocking(2, 2, 8))
    ]
    inputs = [np.full(2100, value, np.int8) for value in (-128, 127, -128, 127)]
    check(layers, Device(network(layers), Target.load("cortex-m0plus")).run, inputs)


RELU = Requantize(zero=-128, small=True)
IMAGE = Window(16, 16, 32, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
DEPTHWISE = Window(25, 5, 64, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
MAP, ROW = Window(25, 5, 64), Window(1, 1, 640)


@needs_gcc
def test_instructions_for_a_product() -> None:
    measured = {
        "cortex-m0plus": [
            (gemm_thumb1(IMAGE, 32, -3, RELU, Blocking(2, 3, 8)), IMAGE, 32, 3.2),
            (gemm_thumb1(MAP, 64, -3, RELU, Blocking(2, 3, 8)), MAP, 64, 3.5),
            (gemm_thumb1(ROW, 128, -3, RELU, Blocking(1, 4, 8)), ROW, 128, 3.55),
        ],
        "cortex-m3": [
            (gemm_unrolled(IMAGE, 32, -3, RELU, Blocking(2, 4, 8)), IMAGE, 32, 2.0),
            (gemm_unrolled(ROW, 128, -3, RELU, Blocking(1, 8, 8)), ROW, 128, 2.35),
        ],
    }
    for cpu, rows in measured.items():
        layers = [Layer(t, window, out, -3, RELU) for t, window, out, _ in rows]
        profile = Device(network(layers), Target.load(cpu)).profile(random_inputs(layers, seed=1))
        for layer, row, cost in zip(layers, rows, profile.layers, strict=True):
            assert cost.instructions / layer.macs < row[3], (cpu, layer.template.name)


@needs_gcc
def test_instructions_for_a_depthwise_product() -> None:
    layer = Layer(depthwise_thumb1(DEPTHWISE, -3, RELU), DEPTHWISE, 64, -3, RELU, depthwise=True)
    device = Device(network([layer]), Target.load("cortex-m0plus"))
    profile = device.profile(random_inputs([layer], seed=1))
    assert profile.layers[0].instructions / layer.macs < 7.5


def test_depthwise_thumb1_refuses_what_it_does_not_reach() -> None:
    for window in (Window(1, 9, 2, (1, 3)), Window(9, 40, 2, (1, 3), (1, 1), (1, 16))):
        with pytest.raises(ValueError, match="is for other templates"):
            depthwise_thumb1(window, 0, RELU)


def test_thumb1_computes_two_pixels_at_most_and_sums_below_2_31() -> None:
    for window, pixels in ((MAP, 3), (Window(1, 1, LARGEST_DEPTH + 1), 1)):
        with pytest.raises(ValueError, match="one or two pixels, sums below"):
            gemm_thumb1(window, 4, 0, RELU, Blocking(pixels, 2))
