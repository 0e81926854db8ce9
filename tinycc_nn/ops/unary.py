"""Functions of one number: a table of meanings in float64, from which the int8 tables follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, I8, Array, Quant, TensorType
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import number, word

ALPHA = "the slope below zero"
_erf_objects = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function of float64[...]."""
    return np.asarray(_erf_objects(x), np.float64)


@dataclass(frozen=True)
class Function:
    """`f` maps float64[...] to float64[...]; `exact` ones need no more than float32."""

    name: str
    doc: str
    f: Callable[[Op, Array], Array]
    attrs: tuple[Attribute, ...] = ()
    output: Quant | None = None
    exact: bool = False


def _clip(op: Op, x: Array) -> Array:
    return np.minimum(np.maximum(x, number(op, "min")), number(op, "max")).astype(x.dtype)


def _leaky_relu(op: Op, x: Array) -> Array:
    return np.where(x >= 0, x, x * number(op, "alpha"))


def _elu(op: Op, x: Array) -> Array:
    return np.where(x > 0, x, number(op, "alpha") * np.expm1(np.minimum(x, 0)))


def _selu(op: Op, x: Array) -> Array:
    return number(op, "gamma") * _elu(op, x)


def _celu(op: Op, x: Array) -> Array:
    alpha = number(op, "alpha")
    return np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x / alpha, 0)), 0)


def _hard_sigmoid(op: Op, x: Array) -> Array:
    return np.clip(number(op, "alpha") * x + number(op, "beta"), 0.0, 1.0)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) of float64[...] without overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, e) / (1.0 + e))


def _softplus(op: Op, x: Array) -> Array:
    del op
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _gelu(op: Op, x: Array) -> Array:
    if word(op, "approximate") == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))))


FUNCTIONS = (
    Function("relu", "max(x, 0)", lambda _, x: np.maximum(x, 0), exact=True),
    Function(
        "clip",
        "min(max(x, min), max)",
        _clip,
        (
            Attribute("min", -math.inf, "the lower bound, a real number"),
            Attribute("max", math.inf, "the upper bound, a real number"),
        ),
        exact=True,
    ),
    Function(
        "leaky_relu", "x, or alpha * x below zero", _leaky_relu, (Attribute("alpha", 0.01, ALPHA),)
    ),
    Function(
        "elu",
        "x, or alpha * (exp(x) - 1) below zero",
        _elu,
        (Attribute("alpha", 1.0, "minus the limit at minus infinity"),),
    ),
    Function(
        "selu",
        "gamma * elu(x)",
        _selu,
        (
            Attribute("alpha", 1.6732631921768188, "minus the limit of the inner elu"),
            Attribute("gamma", 1.0507010221481323, "the slope above zero"),
        ),
    ),
    Function(
        "celu",
        "max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))",
        _celu,
        (Attribute("alpha", 1.0, "minus the limit at minus infinity"),),
    ),
    Function("hard_swish", "x * clip(x / 6 + 1/2, 0, 1)", lambda _, x: x * np.clip(x / 6 + 0.5, 0, 1)),
    Function(
        "hard_sigmoid",
        "clip(alpha * x + beta, 0, 1)",
        _hard_sigmoid,
        (Attribute("alpha", 0.2, "the slope at zero"), Attribute("beta", 0.5, "the value at zero")),
        Quant(1 / 256, -128),
    ),
    Function("sigmoid", "1 / (1 + exp(-x))", lambda _, x: sigmoid(x), (), Quant(1 / 256, -128)),
    Function("tanh", "hyperbolic tangent", lambda _, x: np.tanh(x), (), Quant(1 / 128, 0)),
    Function(
        "gelu",
        "x times the normal distribution function of x",
        _gelu,
        (Attribute("approximate", "none", "none: by erf; tanh: by the usual approximation"),),
    ),
    Function(
        "swish",
        "x * sigmoid(alpha * x)",
        lambda op, x: x * sigmoid(number(op, "alpha") * x),
        (Attribute("alpha", 1.0, "the factor inside the sigmoid"),),
    ),
    Function("mish", "x * tanh(softplus(x))", lambda op, x: x * np.tanh(_softplus(op, x))),
    Function("softplus", "log(1 + exp(x))", _softplus),
    Function("softsign", "x / (1 + |x|)", lambda _, x: x / (1 + np.abs(x)), (), Quant(1 / 128, 0)),
    Function(
        "thresholded_relu",
        "x above alpha, else 0",
        lambda op, x: np.where(x > number(op, "alpha"), x, 0),
        (Attribute("alpha", 1.0, "the threshold"),),
    ),
    Function("erf", "the error function", lambda _, x: erf(x), (), Quant(1 / 128, 0)),
    Function("exp", "e to the power x", lambda _, x: np.exp(x)),
    Function("log", "natural logarithm", lambda _, x: np.log(x)),
    Function("sqrt", "square root", lambda _, x: np.sqrt(x)),
    Function("reciprocal", "1 / x", lambda _, x: 1 / x),
    Function(
        "power",
        "x to a constant power",
        lambda op, x: x ** number(op, "exponent"),
        (Attribute("exponent", float, "the power"),),
    ),
    Function("sin", "sine of x in radians", lambda _, x: np.sin(x)),
    Function("cos", "cosine of x in radians", lambda _, x: np.cos(x)),
    Function("abs", "|x|", lambda _, x: np.abs(x), exact=True),
    Function("neg", "-x", lambda _, x: -x, exact=True),
    Function("sign", "-1, 0 or 1", lambda _, x: np.sign(x), exact=True),
    Function("floor", "the integer below", lambda _, x: np.floor(x), exact=True),
    Function("ceil", "the integer above", lambda _, x: np.ceil(x), exact=True),
    Function("round", "the nearest integer, halves to even", lambda _, x: np.rint(x), exact=True),
)  # fmt: skip
BY_NAME = {f.name: f for f in FUNCTIONS}


def infer(op: Op) -> tuple[TensorType, ...]:
    x = op.operands[0].type
    if x.dtype not in (F32, I8):
        raise TinyccError(f"{op.name} works on f32 and i8, not on {x.dtype}", op.loc)
    return (TensorType(x.dtype, x.shape),)


def lookup_table(op: Op) -> Array:
    """int8[256]: the result of a unary op on int8 for the stored value index - 128.

    y = clamp(floor(f(sx * (q - zx)) / sy + 1/2) + zy); where f is not defined it counts as 0.
    """
    x, y = op.operands[0].type.quant, op.type.quant
    assert x is not None and y is not None and isinstance(y.scale, float)
    real = x.scales()[0] * (np.arange(-128, 128, dtype=np.float64) - x.zero)
    with np.errstate(all="ignore"):
        result = np.nan_to_num(BY_NAME[op.name].f(op, real), nan=0.0, posinf=np.inf, neginf=-np.inf)
        stored = np.floor(result / y.scale + 0.5) + y.zero
    return np.asarray(np.clip(stored, -128, 127).astype(np.int8))


def run(op: Op, x: Array) -> Array:
    if op.type.dtype == I8:
        return np.asarray(lookup_table(op)[x.astype(np.int16) + 128])
    fn = BY_NAME[op.name]
    with np.errstate(all="ignore"):
        y = fn.f(op, x if fn.exact else x.astype(np.float64))
    return np.asarray(y).astype(np.float32, copy=False)


OPS = tuple(
    OpDef(
        f.name, f.doc, infer, run, f.attrs, int8=Int8.REQUANTIZE, output=f.output, elementwise=True
    )
    for f in FUNCTIONS
)
