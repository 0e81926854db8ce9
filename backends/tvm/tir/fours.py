"""Element by element, four at a time: all are loaded before the first is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.template import micro_kernel

Compute = Callable[[Sequence[str], int], Sequence[str]]


@dataclass(frozen=True)
class Operand:
    """``size`` elements: as many as the result has, or a row that is repeated."""

    size: int
    constant: bool = False


@dataclass(frozen=True)
class Fours:
    """An elementwise operator. ``compute``: C lines from the names of the operands' elements number
    i to ``y[i]``. ``table``: it also reads ``t[256]``.
    """

    element: str
    compute: Compute
    operands: tuple[Operand, ...]
    size: int
    table: bool = False

    @property
    def ctype(self) -> str:
        return "float" if self.element == "float32" else f"{self.element}_t"


def some(kind: Fours, count: int) -> tuple[str, str]:
    """``f(x0[, x1][, t], y)``: ``count`` elements; y may be where an operand is."""
    names = [f"x{k}" for k in range(len(kind.operands))]
    each = range(count)
    lines = [f"const {kind.ctype} {x}_{i} = {x}[{i}];" for x in names for i in each]
    if kind.table:
        lines += [f"const int8_t r{i} = t[(uint8_t)x0_{i}];" for i in each]
        lines += [f"y[{i}] = r{i};" for i in each]
    else:
        lines += [s for i in each for s in kind.compute([f"{x}_{i}" for x in names], i)]
    body = "".join(f"  {line}\n" for line in lines)
    parameters = [f"const {kind.ctype} *{x}" for x in names]
    parameters += ["const int8_t *t"] if kind.table else []
    signature = ", ".join([*parameters, f"{kind.ctype} *y"])
    return micro_kernel("fours", signature, body, f"{count} elements")


def function(kind: Fours) -> tuple[Any, tuple[str, ...]]:
    """The TIR function ``f(running operands, constant operands or table, y)``, its micro-kernels."""
    row = min(o.size for o in kind.operands)
    four, one = some(kind, 4), some(kind, 1)
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    at = T.address_of
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        buffers = {}
        for k in sorted(range(len(kind.operands)), key=lambda k: kind.operands[k].constant):
            buffers[k] = T.arg(f"x{k}", T.Buffer((kind.operands[k].size,), kind.element))
        tables = [T.arg("t", T.Buffer((256,), "int8"))] if kind.table else []
        y = T.arg("y", T.Buffer((kind.size,), kind.element))

        def call(name: str, start: Any, i: Any) -> None:
            places = [
                at(buffers[k][i if o.size < kind.size else start + i])
                for k, o in enumerate(kind.operands)
            ]
            extra = [at(t[0]) for t in tables]
            T.evaluate(T.call_extern("void", name, *places, *extra, at(y[start + i])))

        with T.serial(kind.size // row) as r:
            with T.serial(row // 4) as j:
                call(four[0], r * row, j * 4)
            if row % 4:
                with T.serial(row % 4) as j:
                    call(one[0], r * row, row // 4 * 4 + j)
    micro = [four[1]] if row >= 4 else []
    return builder.get(), (*micro, *([one[1]] if row % 4 else []))
