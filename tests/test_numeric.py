"""Requantization and exact products against Python's integers and fractions."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinycc_nn.ir.types import Array
from tinycc_nn.numeric import exact
from tinycc_nn.numeric.requantize import (
    dequantize,
    multipliers,
    quantize,
    requantize,
    rounding_shift,
    sum_multipliers,
)

FACTORS = st.floats(1e-12, 1e6)
ACCUMULATORS = st.integers(-(2**31), 2**31 - 1)
BYTES = st.integers(-128, 127)


def rounded(x: Fraction) -> int:
    """The nearest integer, half up."""
    return floor(x + Fraction(1, 2))


@given(st.lists(FACTORS, min_size=1, max_size=8))
def test_multipliers_fit_and_are_the_nearest(real: list[float]) -> None:
    m, shift = multipliers(np.array(real))
    assert m.dtype == np.int32 and 1 <= shift <= 32 and m.min() >= 0
    assert [int(i) for i in m] == [rounded(Fraction(r) * 2**shift) for r in real]
    if max(real) < 0.49:
        assert shift == 32
    if shift < 32:  # one more bit would not fit
        assert rounded(Fraction(max(real)) * 2 ** (shift + 1)) >= 2**31


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, np.nan, 2.0**31])
def test_factors_out_of_range(bad: float) -> None:
    with pytest.raises(ValueError, match="factor"):
        multipliers(np.array([0.5, bad]))


@given(ACCUMULATORS, FACTORS, BYTES, BYTES, BYTES)
def test_requantize_is_the_rule(acc: int, factor: float, zero: int, a: int, b: int) -> None:
    lo, hi = min(a, b), max(a, b)
    m, shift = multipliers(np.array([factor]))
    want = min(hi, max(lo, rounded(Fraction(acc * int(m[0]), 2**shift)) + zero))
    got = requantize(np.array([acc], np.int64), m, shift, zero, lo, hi)
    assert got.dtype == np.int8 and int(got[0]) == want


@given(ACCUMULATORS, st.floats(1e-6, 10))
def test_requantize_is_close_to_the_real_product(acc: int, factor: float) -> None:
    m, shift = multipliers(np.array([factor]))
    got = int(rounding_shift(np.array([acc]) * m.astype(np.int64), shift)[0])
    assert abs(got - acc * factor) <= 0.5 + abs(acc) / 2 ** (shift + 1) + 1e-6 * abs(acc * factor)


@given(st.integers(-(2**61), 2**61), st.integers(1, 40))
def test_rounding_shift(total: int, shift: int) -> None:
    got = rounding_shift(np.array([total], np.int64), shift)
    assert int(got[0]) == rounded(Fraction(total, 2**shift))


@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=3), st.data())
def test_sums_of_scaled_bytes_fit_32_bits(real: list[float], data: st.DataObject) -> None:
    signs = data.draw(st.lists(st.sampled_from([1, -1]), min_size=len(real), max_size=len(real)))
    m, shift = sum_multipliers(np.array(real) * signs)
    assert shift >= 1 and np.abs(m).max() < 2**15
    assert sum(255 * abs(int(i)) for i in m) + 2 ** (shift - 1) < 2**31
    for i, r, s in zip(m, real, signs, strict=True):
        assert abs(int(i) - s * r * 2**shift) <= 0.5
    assert shift == 22 or max(abs(int(i)) for i in m) >= 2**14 - 1


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.inf, 1.0], [2.0**16, 1.0]])
def test_factors_of_a_sum_out_of_range(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="factor"):
        sum_multipliers(np.array(bad))


@given(BYTES, st.floats(2.0**-20, 1024, width=32), BYTES)
def test_dequantize_then_quantize_is_the_same(q: int, scale: float, zero: int) -> None:
    stored = np.array([q], np.int8)
    assert quantize(dequantize(stored, scale, zero), scale, zero)[0] == q


def test_quantize_rounds_halves_to_even_and_saturates() -> None:
    x = np.array([0.5, 1.5, -0.5, -1.5, 1e9, -1e9, 126.4], np.float32)
    assert quantize(x, 1.0, 0).tolist() == [0, 2, 0, -2, 127, -128, 126]


def small_ints(low: int, high: int) -> st.SearchStrategy[tuple[Array, Array]]:
    sizes = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 4))
    elements = st.integers(low, high)

    def pair(s: tuple[int, int, int]) -> st.SearchStrategy[tuple[Array, Array]]:
        a = arrays(np.int32, (s[0], s[1]), elements=elements)
        return st.tuples(a, arrays(np.int32, (s[1], s[2]), elements=elements))

    return sizes.flatmap(pair)


@settings(max_examples=60)
@given(st.one_of(small_ints(-255, 255), small_ints(-(2**24), 2**24), small_ints(-(2**28), 2**28)))
def test_products_are_exact(ab: tuple[Array, Array]) -> None:
    a, b = ab
    want = [[sum(int(x) * int(y) for x, y in zip(r, c, strict=True)) for c in b.T] for r in a]
    got = exact.matmul(a, b)
    assert got.dtype == np.int64 and got.tolist() == want


def test_products_at_the_edge_of_float32() -> None:
    a, b = np.full((1, 519), 255, np.int32), np.full((519, 1), 127, np.int32)
    a[0, 0] = 254
    assert exact.matmul(a, b)[0, 0] == 519 * 255 * 127 - 127
