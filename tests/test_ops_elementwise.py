"""Unary, binary and quantization operators on int8 against exact rational arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, I8, Array, Graph, Quant, TensorType
from tinycc_nn.ops import emit, opdef, verify
from tinycc_nn.ops.unary import FUNCTIONS, lookup_table
from tinycc_nn.reference import run

ALL = np.arange(-128, 128).astype(np.int8)
quants = st.builds(
    lambda s, z: Quant(float(np.float32(s)), z), st.floats(1e-3, 2), st.integers(-128, 127)
)


def real(q: int, quant: Quant) -> Fraction:
    assert isinstance(quant.scale, float)
    return Fraction(quant.scale) * (int(q) - quant.zero)


def run1(name: str, arrays: list[Array], types: list[TensorType], quant: Quant | None) -> Array:
    g = Graph("g")
    xs = [g.add_input(f"x{i}", t) for i, t in enumerate(types)]
    g.outputs = [emit(g, name, xs, quant=quant)]
    verify(g)
    (y,) = run(g, {v.name: a[None] for v, a in zip(xs, arrays, strict=True)})
    return np.asarray(y[0])


def stored(y: Fraction, q: Quant) -> float:
    """The exact stored value before rounding and saturation."""
    assert isinstance(q.scale, float)
    return float(y / Fraction(q.scale)) + q.zero


SAMPLES: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "hard_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "hard_sigmoid": lambda x: min(max(0.2 * x + 0.5, 0), 1),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "exp": math.exp,
    "abs": abs,
    "softplus": lambda x: math.log1p(math.exp(x)),
    "erf": math.erf,
    "round": lambda x: float(round(x)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_unary_float_and_table(name: str) -> None:
    x = Quant(0.05, 10)
    reals = [0.05 * (int(q) - 10) for q in ALL.tolist()]
    wanted = [SAMPLES[name](r) for r in reals]
    got = run1(name, [np.array(reals, np.float32)], [TensorType(F32, (256,))], None)
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-6)
    y = opdef(name).output or Quant(0.07, -20)
    assert isinstance(y.scale, float)
    table = [min(127, max(-128, math.floor(w / y.scale + 0.5) + y.zero)) for w in wanted]
    got = run1(name, [ALL], [TensorType(I8, (256,), x)], y)
    assert np.abs(got - np.array(table)).max() <= 1
    assert np.mean(got != np.array(table)) < 0.02, "only ties may differ"


@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS if f.name not in ("power", "clip")])
def test_tables_have_no_nan(name: str) -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (256,), Quant(0.5, 0)))
    y = emit(g, name, [x], quant=Quant(0.1, 0))
    assert y.owner is not None
    table = lookup_table(y.owner)
    assert table.dtype == np.int8
    assert table.shape == (256,)
    g.outputs = [y]
    np.testing.assert_array_equal(run(g, {"x": ALL[None]})[0][0], table)


@settings(max_examples=60, deadline=None)
@given(quants, quants, quants, st.sampled_from(["add", "sub", "mul"]))
def test_arithmetic_is_within_rounding(a: Quant, b: Quant, y: Quant, name: str) -> None:
    rng = np.random.default_rng(0)
    p, q = (rng.integers(-128, 128, 64).astype(np.int8) for _ in range(2))
    types = [TensorType(I8, (64,), a), TensorType(I8, (64,), b)]
    try:
        got = run1(name, [p, q], types, y)
    except ValueError:
        return  # a factor beyond what 15 bits and a shift can hold
    f = {"add": Fraction.__add__, "sub": Fraction.__sub__, "mul": Fraction.__mul__}[name]
    exact = np.array([stored(f(real(i, a), real(j, b)), y) for i, j in zip(p, q, strict=True)])
    wanted = np.clip(exact, -128, 127)
    slack = 0.5 + np.abs(exact - y.zero).max() * 2.0**-13 + 0.02
    assert np.abs(got - wanted).max() <= slack


@settings(max_examples=60, deadline=None)
@given(quants, quants, quants)
def test_prelu_is_within_rounding(x: Quant, s: Quant, y: Quant) -> None:
    slope = np.array([50], np.int8)
    types = [TensorType(I8, (256,), x), TensorType(I8, (1,), s)]
    got = run1("prelu", [ALL, slope], types, y)
    factor = real(50, s)
    exact = [stored(r if r > 0 else r * factor, y) for r in (real(q, x) for q in ALL.tolist())]
    assert np.abs(got - np.clip(exact, -128, 127)).max() <= 0.5 + 1e-3


@given(quants, quants)
def test_requantize_is_within_rounding(x: Quant, y: Quant) -> None:
    got = run1("requantize", [ALL], [TensorType(I8, (256,), x)], y)
    exact = [stored(real(q, x), y) for q in ALL.tolist()]
    assert np.abs(got - np.clip(exact, -128, 127)).max() <= 0.5 + 1e-3


@given(quants)
def test_quantize_inverts_dequantize(x: Quant) -> None:
    t = TensorType(I8, (256,), x)
    y = run1("dequantize", [ALL], [t], None)
    np.testing.assert_array_equal(run1("quantize", [y], [TensorType(F32, (256,))], x), ALL)


def test_activation_of_an_addition() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(I8, (256,), Quant(0.1, 0)))
    g.outputs = [emit(g, "add", [x, x], {"act": "relu6"}, quant=Quant(0.1, -10))]
    y = run(g, {"x": ALL[None]})[0]
    assert (y.min(), y.max()) == (-10, 50)


@pytest.mark.parametrize(
    ("name", "a", "b", "message"),
    [
        ("add", TensorType(F32, (2, 3)), TensorType(F32, (3,)), "do not go together"),
        ("add", TensorType(F32, (2,)), TensorType(F32, (3,)), "do not go together"),
        ("add", TensorType(F32, (2,)), TensorType(I8, (2,), Quant(1.0)), "are f32 and i8"),
        ("div", *[TensorType(I8, (2,), Quant(1.0))] * 2, "div works on f32 only"),
        (
            "minimum",
            TensorType(I8, (2,), Quant(1.0)),
            TensorType(I8, (2,), Quant(2.0)),
            r"the quantizations q\(1.0, 0\) and q\(2.0, 0\)",
        ),
    ],
)  # fmt: skip
def test_operands_that_do_not_fit(name: str, a: TensorType, b: TensorType, message: str) -> None:
    g = Graph("g")
    x, y = g.add_input("a", a), g.add_input("b", b)
    with pytest.raises(TinyccError, match=message):
        emit(g, name, [x, y])
