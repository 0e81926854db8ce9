"""dense and matmul against sums of Python's integers."""

from __future__ import annotations

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
from tinycc_nn.ir.types import Quant
from tinycc_nn.ops import opdef

sizes = st.integers(1, 9)


@settings(max_examples=50, deadline=None)
@given(sizes, sizes, st.lists(st.integers(1, 3), max_size=2), rngs, quants, quants)
def test_dense_int8(
    k: int, n: int, outer: list[int], rng: np.random.Generator, qx: Quant, qy: Quant
) -> None:
    x, w = int8(rng, 2, *outer, k), int8(rng, n, k)
    qw, bias = channel_quant(rng, n), rng.integers(-9999, 9999, n).astype(np.int32)
    operands = [Operand(x, qx), Operand(w, qw, True), Operand(bias, None, True)]
    y = apply("dense", operands, {}, qy)
    factors = (qx.scales() * qw.scales() / qy.scales()).tolist()
    assert y.shape == (2, *outer, n)
    for row, found in zip(x.reshape(-1, k).tolist(), y.reshape(-1, n).tolist(), strict=True):
        sums = [
            sum((a - qx.zero) * b for a, b in zip(row, each, strict=True)) for each in w.tolist()
        ]
        sums = [a + b for a, b in zip(sums, bias.tolist(), strict=True)]
        assert found == requantized(sums, factors, qy.zero)


@settings(max_examples=50, deadline=None)
@given(sizes, sizes, sizes, st.sampled_from([(1, 1), (3, 1), (1, 3), (2, 2)]), rngs, quants, quants)
def test_matmul_int8(
    m: int, k: int, n: int, outer: tuple[int, int], rng: np.random.Generator, qa: Quant, qy: Quant
) -> None:
    qb = Quant(0.03, 7)
    a, b = int8(rng, 2, outer[0], m, k), int8(rng, 2, outer[1], k, n)
    y = apply("matmul", [Operand(a, qa), Operand(b, qb)], {}, qy)
    assert y.shape == (2, max(outer), m, n)
    factor = float((qa.scales() * qb.scales() / qy.scales())[0])
    for s, o, i, j in np.ndindex(*y.shape):
        left, right = a[s, min(o, outer[0] - 1), i], b[s, min(o, outer[1] - 1), :, j]
        pairs = zip(left.tolist(), right.tolist(), strict=True)
        total = sum((p - qa.zero) * (q - qb.zero) for p, q in pairs)
        assert [int(y[s, o, i, j])] == requantized([total], [factor], qy.zero)


def test_float_values() -> None:
    rng = np.random.default_rng(0)
    x, w, b = floats(rng, 3, 4, 5), floats(rng, 2, 5), floats(rng, 2)
    y = apply("dense", [Operand(x), Operand(w, None, True), Operand(b, None, True)])
    np.testing.assert_allclose(y, np.einsum("smk,nk->smn", x, w) + b, atol=1e-5)
    z = apply("matmul", [Operand(x), Operand(floats(rng, 3, 5, 2))])
    assert z.shape == (3, 4, 2)


def test_an_activation_clips() -> None:
    x, w = np.array([[-3.0], [3.0], [9.0]], np.float32), np.ones((1, 1), np.float32)
    y = apply("dense", [Operand(x), Operand(w, None, True)], {"act": "relu6"})
    assert y.reshape(-1).tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("name", "x", "w", "message"),
    [
        ("dense", (1, 4), (8, 3), r"weights \[8, 3\] do not fit the input \[1, 4\]"),
        ("dense", (1, 4), (8, 4, 1), r"weights \[8, 4, 1\] do not fit"),
        ("matmul", (2, 4), (3, 4), r"\[2, 4\] times \[3, 4\] is not defined"),
        ("matmul", (3, 2, 4), (2, 4, 3), r"\[3, 2, 4\] times \[2, 4, 3\] is not defined"),
        ("matmul", (1, 2, 4), (4, 3), r"\[1, 2, 4\] times \[4, 3\] is not defined"),
    ],
)
def test_shapes_that_do_not_fit(
    name: str, x: tuple[int, ...], w: tuple[int, ...], message: str
) -> None:
    operands = [
        Operand(np.zeros((1, *x), np.float32)),
        Operand(np.zeros(w, np.float32), None, True),
    ]
    with pytest.raises(TinyccError, match=message):
        graph_of(name, operands)


def test_macs() -> None:
    x = Operand(np.zeros((1, 3, 4), np.float32))
    (_, dense) = graph_of("dense", [x, Operand(np.zeros((5, 4), np.float32), None, True)])
    assert opdef("dense").macs(dense) == 3 * 4 * 5
    (matmul,) = graph_of("matmul", [x, Operand(np.zeros((1, 4, 5), np.float32))])
    assert opdef("matmul").macs(matmul) == 3 * 4 * 5
