"""ONNX readers of functions of one number, and of nodes that do nothing at inference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinycc_nn.ir.graph import Attr, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.reader import Node, Reader

FLOAT = 1
"""TensorProto.FLOAT"""


def _plain(op: str, attrs: dict[str, float] | None = None) -> Callable[[Node], Value]:
    """A reader of `op` with real attributes that have these defaults."""

    def read(n: Node) -> Value:
        found: dict[str, Attr] = {k: n.real(k, d) for k, d in (attrs or {}).items()}
        return n.emit(op, [n.value(0)], found)

    return read


def _gelu(n: Node) -> Value:
    approximate = n.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise n.fail(f"the approximation '{approximate}' is not known", "none or tanh")
    return n.emit("gelu", [n.value(0)], {"approximate": approximate})


def _bound(n: Node, name: str, index: int, default: float) -> float:
    if n.opset < 11:
        return n.real(name, default)
    given = n.optional_constant(index)
    return default if given is None else float(given.reshape(-1)[0])


def _clip(n: Node) -> Value:
    lo, hi = _bound(n, "min", 1, -np.inf), _bound(n, "max", 2, np.inf)
    limit = float(np.finfo(np.float32).max)
    lo, hi = (-np.inf if lo <= -limit else lo), (np.inf if hi >= limit else hi)
    if (lo, hi) == (0, np.inf):
        return n.emit("relu", [n.value(0)])
    return n.emit("clip", [n.value(0)], {"min": lo, "max": hi})


def _pow(n: Node) -> Value:
    x, exponent = n.value(0), n.constant(1)
    if exponent.size != 1:
        raise n.fail("the exponent must be one number")
    e = float(exponent.reshape(-1)[0])
    if e == 2:
        return n.emit("mul", [x, x])
    if e == 0.5:
        return n.emit("sqrt", [x])
    return x if e == 1 else n.emit("power", [x], {"exponent": e})


def _identity(n: Node) -> Value:
    return n.value(0)


def _dropout(n: Node) -> Value:
    training: Array | None = n.optional_constant(2)
    if training is not None and training.any():
        raise n.fail("training_mode is on", "export the model for inference")
    return n.value(0)


def _cast(n: Node) -> Value:
    x = n.value(0)
    if not x.type.dtype.is_float or n.integer("to") != FLOAT:
        raise n.fail("at run time tensors are float32", "leave out the cast, or quantize")
    return x


PLAIN: dict[str, tuple[str, dict[str, float]]] = {
    "Relu": ("relu", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "Elu": ("elu", {"alpha": 1.0}),
    "Selu": ("selu", {"alpha": 1.6732631921768188, "gamma": 1.0507010221481323}),
    "Celu": ("celu", {"alpha": 1.0}),
    "HardSwish": ("hard_swish", {}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Swish": ("swish", {"alpha": 1.0}),
    "Mish": ("mish", {}),
    "Softplus": ("softplus", {}),
    "Softsign": ("softsign", {}),
    "ThresholdedRelu": ("thresholded_relu", {"alpha": 1.0}),
    "Erf": ("erf", {}),
    "Exp": ("exp", {}),
    "Log": ("log", {}),
    "Sqrt": ("sqrt", {}),
    "Reciprocal": ("reciprocal", {}),
    "Sin": ("sin", {}),
    "Cos": ("cos", {}),
    "Abs": ("abs", {}),
    "Neg": ("neg", {}),
    "Sign": ("sign", {}),
    "Floor": ("floor", {}),
    "Ceil": ("ceil", {}),
    "Round": ("round", {}),
}

READERS = (
    *(Reader((name,), _plain(op, attrs), tuple(attrs)) for name, (op, attrs) in PLAIN.items()),
    Reader(("Gelu",), _gelu, ("approximate",)),
    Reader(("Clip",), _clip, ("min", "max")),
    Reader(("Pow",), _pow),
    Reader(("Identity",), _identity),
    Reader(("Dropout",), _dropout, ("ratio", "seed")),
    Reader(("Cast",), _cast, ("to", "saturate", "round_mode")),
)
