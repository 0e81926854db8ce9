"""How operators work on a transposed operand: permutations of axes, and attributes that follow."""

from __future__ import annotations

from collections.abc import Mapping

from tinycc_nn.ir.graph import Attr, Op
from tinycc_nn.ir.types import Quant
from tinycc_nn.ops import flag, ints, number, opdef

Perm = tuple[int, ...]


def compose(inner: Perm, outer: Perm) -> Perm:
    """transpose(transpose(x, inner), outer) as one permutation."""
    return tuple(inner[o] for o in outer)


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes `perm`."""
    return tuple(perm.index(i) for i in range(len(perm)))


def keeps_order(shape: tuple[int, ...], perm: Perm) -> bool:
    """Whether transposing `shape` by `perm` moves axes of one element only: it is a reshape."""
    moving = [p for p in perm if shape[p] != 1]
    return moving == sorted(moving)


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def reshaped(
    shape: tuple[int, ...], perm: Perm, wanted: tuple[int, ...]
) -> tuple[tuple[int, ...], Perm] | None:
    """reshape(transpose(x, perm), wanted) as transpose(reshape(x, shape'), perm').

    Possible where only axes of one element come or go; those come first in shape'.
    """
    before = tuple(shape[p] for p in perm)
    if without_ones(before) != without_ones(wanted):
        return None
    order = [p for p in perm if shape[p] != 1]
    ones = len(wanted) - len(order)
    kept = sorted(order)
    positions = iter(ones + kept.index(p) for p in order)
    free = iter(range(ones))
    new_perm = tuple(next(free) if n == 1 else next(positions) for n in wanted)
    return ((1,) * ones + tuple(shape[p] for p in kept), new_perm)


def moved_quant(q: Quant | None, perm: Perm) -> Quant | None:
    """The quantization of x, given that of transpose(x, perm)."""
    if q is None or q.axis is None:
        return q
    return Quant(q.scale, q.zero, perm[q.axis])


def moved_attrs(op: Op, perm: Perm) -> tuple[dict[str, Attr], Perm] | None:
    """Attributes and permutation with op(transpose(x, perm)) = transpose(op'(x), perm').

    None for operators that need their operand's axes where they are.
    """
    attrs: dict[str, Attr] = dict(op.attrs)
    if opdef(op.name).elementwise:
        return attrs, perm
    match op.name:
        case "concat" | "softmax" | "log_softmax" | "take":
            return attrs | {"axis": perm[int(number(op, "axis"))]}, perm
        case "slice":
            back = inverse(perm)
            return attrs | {n: compose(ints(op, n), back) for n in ("begin", "end", "step")}, perm
        case "pad":
            pads = ints(op, "pads")
            pairs = [pads[2 * i : 2 * i + 2] for i in inverse(perm)]
            return attrs | {"pads": tuple(n for pair in pairs for n in pair)}, perm
        case "reduce_mean" | "reduce_sum" | "reduce_max":
            return _moved_reduce(op, attrs, perm)
        case _:
            return None


def _moved_reduce(op: Op, attrs: Mapping[str, Attr], perm: Perm) -> tuple[dict[str, Attr], Perm]:
    axes = ints(op, "axes")
    moved = {**attrs, "axes": tuple(sorted(perm[a] for a in axes))}
    if flag(op, "keep"):
        return moved, perm
    left = [p for i, p in enumerate(perm) if i not in axes]
    return moved, tuple(sorted(left).index(p) for p in left)
