"""Observers and the ranges chosen from them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycc_nn.calibration import (
    BINS,
    Histogram,
    Method,
    Range,
    Scheme,
    affine,
    choose_range,
    represented,
)
from tinycc_nn.ir.types import Array
from tinycc_nn.numeric.requantize import dequantize, quantize

FLOATS = st.floats(-1e6, 1e6, width=32)
SCHEMES: list[Scheme] = ["asymmetric", "symmetric"]
METHODS: list[Method] = ["minmax", "percentile", "mse", "entropy"]
RNG = np.random.default_rng(0)


def histogram(*parts: Array) -> Histogram:
    h = Histogram()
    for p in parts:
        h.add(p.astype(np.float32))
    return h


@given(st.lists(st.lists(FLOATS, min_size=1), min_size=1))
def test_a_histogram_counts_everything_in_its_bin(batches: list[list[float]]) -> None:
    h = histogram(*(np.array(b) for b in batches))
    x = np.sort(np.concatenate([np.array(b, np.float32) for b in batches]))
    assert h.counts.sum() == len(x) and len(h.counts) == BINS
    assert (h.low, h.high) == (x[0], x[-1])
    width = 2 * h.limit / BINS
    seen = np.repeat(h.centres(), h.counts)
    assert np.abs(seen - x).max() <= width * (0.5 + 1e-3)
    assert width <= 4 * max(np.abs(x).max(), 2.0**-60) / BINS * 1.001


def test_quantiles() -> None:
    h = histogram(np.arange(5000) / 1000, np.arange(5000, 10000) / 1000)
    assert h.quantile(0.5) == pytest.approx(5, abs=0.01)
    assert h.quantile(1) == h.high and h.quantile(0) == h.low


@given(FLOATS, FLOATS, st.sampled_from(SCHEMES))
def test_zero_is_exact_and_the_range_is_represented(a: float, b: float, scheme: Scheme) -> None:
    low, high = sorted((a, b))
    q = affine(low, high, scheme)
    assert -128 <= q.zero <= 127 and q.scale == np.float32(q.scales()[0])
    assert scheme == "asymmetric" or q.zero == 0
    scale = float(q.scales()[0])
    assert dequantize(quantize(np.zeros(1, np.float32), scale, q.zero), scale, q.zero)[0] == 0
    least, most = represented(q)
    assert least <= low + scale * 0.51 and high - scale * 0.51 <= most


def test_a_range_without_negatives_starts_at_the_lowest_number() -> None:
    assert affine(0, 255).zero == affine(3, 255).zero == -128
    assert affine(0, 255).scale == 1
    assert affine(-10, -5).zero == 127
    assert affine(0, 0).scale == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_method_stays_inside_what_was_seen(method: Method, scheme: Scheme) -> None:
    h = histogram(RNG.normal(size=20000), RNG.normal(size=20000) * 2)
    low, high = choose_range(h, method, scheme)
    assert h.low <= low < -1 and 1 < high <= h.high


def squared_error(x: Array, r: Range) -> float:
    q = affine(*r)
    scale = float(q.scales()[0])
    return float(np.mean((dequantize(quantize(x, scale, q.zero), scale, q.zero) - x) ** 2))


def test_mse_cuts_outliers_when_that_pays() -> None:
    x = np.concatenate([RNG.normal(size=1_000_000), [30.0]]).astype(np.float32)
    h = histogram(x)
    errors = [squared_error(x, choose_range(h, m, "asymmetric")) for m in ("mse", "minmax")]
    assert errors[0] < errors[1] * 0.6


def test_entropy_cuts_outliers() -> None:
    x = np.concatenate([RNG.normal(size=100_000), np.linspace(20, 40, 5)])
    low, high = choose_range(histogram(x), "entropy", "asymmetric")
    assert 3 < high < 20 and low < -2.5


def test_percentiles_nest() -> None:
    h = histogram(RNG.normal(size=50_000))
    ranges = [choose_range(h, "percentile", "asymmetric", p) for p in (99, 99.9, 99.99, 100)]
    assert all(a[0] >= b[0] and a[1] <= b[1] for a, b in pairwise(ranges))
    assert ranges[0][1] == pytest.approx(2.33, abs=0.1)
    assert ranges[-1] == (h.low, h.high)
