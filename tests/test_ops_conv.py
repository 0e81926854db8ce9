"""conv2d and conv2d_transpose against loops over Python's integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.ops import (
    Operand,
    apply,
    channel_quant,
    floats,
    graph_of,
    int8,
    quants,
    requantized,
    rngs,
)
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr
from tinycc_nn.ir.types import Array, Quant
from tinycc_nn.ops import opdef

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@dataclass(frozen=True)
class Case:
    """What a windowed product is made of; `size` is that of its input."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]
    groups: int
    inner: int
    outer: int

    def attrs(self) -> dict[str, Attr]:
        return {
            "stride": self.stride,
            "dilation": self.dilation,
            "pad": self.pad,
            "groups": self.groups,
        }

    @property
    def x(self) -> tuple[int, ...]:
        return (2, 1, *self.size, self.inner * self.groups)

    @property
    def w(self) -> tuple[int, ...]:
        return (self.outer * self.groups, *self.kernel, self.inner)


def fits(c: Case) -> bool:
    return all(
        c.size[a] + c.pad[2 * a] + c.pad[2 * a + 1] > c.dilation[a] * (c.kernel[a] - 1)
        for a in (0, 1)
    )


cases = st.builds(
    Case,
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    pairs,
    pairs,
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
).filter(fits)


def conv(c: Case, x: Array, w: Array) -> Array:
    """The sums of a convolution of one image [h, w, c], as Python numbers."""
    (sh, sw), (dh, dw), (top, bottom, left, right) = c.stride, c.dilation, c.pad
    h, wide, _ = x.shape
    rows = (h + top + bottom - dh * (c.kernel[0] - 1) - 1) // sh + 1
    columns = (wide + left + right - dw * (c.kernel[1] - 1) - 1) // sw + 1
    y = np.zeros((rows, columns, len(w)), object)
    for r, k, o in np.ndindex(*y.shape):
        for i, j, z in np.ndindex(*w.shape[1:]):
            row, column = r * sh + i * dh - top, k * sw + j * dw - left
            if 0 <= row < h and 0 <= column < wide:
                y[r, k, o] += (
                    x[row, column, o // c.outer * c.inner + z].item() * w[o, i, j, z].item()
                )
    return y


def transposed(c: Case, x: Array, w: Array, shape: tuple[int, ...]) -> Array:
    """The sums of a transposed convolution of one image, as Python numbers."""
    y = np.zeros(shape, object)
    for row, column, z in np.ndindex(*x.shape):
        for i, j in np.ndindex(*c.kernel):
            r = row * c.stride[0] + i * c.dilation[0] - c.pad[0]
            k = column * c.stride[1] + j * c.dilation[1] - c.pad[2]
            if 0 <= r < shape[0] and 0 <= k < shape[1]:
                for o in range(c.outer):
                    at = z // c.inner * c.outer + o
                    y[r, k, at] += x[row, column, z].item() * w[at, i, j, z % c.inner].item()
    return y


def finished(acc: Array, bias: Array, qx: Quant, qw: Quant, qy: Quant) -> Array:
    """int8 results of sums [..., out], channel by channel with one shift."""
    factors = (qx.scales() * qw.scales() / qy.scales()).tolist()
    flat = [
        requantized([a + b for a, b in zip(row, bias.tolist(), strict=True)], factors, qy.zero)
        for row in acc.reshape(-1, acc.shape[-1])
    ]
    return np.array(flat).reshape(acc.shape)


@settings(max_examples=60, deadline=None)
@given(cases, rngs, quants, quants)
def test_conv2d_int8(c: Case, rng: np.random.Generator, qx: Quant, qy: Quant) -> None:
    x, w = int8(rng, *c.x), int8(rng, *c.w)
    qw, bias = channel_quant(rng, len(w)), rng.integers(-9999, 9999, len(w)).astype(np.int32)
    operands = [Operand(x, qx), Operand(w, qw, True), Operand(bias, None, True)]
    y = apply("conv2d", operands, c.attrs(), qy)
    for image, found in zip(x, y, strict=True):
        acc = conv(c, image[0].astype(int) - qx.zero, w)
        np.testing.assert_array_equal(found[0], finished(acc, bias, qx, qw, qy))


@settings(max_examples=30, deadline=None)
@given(cases, rngs)
def test_conv2d_float(c: Case, rng: np.random.Generator) -> None:
    x, w, bias = floats(rng, *c.x), floats(rng, *c.w), floats(rng, c.w[0])
    y = apply("conv2d", [Operand(x), Operand(w, None, True), Operand(bias, None, True)], c.attrs())
    for image, found in zip(x, y, strict=True):
        expected = conv(c, image[0], w).astype(np.float64) + bias
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


extras = st.tuples(st.integers(0, 2), st.integers(0, 2))


def cropped(c: Case, extra: tuple[int, int]) -> tuple[int, ...]:
    """The shape of the transposed convolution's result."""
    return (
        *(
            (c.size[a] - 1) * c.stride[a] + c.dilation[a] * (c.kernel[a] - 1) + 1 + extra[a]
            - c.pad[2 * a] - c.pad[2 * a + 1]
            for a in (0, 1)
        ),
        c.w[0],
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(cases, extras, rngs, quants, quants)
def test_conv2d_transpose_int8(
    c: Case, extra: tuple[int, int], rng: np.random.Generator, qx: Quant, qy: Quant
) -> None:
    x, w = int8(rng, *c.x), int8(rng, *c.w)
    qw, bias = channel_quant(rng, len(w)), rng.integers(-9999, 9999, len(w)).astype(np.int32)
    operands = [Operand(x, qx), Operand(w, qw, True), Operand(bias, None, True)]
    attrs = {**c.attrs(), "output_pad": extra}
    shape = cropped(c, extra)
    if min(shape) < 1:
        with pytest.raises(TinyccError, match="the padding crops the whole result"):
            graph_of("conv2d_transpose", operands, attrs, qy)
        return
    y = apply("conv2d_transpose", operands, attrs, qy)
    for image, found in zip(x, y, strict=True):
        acc = transposed(c, image[0].astype(int) - qx.zero, w, shape)
        np.testing.assert_array_equal(found[0], finished(acc, bias, qx, qw, qy))


def test_conv2d_transpose_float_is_the_transpose_of_conv2d() -> None:
    rng = np.random.default_rng(0)
    x, w = floats(rng, 1, 1, 5, 6, 4), floats(rng, 3, 3, 2, 4)
    attrs: dict[str, Attr] = {"stride": (2, 3), "pad": (1, 0, 0, 1)}
    y = apply("conv2d", [Operand(x), Operand(w, None, True)], attrs)
    other = floats(rng, *y.shape)
    back = Operand(w.transpose(3, 1, 2, 0), None, True)
    (high, wide) = (2 * y.shape[2], 3 * y.shape[3] - 2)
    extra = (5 - high, 6 - wide)
    z = apply("conv2d_transpose", [Operand(other), back], {**attrs, "output_pad": extra})
    assert z.shape == x.shape
    np.testing.assert_allclose((x * z).sum(), (y * other).sum(), rtol=1e-4)


@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose"])
def test_an_activation_clips_before_and_after_quantization(name: str) -> None:
    rng = np.random.default_rng(1)
    x, w, q = floats(rng, 1, 1, 4, 4, 2), floats(rng, 2, 1, 1, 2), Quant(0.1, -100)
    y = apply(name, [Operand(x), Operand(w, None, True)], {"act": "relu"})
    assert y.min() == 0 < y.max()
    operands = [Operand(int8(rng, 1, 1, 4, 4, 2), q), Operand(int8(rng, 2, 1, 1, 2), q, True)]
    y = apply(name, operands, {"act": "clip", "act_min": -1.0, "act_max": 2.0}, q)
    assert (y.min(), y.max()) == (-110, -80)


@pytest.mark.parametrize(
    ("name", "x", "w", "attrs", "message"),
    [
        (
            "conv2d",
            (1, 4, 4, 3),
            (8, 3, 3, 2),
            {},
            "the input has 3 channels, the weight %c1 takes 2",
        ),
        ("conv2d", (1, 4, 4), (8, 3, 3, 2), {}, "input and weights must have 4 axes"),
        ("conv2d", (1, 2, 2, 2), (8, 3, 3, 2), {}, "a window of 3x3 does not fit 2x2"),
        ("conv2d_transpose", (1, 4, 4, 3), (8, 3, 3, 2), {}, "the input has 3 channels"),
        ("conv2d_transpose", (1, 4, 4), (8, 3, 3, 2), {}, "input and weights must have 4 axes"),
    ],
)
def test_shapes_that_do_not_fit(
    name: str, x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Attr], message: str
) -> None:
    operands = [
        Operand(np.zeros((1, *x), np.float32)),
        Operand(np.zeros(w, np.float32), None, True),
    ]
    with pytest.raises(TinyccError, match=message):
        graph_of(name, operands, attrs)


def test_macs() -> None:
    x, w = np.zeros((1, 1, 6, 5, 4), np.float32), np.zeros((8, 3, 3, 2), np.float32)
    operands = [Operand(x), Operand(w, None, True)]
    for name, pixels in (("conv2d", 4 * 3), ("conv2d_transpose", 6 * 5)):
        (_, op) = graph_of(name, operands, {"groups": 2})
        assert opdef(name).macs(op) == pixels * 8 * 3 * 3 * 2
