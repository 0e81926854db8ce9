"""softmax, log_softmax and batch_norm against their formulas."""

from __future__ import annotations

from fractions import Fraction
from math import exp, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.ops import Operand, apply, floats, graph_of, int8, quants, rngs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.types import Array, Quant
from tinycc_nn.ops.softmax import OUTPUT


def stored_softmax(row: list[int], scale: float, q: Quant) -> list[int]:
    e = [floor(2**15 * exp(-scale * (max(row) - v)) + 0.5) for v in row]
    k, total = floor(1 / Fraction(float(q.scales()[0])) + Fraction(1, 2)), sum(e)
    return [min(127, max(-128, (v * k + total // 2) // total + q.zero)) for v in e]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 20), rngs, quants, quants | st.just(OUTPUT))
def test_softmax_int8(n: int, rng: np.random.Generator, qx: Quant, qy: Quant) -> None:
    x = int8(rng, 3, 2, n)
    y = apply("softmax", [Operand(x, qx)], {"axis": 1}, qy)
    for row, found in zip(x.reshape(-1, n).tolist(), y.reshape(-1, n).tolist(), strict=True):
        assert found == stored_softmax(row, float(qx.scales()[0]), qy)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 50), rngs, st.floats(0.001, 0.5))
def test_softmax_int8_is_near_the_real_one(n: int, rng: np.random.Generator, scale: float) -> None:
    x = int8(rng, 4, n)
    y = apply("softmax", [Operand(x, Quant(scale, 0))], {"axis": 0})
    real = apply("softmax", [Operand(x.astype(np.float32) * np.float32(scale))], {"axis": 0})
    np.testing.assert_allclose((y + 128.0) / 256, np.minimum(real, 255 / 256), atol=0.7 / 256)


def test_the_result_has_the_fixed_quantization_by_default() -> None:
    g = graph_of("softmax", [Operand(np.zeros((1, 4), np.int8), Quant(0.1, 3))], {"axis": 0})
    assert g.outputs[0].type.quant == Quant(1 / 256, -128)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_float_softmax(axis: int) -> None:
    x = floats(np.random.default_rng(0), 2, 3, 4, 5) * np.float32(30)

    def softmax(v: Array) -> Array:
        e = np.exp(v.astype(np.float64) - v.max())
        return np.asarray(e / e.sum())

    expected = np.apply_along_axis(softmax, axis + 1, x)
    y = apply("softmax", [Operand(x)], {"axis": axis})
    np.testing.assert_allclose(y, expected, atol=1e-6)
    z = apply("log_softmax", [Operand(x)], {"axis": axis})
    likely = expected > 1e-3
    np.testing.assert_allclose(z[likely], np.log(expected[likely]), rtol=1e-4, atol=1e-5)
    assert np.isfinite(z).all()


def test_batch_norm() -> None:
    rng = np.random.default_rng(0)
    x, gamma, beta, mean = floats(rng, 2, 3, 3, 4), *(floats(rng, 4) for _ in range(3))
    variance = np.abs(floats(rng, 4))
    parameters = [Operand(p, None, True) for p in (gamma, beta, mean, variance)]
    y = apply("batch_norm", [Operand(x), *parameters], {"epsilon": 0.01})
    expected = (x - mean) / np.sqrt(variance + 0.01) * gamma + beta
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_what_does_not_fit() -> None:
    x = Operand(np.zeros((1, 2, 3), np.float32))
    q = Operand(np.zeros((1, 2, 3), np.int8), Quant(0.1))
    p = Operand(np.zeros(2, np.float32), None, True)
    with pytest.raises(TinyccError, match="softmax: axis 2 of a tensor with 2 axes"):
        graph_of("softmax", [x], {"axis": 2})
    with pytest.raises(TinyccError, match="log_softmax: the input must be f32"):
        graph_of("log_softmax", [q], {"axis": 1})
    with pytest.raises(TinyccError, match="batch_norm: the input must be f32"):
        graph_of("batch_norm", [q, p, p, p, p])
    with pytest.raises(TinyccError, match=r"batch_norm: gamma is \[2\], the input \[2, 3\]"):
        graph_of("batch_norm", [x, p, p, p, p])
    with pytest.raises(TinyccError, match="batch_norm takes x, gamma, beta, mean, variance"):
        graph_of("batch_norm", [x, p])
