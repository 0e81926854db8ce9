"""Functions of one element, and arithmetic of two with broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import te, tirx

from tinycc_nn.backends.tvm.te.define import Definition, Expr, Terms
from tinycc_nn.backends.tvm.te.integer import f32, i32, requantize, requantize64, rounding_shift
from tinycc_nn.backends.tvm.te.window import activate
from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import number, word
from tinycc_nn.ops.activation import int8_bounds
from tinycc_nn.ops.binary import prelu_factors, product_factors, quants, sum_factors
from tinycc_nn.ops.norm import scale_and_offset
from tinycc_nn.ops.unary import FUNCTIONS, lookup_table

Unary = Callable[[Op, Expr], Expr]


def negative_part(x: Expr) -> Expr:
    return tirx.min(x, f32(0.0))


def positive_part(x: Expr) -> Expr:
    return tirx.max(x, f32(0.0))


def absolute(x: Expr) -> Expr:
    return tirx.max(x, -x)


def expm1(x: Expr) -> Expr:
    """exp(x) - 1 for x <= 0: near zero by its series, where the difference would lose bits."""
    series = x * (1 + x * (f32(1 / 2) + x * (f32(1 / 6) + x * f32(1 / 24))))
    return tirx.Select(x > f32(-0.05), series, tirx.exp(x) - 1)


def sigmoid(x: Expr) -> Expr:
    e = tirx.exp(-absolute(x))
    return tirx.Select(x >= 0, f32(1.0), e) / (1 + e)


def tanh(x: Expr) -> Expr:
    """From exp: C libraries without an operating system often have no tanhf."""
    small = x * (1 - x * x * (f32(1 / 3) - x * x * f32(2 / 15)))
    e = tirx.exp(absolute(x) * f32(-2.0))
    large = (1 - e) / (1 + e)
    signed = tirx.Select(x < 0, -large, large)
    return tirx.Select(absolute(x) < f32(0.05), small, signed)


def erf(x: Expr) -> Expr:
    """Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: error below 1.5e-7."""
    a = absolute(x)
    t = f32(1.0) / (1 + f32(0.3275911) * a)
    poly = f32(1.061405429)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        poly = poly * t + f32(c)
    y = 1 - poly * t * tirx.exp(-a * a)
    return tirx.Select(x < 0, -y, y)


def softplus(x: Expr) -> Expr:
    return positive_part(x) + tirx.log(1 + tirx.exp(-absolute(x)))


def elu(alpha: float, x: Expr) -> Expr:
    return positive_part(x) + f32(alpha) * expm1(negative_part(x))


def gelu(op: Op, x: Expr) -> Expr:
    if word(op, "approximate") == "tanh":
        inner = f32(math.sqrt(2 / math.pi)) * (x + f32(0.044715) * x * x * x)
        return f32(0.5) * x * (1 + tanh(inner))
    return f32(0.5) * x * (1 + erf(x * f32(math.sqrt(0.5))))


def clip(op: Op, x: Expr) -> Expr:
    lo, hi = number(op, "min"), number(op, "max")
    x = x if lo == -math.inf else tirx.max(x, f32(lo))
    return x if hi == math.inf else tirx.min(x, f32(hi))


def power(op: Op, x: Expr) -> Expr:
    exponent = number(op, "exponent")
    if exponent == int(exponent) and 1 <= abs(exponent) <= 8:
        product = x
        for _ in range(int(abs(exponent)) - 1):
            product = product * x
        return product if exponent > 0 else f32(1.0) / product
    return tirx.sqrt(x) if exponent == 0.5 else tirx.exp(f32(exponent) * tirx.log(x))


def celu(op: Op, x: Expr) -> Expr:
    alpha = number(op, "alpha")
    return positive_part(x) + f32(alpha) * expm1(negative_part(x * f32(1 / alpha)))


UNARY: dict[str, Unary] = {
    "relu": lambda _, x: positive_part(x),
    "clip": clip,
    "leaky_relu": lambda op, x: tirx.Select(x >= 0, x, x * f32(number(op, "alpha"))),
    "elu": lambda op, x: elu(number(op, "alpha"), x),
    "selu": lambda op, x: f32(number(op, "gamma")) * elu(number(op, "alpha"), x),
    "celu": celu,
    "hard_swish": lambda _, x: x * tirx.min(positive_part(x * f32(1 / 6) + f32(0.5)), f32(1.0)),
    "hard_sigmoid": lambda op, x: tirx.min(
        positive_part(f32(number(op, "alpha")) * x + f32(number(op, "beta"))), f32(1.0)
    ),
    "sigmoid": lambda _, x: sigmoid(x),
    "tanh": lambda _, x: tanh(x),
    "gelu": gelu,
    "swish": lambda op, x: x * sigmoid(f32(number(op, "alpha")) * x),
    "mish": lambda _, x: x * tanh(softplus(x)),
    "softplus": lambda _, x: softplus(x),
    "softsign": lambda _, x: x / (1 + absolute(x)),
    "thresholded_relu": lambda op, x: tirx.Select(x > f32(number(op, "alpha")), x, f32(0.0)),
    "erf": lambda _, x: erf(x),
    "exp": lambda _, x: tirx.exp(x),
    "log": lambda _, x: tirx.log(x),
    "sqrt": lambda _, x: tirx.sqrt(x),
    "reciprocal": lambda _, x: f32(1.0) / x,
    "power": power,
    "sin": lambda _, x: tirx.sin(x),
    "cos": lambda _, x: tirx.cos(x),
    "abs": lambda _, x: absolute(x),
    "neg": lambda _, x: -x,
    "sign": lambda _, x: tirx.Select(x > 0, f32(1.0), tirx.Select(x < 0, f32(-1.0), f32(0.0))),
    "floor": lambda _, x: tirx.call_pure_extern("float32", "floorf", x),
    "ceil": lambda _, x: tirx.call_pure_extern("float32", "ceilf", x),
    "round": lambda _, x: tirx.call_pure_extern("float32", "rintf", x),
}


def unary(t: Terms) -> te.Tensor:
    if t.is_float:
        f = UNARY[t.op.name]
        return t.compute(lambda *i: f(t.op, t[0][i]))
    table = t.constant(lookup_table(t.op))
    return t.compute(lambda *i: table[i32(t[0][i]) + 128])


def at(t: Terms, index: int, i: tuple[Expr, ...]) -> Expr:
    """Operand `index` at the place `i` of the result, with its axes of size 1 broadcast."""
    shape = t[index].shape
    return t[index][tuple(0 if n == 1 else e for n, e in zip(shape, i, strict=True))]


FLOAT: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


def binary(t: Terms) -> te.Tensor:
    if t.is_float:
        f = FLOAT[t.op.name]
        return t.compute(lambda *i: activate(t, f(at(t, 0, i), at(t, 1, i))))
    a, b, y = quants(t.op)
    lo, hi = int8_bounds(t.op)
    if t.op.name == "mul":
        m, shift = product_factors(t.op)
        return t.compute(
            lambda *i: requantize(
                (i32(at(t, 0, i)) - a.zero) * (i32(at(t, 1, i)) - b.zero),
                i32(m), shift, y.zero, lo, hi,
            )
        )  # fmt: skip
    ma, mb, shift = sum_factors(t.op)
    return t.compute(
        lambda *i: rounding_shift(
            (i32(at(t, 0, i)) - a.zero) * ma + (i32(at(t, 1, i)) - b.zero) * mb,
            shift, y.zero, lo, hi,
        )
    )  # fmt: skip


def smaller(t: Terms) -> te.Tensor:
    return t.compute(lambda *i: tirx.min(at(t, 0, i), at(t, 1, i)))


def larger(t: Terms) -> te.Tensor:
    return t.compute(lambda *i: tirx.max(at(t, 0, i), at(t, 1, i)))


def prelu(t: Terms) -> te.Tensor:
    if t.is_float:
        return t.compute(lambda *i: tirx.Select(t[0][i] >= 0, t[0][i], t[0][i] * at(t, 1, i)))
    x, s, y = quants(t.op)
    above, below, shift = prelu_factors(t.op)

    def body(*i: Expr) -> Expr:
        d = (i32(at(t, 0, i)) - x.zero).astype("int64")
        slope = (i32(at(t, 1, i)) - s.zero).astype("int64")
        total = tirx.Select(d > 0, d * above, d * slope * below)
        return requantize64(total, shift, y.zero, -128, 127)

    return t.compute(body)


def batch_norm(t: Terms) -> te.Tensor:
    parameters = [v.constant for v in t.op.operands[1:]]
    gamma, beta, mean, variance = (p for p in parameters if p is not None)
    scale, offset = scale_and_offset(number(t.op, "epsilon"), gamma, beta, mean, variance)
    t.constants.clear()
    s, o = t.constant(scale.astype(np.float32)), t.constant(offset.astype(np.float32))
    return t.compute(lambda *i: t[0][i] * s[i[-1]] + o[i[-1]])


DEFINITIONS: dict[str, Definition] = {
    **{f.name: unary for f in FUNCTIONS},
    **dict.fromkeys(FLOAT, binary),
    "minimum": smaller,
    "maximum": larger,
    "prelu": prelu,
    "batch_norm": batch_norm,
}
