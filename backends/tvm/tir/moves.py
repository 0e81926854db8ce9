"""Operators that move elements, as copies of contiguous runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm


@dataclass(frozen=True)
class Move:
    """``run`` elements from ``source`` of operand ``operand`` to ``target``, once for each place of
    ``loops``: (count, elements between targets, elements between sources), outermost first.
    """

    operand: int
    run: int
    target: int
    source: int
    loops: tuple[tuple[int, int, int], ...]


def strides(shape: Sequence[int]) -> list[int]:
    """Elements between neighbours along each axis."""
    return [prod(shape[i + 1 :]) for i in range(len(shape))]


def box(
    operand: int,
    shape: Sequence[int],
    to: Sequence[int],
    to_start: Sequence[int],
    source: Sequence[int],
    source_start: Sequence[int],
) -> Move:
    """The box ``shape`` of a tensor of shape ``source`` to its place in one of shape ``to``.

    Whole inner axes and the axis before them are one run; axes of one step make no loop.
    """
    target, origin = strides(to), strides(source)
    last = max((a for a, n in enumerate(shape) if n != to[a] or n != source[a]), default=0)
    loops = tuple((n, target[a], origin[a]) for a, n in enumerate(shape[:last]) if n != 1)
    return Move(
        operand,
        prod(shape[last:]),
        sum(s * t for s, t in zip(to_start, target, strict=True)),
        sum(s * t for s, t in zip(source_start, origin, strict=True)),
        loops,
    )


def function(
    sizes: Sequence[int],
    size: int,
    dtype: str,
    itemsize: int,
    moves: Sequence[Move],
    fill: int | None,
) -> Any:
    """Copies from operands of ``sizes`` elements to ``size`` elements; before that, every byte of
    the result is ``fill`` if it is given.
    """
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    at = T.address_of
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = [T.arg(f"x{i}", T.Buffer((n,), dtype)) for i, n in enumerate(sizes)]
        y = T.arg("y", T.Buffer((size,), dtype))
        if fill is not None:
            T.evaluate(T.call_extern("void", "__builtin_memset", at(y[0]), fill, size * itemsize))
        for m in moves:
            _nest(T, m.loops, m, at, x[m.operand], y, itemsize)
    return builder.get()


def _nest(
    T: Any, loops: Sequence[tuple[int, int, int]], m: Move, at: Any, x: Any, y: Any, itemsize: int
) -> None:
    def copy(target: Any, source: Any) -> None:
        T.evaluate(
            T.call_extern(
                "void", "__builtin_memcpy", at(y[target]), at(x[source]), m.run * itemsize
            )
        )

    def inner(depth: int, target: Any, source: Any) -> None:
        if depth == len(loops):
            copy(target, source)
            return
        count, step, stride = loops[depth]
        with T.serial(count) as i:
            inner(depth + 1, target + i * step, source + i * stride)

    inner(0, m.target, m.source)
