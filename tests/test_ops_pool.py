"""Pools and reductions against loops over Python's integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.ops import Operand, apply, floats, graph_of, int8, quants, requantized, rngs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr
from tinycc_nn.ir.types import Array, Quant

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
windows = st.fixed_dictionaries(
    {
        "kernel": pairs,
        "stride": pairs,
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
        "pad": st.tuples(*[st.integers(0, 2)] * 4),
    }
)
Attrs = dict[str, tuple[int, ...]]
H, W, C = 5, 4, 2


def taps(a: Attrs, image: Array) -> Iterator[tuple[int, int, list[list[int]]]]:
    """Each window: its row, its column, the channels [c] of the pixels that it covers."""
    (kh, kw), (sh, sw), (dh, dw) = a["kernel"], a["stride"], a["dilation"]
    top, bottom, left, right = a["pad"]
    for r in range((H + top + bottom - dh * (kh - 1) - 1) // sh + 1):
        for c in range((W + left + right - dw * (kw - 1) - 1) // sw + 1):
            rows = [r * sh + i * dh - top for i in range(kh)]
            columns = [c * sw + j * dw - left for j in range(kw)]
            inside = [(y, x) for y in rows for x in columns if 0 <= y < H and 0 <= x < W]
            yield r, c, [image[y, x].tolist() for y, x in inside]


def fits(a: Attrs) -> bool:
    found = list(taps(a, np.zeros((H, W, C))))
    return bool(found) and all(pixels for _, _, pixels in found)


@settings(max_examples=60, deadline=None)
@given(windows, rngs, quants)
def test_max_pool2d_int8(a: Attrs, rng: np.random.Generator, q: Quant) -> None:
    assume(fits(a))
    x = int8(rng, 2, 1, H, W, C)
    y = apply("max_pool2d", [Operand(x, q)], dict(a))
    for s in (0, 1):
        for r, c, pixels in taps(a, x[s, 0]):
            assert y[s, 0, r, c].tolist() == [max(p) for p in zip(*pixels, strict=True)]


@settings(max_examples=60, deadline=None)
@given(windows, st.booleans(), rngs, quants, quants)
def test_avg_pool2d_int8(
    a: Attrs, count_pad: bool, rng: np.random.Generator, qx: Quant, qy: Quant
) -> None:
    assume(fits(a))
    x = int8(rng, 1, 1, H, W, C)
    y = apply("avg_pool2d", [Operand(x, qx)], {**a, "count_pad": count_pad}, qy)
    found = list(taps(a, x[0, 0]))
    size = a["kernel"][0] * a["kernel"][1]
    counts = [size if count_pad else len(pixels) for _, _, pixels in found]
    factors = [(qx.scales() / (qy.scales() * n))[0].item() for n in counts]
    for channel in range(C):
        sums = [sum(p[channel] - qx.zero for p in pixels) for _, _, pixels in found]
        stored = [int(y[0, 0, r, c, channel]) for r, c, _ in found]
        assert stored == requantized(sums, factors, qy.zero)


def test_float_pools() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4, 1) - 20
    window: dict[str, Attr] = {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1, 1, 1)}
    assert apply("max_pool2d", [Operand(x)], window).reshape(-1).tolist() == [-15, -13, -7, -5]
    y = apply("avg_pool2d", [Operand(x)], window).reshape(-1)
    np.testing.assert_allclose(y, [-17.5, -16, -11.5, -10])
    y = apply("avg_pool2d", [Operand(x)], {**window, "count_pad": True}).reshape(-1)
    np.testing.assert_allclose(y, [-17.5 * 4 / 9, -16 * 6 / 9, -11.5 * 6 / 9, -10])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data(), st.booleans(), rngs,
    quants, quants,
)  # fmt: skip
def test_reductions_int8(
    shape: list[int],
    data: st.DataObject,
    keep: bool,
    rng: np.random.Generator,
    qx: Quant,
    qy: Quant,
) -> None:
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1)))))
    attrs: dict[str, Attr] = {"axes": axes, "keep": keep}
    x = int8(rng, 1, *shape)
    groups: dict[tuple[int, ...], list[int]] = {}
    for at in np.ndindex(*shape):
        kept = tuple(i for a, i in enumerate(at) if a not in axes)
        groups.setdefault(kept, []).append(int(x[(0, *at)]))
    n = len(next(iter(groups.values())))
    sums = [sum(v - qx.zero for v in g) for g in groups.values()]
    for name, count in (("reduce_mean", n), ("reduce_sum", 1)):
        y = apply(name, [Operand(x, qx)], attrs, qy)
        factor = (qx.scales() / (qy.scales() * count))[0].item()
        assert y.reshape(-1).tolist() == requantized(sums, [factor] * len(sums), qy.zero)
    y = apply("reduce_max", [Operand(x, qx)], attrs)
    assert y.reshape(-1).tolist() == [max(g) for g in groups.values()]
    assert y.ndim == 1 + (len(shape) if keep else len(shape) - len(axes))


def test_float_reductions() -> None:
    x = floats(np.random.default_rng(0), 2, 3, 4, 5)
    for name, function in (
        ("reduce_mean", np.mean),
        ("reduce_sum", np.sum),
        ("reduce_max", np.max),
    ):
        y = apply(name, [Operand(x)], {"axes": (0, 2), "keep": False})
        np.testing.assert_allclose(y, function(x, axis=(1, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "attrs", "message"),
    [
        ("max_pool2d", (1, 4, 4), {"kernel": (2, 2)}, "the input must have 4 axes"),
        ("avg_pool2d", (1, 2, 2, 1), {"kernel": (3, 3)}, "a window of 3x3 does not fit 2x2"),
        (
            "avg_pool2d",
            (1, 4, 4, 1),
            {"kernel": (2, 2), "pad": (2, 0, 0, 0)},
            "a window lies in the padding alone",
        ),
        ("reduce_mean", (1, 4), {"axes": (2,)}, r"axes \[2\] of a tensor with 2 axes"),
        ("reduce_max", (1, 4), {"axes": (1, 1)}, r"axes \[1, 1\] of a tensor with 2 axes"),
    ],
)
def test_what_does_not_fit(
    name: str, shape: tuple[int, ...], attrs: dict[str, Attr], message: str
) -> None:
    with pytest.raises(TinyccError, match=message):
        graph_of(name, [Operand(np.zeros((1, *shape), np.float32))], attrs)
