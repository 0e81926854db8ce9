"""int8 kernel templates: bits against the definition, on the host and on emulated cores."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.kernel_network import Layer, network, random_inputs
from tinycc_nn.backends.tvm.tir.dense import dense_dsp
from tinycc_nn.backends.tvm.tir.depthwise import depthwise_dsp
from tinycc_nn.backends.tvm.tir.depthwise_scalar import depthwise_scalar
from tinycc_nn.backends.tvm.tir.gemm import gemm_dsp
from tinycc_nn.backends.tvm.tir.packing import Blocking, Packing, pack, pairs_fit
from tinycc_nn.backends.tvm.tir.scalar import gemm_scalar
from tinycc_nn.backends.tvm.tir.template import Requantize, Window, folded_bias
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.target import Target
from tinycc_nn.toolchain import find_toolchain

needs_gcc = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on PATH"
)

requantizers = st.builds(
    Requantize,
    shift=st.sampled_from([32, 32, 32, 31, 28]),
    zero=st.integers(-128, 127),
    low=st.sampled_from([-128, -128, -20]),
    high=st.sampled_from([127, 127, 90]),
    per_channel=st.booleans(),
    narrow=st.booleans(),
)
zeros = st.integers(-128, 127)


@st.composite
def windows(draw: st.DrawFn, channels: int, dilated: bool = True) -> Window:
    """Geometries with every oddity, all of which have at least one output pixel."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2))) if dilated else (1, 1)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pad = draw(st.tuples(*[st.integers(0, 3)] * 4))
    least = [max(1, extent[i] - pad[i] - pad[i + 2]) for i in range(2)]
    height, width = (least[i] + draw(st.integers(0, 7)) for i in range(2))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return Window(height, width, draw(st.integers(1, channels)), kernel, stride, dilation, pad)


@st.composite
def gemm_layers(draw: st.DrawFn) -> Layer:
    if draw(st.booleans()):
        window = draw(windows(9))
    else:
        window = Window(draw(st.integers(1, 7)), 1, draw(st.integers(1, 40)))
    channels, zero, requantize = draw(st.integers(1, 9)), draw(zeros), draw(requantizers)
    packing = draw(st.sampled_from(Packing))
    blocking = Blocking(
        draw(st.integers(1, 4)),
        draw(st.sampled_from([2, 4] if packing is Packing.PAIRS else [1, 2, 3, 4])),
        draw(st.sampled_from([1, 2, 4])),
        packing,
    )
    kind = draw(st.sampled_from(["dsp", "scalar", "staged"]))
    if kind == "dsp":
        template = gemm_dsp(window, channels, zero, requantize, blocking)
    else:
        direct = kind == "scalar"
        template = gemm_scalar(window, channels, zero, requantize, blocking, direct=direct)
    return Layer(
        template, window, channels, zero, requantize, False, template.in_place, draw(zeros) + 128
    )


@st.composite
def depthwise_layers(draw: st.DrawFn) -> Layer:
    window = draw(windows(5))
    zero, requantize = draw(zeros), draw(requantizers)
    rows, columns = draw(st.integers(0, 3)), draw(st.integers(1, 8))
    multiplier = 1
    if draw(st.booleans()):
        multiplier = draw(st.sampled_from([1, 1, 3]))
        template = depthwise_dsp(
            window,
            zero,
            requantize,
            rows,
            columns,
            together=draw(st.sampled_from([1, 3, 8])),
            multiplier=multiplier,
            assembly=draw(st.booleans()),
        )
    else:
        template = depthwise_scalar(window, zero, requantize, rows, columns)
    channels, in_place = window.channels * multiplier, template.in_place
    return Layer(template, window, channels, zero, requantize, True, in_place, draw(zeros) + 128)


@st.composite
def dense_layers(draw: st.DrawFn) -> Layer:
    inputs, outputs = draw(st.integers(1, 70)), draw(st.integers(1, 9))
    zero, requantize = draw(zeros), draw(requantizers)
    packing = draw(st.sampled_from(Packing))
    channels = draw(st.sampled_from([2, 4] if packing is Packing.PAIRS else [1, 2, 3, 4]))
    blocking = Blocking(1, channels, draw(st.sampled_from([1, 2, 4])), packing)
    template = dense_dsp(inputs, outputs, requantize, blocking)
    return Layer(template, Window(1, 1, inputs), outputs, zero, requantize, seed=draw(zeros) + 128)


layer_lists = st.lists(
    st.one_of(gemm_layers(), depthwise_layers(), dense_layers()), min_size=3, max_size=8
)


def check(
    layers: Sequence[Layer], run: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
) -> None:
    inputs = random_inputs(layers, seed=1)
    outputs = run(inputs)
    for layer, x, y in zip(layers, inputs, outputs, strict=True):
        np.testing.assert_array_equal(y, layer.reference(x), layer.template.name)


@settings(max_examples=25, deadline=None)
@given(layer_lists)
def test_kernels_on_the_host(layers: list[Layer]) -> None:
    check(layers, HostLibrary(network(layers), level="-O1", flags=["-Werror"]).run)


@needs_gcc
@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m3", "cortex-m4"])
@settings(max_examples=10, deadline=None)
@given(layers=layer_lists)
def test_kernels_on_cores(cpu: str, layers: list[Layer]) -> None:
    """Also that nothing beside the buffers is written: they are guarded, scratch is exact."""
    check(layers, Device(network(layers), Target.load(cpu)).run)


def kws(stem: bool = False) -> Window:
    """The windows of a keyword-spotting network: 10x4 kernels first, then 25x5x64 maps."""
    if stem:
        return Window(49, 10, 1, (10, 4), (2, 2), (1, 1), (4, 1, 5, 1))
    return Window(25, 5, 64)


RELU = Requantize(zero=-128)
PAIRS = Blocking(2, 4, 2, Packing.PAIRS)
ONES = (1, 1, 1, 1)
IMAGE = Window(32, 32, 16, (3, 3), (1, 1), (1, 1), ONES)
COLOURS = Window(32, 32, 3, (3, 3), (1, 1), (1, 1), ONES)
DEPTHWISE = Window(25, 5, 64, (3, 3), (1, 1), (1, 1), ONES)
WIDE = Window(12, 12, 32, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2))
MEASURED = {
    "3x3": (Layer(gemm_dsp(IMAGE, 16, -3, RELU, PAIRS), IMAGE, 16, -3, RELU), 1.25),
    "pointwise": (Layer(gemm_dsp(kws(), 64, -3, RELU, PAIRS), kws(), 64, -3, RELU), 1.15),
    "colours": (Layer(gemm_dsp(COLOURS, 16, -3, RELU, PAIRS), COLOURS, 16, -3, RELU), 2.2),
    "stem": (Layer(gemm_dsp(kws(True), 64, -3, RELU, PAIRS), kws(True), 64, -3, RELU), 1.45),
    "dense": (Layer(dense_dsp(640, 128, RELU, PAIRS), Window(1, 1, 640), 128, -3, RELU), 1.35),
    "depthwise": (
        Layer(depthwise_dsp(DEPTHWISE, -3, RELU, together=8), DEPTHWISE, 64, -3, RELU, True),
        1.7,
    ),
    "depthwise, 5x5": (
        Layer(depthwise_dsp(WIDE, -3, RELU), WIDE, 32, -3, RELU, depthwise=True),
        1.2,
    ),
}


@needs_gcc
def test_instructions_for_a_product_on_cortex_m4() -> None:
    layers = [layer for layer, _ in MEASURED.values()]
    device = Device(network(layers), Target.load("cortex-m4"))
    inputs = random_inputs(layers, seed=1)
    check(layers, device.run)
    profile = device.profile(inputs)
    for (name, (layer, limit)), cost in zip(MEASURED.items(), profile.layers, strict=True):
        assert cost.instructions / layer.macs < limit, name


def test_pairs_need_room_for_the_odd_channels_sum() -> None:
    weights = np.full((2, 517), 127, np.int8)
    assert not pairs_fit(weights)
    assert pairs_fit(weights[:, :516])
    assert pairs_fit(weights[:1])
    with pytest.raises(ValueError, match="can't be packed in pairs"):
        pack(weights, PAIRS)


def test_pairs_need_int16() -> None:
    assert pairs_fit(np.array([[0], [-128]], np.int8))
    assert not pairs_fit(np.array([[-1], [-128]], np.int8))


def test_pairs_are_of_two_channels() -> None:
    with pytest.raises(ValueError, match="even numbers"):
        Blocking(channels=3, packing=Packing.PAIRS)


def test_a_folded_bias_beyond_int32_is_an_error() -> None:
    bias = np.array([2**31 - 1], np.int32)
    with pytest.raises(OverflowError, match="exceeds int32"):
        folded_bias(bias, np.array([[1]], np.int8), -128)


def test_packing_fills_the_depth_up_to_fours() -> None:
    weights = np.array([[1, 2, 3, 4, 5]], np.int8)
    assert pack(weights, Blocking()).view(np.int8).tolist() == [1, 2, 3, 4, 5, 0, 0, 0]


def depthwise_in_assembly(count: int = 5) -> list[Layer]:
    """Blocks of one and of several columns, with and without a rest, of few and many words."""
    kernels = [
        ((3, 3), (1, 1)),
        ((5, 5), (1, 1)),
        ((3, 3), (2, 2)),
        ((2, 4), (1, 2)),
        ((1, 7), (1, 1)),
    ]
    layers = []
    for i, (kernel, stride) in enumerate(kernels[:count]):
        window = Window(7, 6 + 3 * i, 3, kernel, stride, (1, 1 + i % 2), (1, 2, 1, 1))
        requantize = Requantize(28 if i == 1 else 32, 3, -20, 90 if i else 127, narrow=True)
        template = depthwise_dsp(window, 5, requantize, 3)
        assert any("__asm__" in text for text in template.micro_kernels.values())
        layers.append(Layer(template, window, 3, 5, requantize, depthwise=True, seed=i))
    return layers


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize(
    ("cpu", "flags"),
    [
        ("cortex-m4", ["-O0"]),
        ("cortex-m4", ["-O3"]),
        ("cortex-m4", ["-O2", "-fno-omit-frame-pointer", "-fPIC"]),
        ("cortex-m7", ["-O2"]),
        ("cortex-m33", ["-Os"]),
        ("cortex-m33", ["-O0", "-fno-omit-frame-pointer"]),
    ],
)
def test_depthwise_in_assembly(toolchain: str, cpu: str, flags: list[str]) -> None:
    try:
        found = find_toolchain(toolchain)
    except TinyccError as e:
        pytest.skip(str(e))
    layers = depthwise_in_assembly()
    source = network(layers)
    level, *further = flags
    device = Device(source, Target.load(cpu), toolchain=found, level=level, flags=further)
    check(layers, device.run)


def test_depthwise_in_assembly_keeps_strings_short() -> None:
    """C99 promises 4095 characters."""
    for layer in depthwise_in_assembly():
        for text in layer.template.micro_kernels.values():
            literals = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
            assert len("".join(literals).replace("\\n", "\n")) <= 4095
