"""Ranges: what a value is clipped to, as an activation of a layer or as an op of its own."""

from __future__ import annotations

from math import inf

from tinycc_nn.ir.graph import Attr, Op, Value
from tinycc_nn.ops import number, opdef
from tinycc_nn.ops.activation import bounds

Range = tuple[float, float]
EVERYTHING: Range = (-inf, inf)

NOT_NEGATIVE = ("relu", "sigmoid", "hard_sigmoid", "softmax", "abs", "exp", "sqrt", "softplus")


def clip_range(op: Op) -> Range | None:
    """The real range of an op that does nothing but clip; None for any other op.

    On int8, it must keep the quantization: rounding once more would be another function.
    """
    if op.name not in ("relu", "clip") or op.operands[0].type != op.type:
        return None
    if op.name == "relu":
        return (0.0, inf)
    return (number(op, "min"), number(op, "max"))


def clipped(first: Range, then: Range) -> Range | None:
    """The range of two clips in a row; None for the odd ones whose bounds are swapped."""
    (lo, hi), (a, b) = first, then
    if not (lo <= hi and a <= b):
        return None
    return (min(max(lo, a), b), min(max(hi, a), b))


def carries_activation(op: Op) -> bool:
    return opdef(op.name).attribute("act") is not None


def set_activation(op: Op, r: Range) -> None:
    """Let an operator with an activation clip to `r` and nothing else."""
    for name in ("act", "act_min", "act_max"):
        op.attrs.pop(name, None)
    op.attrs.update(activation_attrs(r))


def activation_attrs(r: Range) -> dict[str, Attr]:
    """The attributes with which an operator clips to `r`."""
    named = {EVERYTHING: "none", (0.0, inf): "relu", (0.0, 6.0): "relu6"}
    if r in named:
        return {} if r == EVERYTHING else {"act": named[r]}
    found: dict[str, Attr] = {"act": "clip"}
    found |= {} if r[0] == -inf else {"act_min": float(r[0])}
    return found | ({} if r[1] == inf else {"act_max": float(r[1])})


def lower_bound(v: Value) -> float:
    """A real number that no element of a float `v` is below."""
    op = v.owner
    if op is None:
        return -inf
    if op.name in NOT_NEGATIVE:
        return 0.0
    if op.name == "clip":
        return number(op, "min")
    return bounds(op)[0] if carries_activation(op) else -inf
