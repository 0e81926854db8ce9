"""Winograd kernels: exact transforms; the C on the host and emulated cores, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.ops import channel_quant, int8
from tinycc_nn import reference
from tinycc_nn.backend import Artifact, BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import Kernel, candidates
from tinycc_nn.backends.tvm.kernels.winograd import FAMILY
from tinycc_nn.backends.tvm.tir.template import Window
from tinycc_nn.backends.tvm.tir.winograd_axis import AXES
from tinycc_nn.backends.tvm.tir.winograd_c import divided
from tinycc_nn.backends.tvm.tir.winograd_tiling import Tiling, fits
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import I8, Array, Attr, Graph, Quant, TensorType
from tinycc_nn.ops import emit, verify
from tinycc_nn.target import Target

M4 = Target.for_cpu("cortex-m4")


def conv(
    rng: np.random.Generator,
    size: tuple[int, int],
    channels: tuple[int, int],
    pad: tuple[int, int, int, int] = (1, 1, 1, 1),
    zero: int = -5,
    act: str = "none",
    per_channel: bool = True,
    gain: float = 0.3,
) -> Graph:
    """A graph of one conv2d on random numbers; ``gain``: results as a part of the int8 range."""
    g = Graph("g")
    c, n = channels
    x = g.add_input("x", TensorType(I8, (1, *size, c), Quant(0.05, zero)))
    quant = channel_quant(rng, n) if per_channel else Quant(0.03, 0)
    w = g.constant("w", int8(rng, n, 3, 3, c), quant)
    b = g.constant("b", rng.integers(-9000, 9000, n).astype(np.int32))
    scale = float(np.float32(0.05 * 0.05 * 75 * 75 * np.sqrt(9 * c) / 128 / gain))
    attrs: dict[str, Attr] = {"pad": pad, "act": act}
    g.outputs.append(emit(g, "conv2d", [x, w, b], attrs, quant=Quant(scale, 3)))
    verify(g)
    return g


def kernels_of(g: Graph) -> list[Kernel]:
    (op,) = [op for op in g.ops if op.name == "conv2d"]
    return list(FAMILY.candidates(op, M4))


def compiled(g: Graph, kernel: str, cpu: str = "cortex-m4") -> Artifact:
    forced = {g.outputs[0].name: kernel}
    options = BackendOptions("net", kernels=forced, banner="test")
    return load_backend("tvm").compile(g, Target.for_cpu(cpu), options)


def wanted(g: Graph, x: Array) -> Array:
    return reference.run(g, {"x": x[None, None]})[0].reshape(-1)


@pytest.mark.parametrize("outputs", AXES)
def test_transforms_give_the_convolution_times_known_factors(outputs: int) -> None:
    axis, rng = AXES[outputs], np.random.default_rng(outputs)
    g, d = rng.integers(-128, 128, 3), rng.integers(-128, 128, axis.points)
    v = run_lines(axis.input_lines, d, axis.points)
    assert v == list(axis.input @ d)
    m = [int(a) * b for a, b in zip(axis.weight @ g, v, strict=True)]
    direct = [int(d[i : i + 3] @ g) for i in range(outputs)]
    scaled = [a * s for a, s in zip(direct, axis.scale, strict=True)]
    assert run_lines(axis.output_lines, m, outputs) == scaled
    m[1] += 77 * axis.bias
    with_bias = [(a + 77) * s for a, s in zip(direct, axis.scale, strict=True)]
    assert run_lines(axis.output_lines, m, outputs) == with_bias
    assert list(axis.input @ np.array(axis.ones)) == [1] * axis.points
    level = [0] * axis.points
    level[1] = axis.level
    assert list(axis.input @ np.ones(axis.points, np.int64)) == level


def run_lines(
    lines: Callable[[list[str], list[str]], list[str]], values: Iterable[int], count: int
) -> list[int]:
    """What the C of a transform computes: its sums, differences and shifts are Python's too."""
    names = {f"i{k}": int(v) for k, v in enumerate(values)}
    for line in lines(list(names), [f"o{k}" for k in range(count)]):
        for part in line.removeprefix("const uint32_t ").rstrip(";").split(", "):
            name, expression = part.split(" = ")
            names[name] = eval(expression, {}, names)
    return [names[f"o{k}"] for k in range(count)]


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.data())
def test_random_layers_on_the_host(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(3, 11)), draw(st.integers(3, 11))
    channels = 4 * draw(st.integers(1, 6)), 4 * draw(st.integers(1, 4))
    pad = draw(st.tuples(*[st.integers(0, 2)] * 4).filter(lambda p: min(size) + min(p) > 4))
    zero = draw(st.integers(-128, 127))
    act = draw(st.sampled_from(["none", "relu", "relu6"]))
    gain = draw(st.sampled_from([0.1, 0.4, 3.0]))
    g = conv(rng, size, channels, pad, zero, act, draw(st.booleans()), gain)
    if not (kernels := kernels_of(g)):
        return
    kernel = draw(st.sampled_from(kernels)).name
    library = HostLibrary(compiled(g, kernel).source, level="-O1")
    for x in (int8(rng, *size, channels[0]), np.full((*size, channels[0]), -128, np.int8)):
        np.testing.assert_array_equal(library.run([x])[0], wanted(g, x), kernel)


@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m33"])
@pytest.mark.parametrize("kernel", ["winograd-4x4-bytes-8", "winograd-2x2-words"])
def test_emulated(cpu: str, kernel: str) -> None:
    rng = np.random.default_rng(1)
    g = conv(rng, (9, 6), (12, 8), (1, 1, 0, 2))
    device = Device(compiled(g, kernel, cpu).source, Target.for_cpu(cpu))
    x = int8(rng, 9, 6, 12)
    np.testing.assert_array_equal(device.run([x])[0], wanted(g, x))


def test_extreme_sums_wrap_and_come_back() -> None:
    """Transformed sums beyond int32 are harmless: only the sums of the definition must fit."""
    rng = np.random.default_rng(2)
    g = conv(rng, (4, 4), (256, 4), gain=20.0)
    w = next(op for op in g.ops if op.name == "conv2d").operands[1].constant
    assert w is not None
    points = np.einsum("iy,nyxc,jx->nijc", AXES[4].weight, w.astype(np.int64), AXES[4].weight)
    x = np.where(w[0, 1, 1] > 0, 127, -128).astype(np.int8) * np.ones((4, 4, 1), np.int8)
    assert np.abs(points).sum(axis=3).max() * 100 * 128 > 2**31
    library = HostLibrary(compiled(g, "winograd-4x4-words").source)
    np.testing.assert_array_equal(library.run([x])[0], wanted(g, x))


def test_what_fits() -> None:
    w = Window(8, 8, 16, (3, 3), pad=(1, 1, 1, 1))
    assert fits(w, 16, (4, 4), 1000)
    assert not fits(w, 15, (4, 4), 1000)
    assert not fits(w, 16, (4, 4), 2**25)
    assert not fits(Window(8, 8, 6, (3, 3)), 16, (4, 4), 1000)
    assert not fits(Window(8, 8, 16, (3, 3), (2, 2)), 16, (4, 4), 1000)
    assert not fits(Window(8, 8, 16, (3, 3), dilation=(2, 2)), 16, (4, 4), 1000)
    assert not fits(Window(5, 8, 16, (3, 3)), 16, (4, 4), 1000)
    assert fits(Window(5, 8, 16, (3, 3)), 16, (2, 4), 1000)


def test_flash_and_scratch_are_stated() -> None:
    g = conv(np.random.default_rng(3), (16, 16), (32, 32))
    found = {k.name: k for k in kernels_of(g)}
    small, words = found["winograd-4x4-bytes-8"], found["winograd-4x4-words"]
    assert small.constants == 32 * 9 * 32 + 8 * 32
    assert words.constants == 36 * 32 * 32 * 2 + 8 * 32
    tiling = Tiling(Window(16, 16, 32, (3, 3), pad=(1, 1, 1, 1)), 32, blocks=2)
    assert small.scratch == tiling.scratch == 2 * 36 * 32 * 2 * 4 + 36 * 32 * 4 + 36 * 4 * 2 * 4
    assert all(k.scratch <= 32 << 10 for k in found.values())
    gemm = min(k.cycles for k in candidates(g.ops[-1], M4) if k.name.startswith("gemm"))
    assert small.cycles < gemm / 1.5


@pytest.mark.parametrize("scale", [Fraction(24 * 24), Fraction(12 * 6)])
def test_exact_division_modulo_2_32(scale: Fraction) -> None:
    text = divided("v", int(scale))
    odd = int(text.split("* ")[1].split("u")[0])
    shift = int(text.split(">> ")[1])
    for acc in (0, 1, -1, 2**24, -(2**24), 123456):
        v = (acc * int(scale) * odd) % 2**32
        assert (v - 2**32 if v >= 2**31 else v) >> shift == acc
