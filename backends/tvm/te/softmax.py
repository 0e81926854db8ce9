"""softmax and log_softmax: three walks along an axis, written as TIR since they share a scalar."""

# mypy: disable-error-code="valid-type, untyped-decorator"
# (TVMScript writes buffer types as calls, and its decorator has no types.)

from __future__ import annotations

from math import prod

from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import number
from tinycc_nn.ops.softmax import exponentials, inverse_scale

LOWEST = -3.4028234663852886e38


def extents(op: Op) -> tuple[int, int, int]:
    """Elements before, along and after the axis."""
    shape, axis = op.type.shape, int(number(op, "axis"))
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def softmax_int8(op: Op) -> tuple[PrimFunc, tuple[Array, ...]]:
    outer, n, inner = extents(op)
    x, y = op.operands[0].type.quant, op.type.quant
    assert x is not None and y is not None
    table, one, zero = exponentials(x), inverse_scale(y), y.zero
    entries = max(1, len(table) - int((table[::-1] != 0).argmax()))
    wide = 2**15 * one + n * 2**14 >= 2**32
    word = "uint64" if wide else "uint32"
    size = op.type.size

    @T.prim_func(s_tir=True)
    def f(
        x0: T.Buffer((size,), "int8"),
        e: T.Buffer((entries,), "uint16"),
        y: T.Buffer((size,), "int8"),
    ) -> None:
        with T.sblock("root"):
            top = T.sblock_alloc_buffer((1,), "int32")
            total = T.sblock_alloc_buffer((1,), "uint32")
            for o in range(outer):
                for i in range(inner):
                    top[0] = -128
                    for a in range(n):
                        top[0] = T.max(top[0], T.cast(x0[(o * n + a) * inner + i], "int32"))
                    total[0] = T.uint32(0)
                    for a in range(n):
                        if top[0] - T.cast(x0[(o * n + a) * inner + i], "int32") < entries:
                            total[0] = total[0] + T.cast(
                                e[top[0] - T.cast(x0[(o * n + a) * inner + i], "int32")], "uint32"
                            )
                    for a in range(n):
                        if top[0] - T.cast(x0[(o * n + a) * inner + i], "int32") < entries:
                            y[(o * n + a) * inner + i] = T.cast(
                                T.min(
                                    T.cast(
                                        T.truncdiv(
                                            T.cast(
                                                e[
                                                    top[0]
                                                    - T.cast(x0[(o * n + a) * inner + i], "int32")
                                                ],
                                                word,
                                            )
                                            * T.cast(one, word)
                                            + T.cast(T.shift_right(total[0], T.uint32(1)), word),
                                            T.cast(total[0], word),
                                        ),
                                        "int32",
                                    )
                                    + zero,
                                    127,
                                ),
                                "int8",
                            )
                        else:
                            y[(o * n + a) * inner + i] = T.int8(zero)

    return f, (table[:entries],)


def softmax_float(op: Op) -> tuple[PrimFunc, tuple[Array, ...]]:
    outer, n, inner = extents(op)
    size, log = op.type.size, op.name == "log_softmax"

    @T.prim_func(s_tir=True)
    def f(x0: T.Buffer((size,), "float32"), y: T.Buffer((size,), "float32")) -> None:
        with T.sblock("root"):
            top = T.sblock_alloc_buffer((1,), "float32")
            total = T.sblock_alloc_buffer((1,), "float32")
            for o in range(outer):
                for i in range(inner):
                    top[0] = T.float32(LOWEST)
                    for a in range(n):
                        top[0] = T.max(top[0], x0[(o * n + a) * inner + i])
                    total[0] = T.float32(0)
                    for a in range(n):
                        y[(o * n + a) * inner + i] = T.exp(x0[(o * n + a) * inner + i] - top[0])
                        total[0] = total[0] + y[(o * n + a) * inner + i]
                    if log:
                        total[0] = T.log(total[0])
                        for a in range(n):
                            y[(o * n + a) * inner + i] = (
                                x0[(o * n + a) * inner + i] - top[0] - total[0]
                            )
                    else:
                        for a in range(n):
                            y[(o * n + a) * inner + i] = y[(o * n + a) * inner + i] / total[0]

    return f, ()


def define_softmax(op: Op) -> tuple[PrimFunc, tuple[Array, ...]]:
    """The TIR function of a softmax or log_softmax, and its constants."""
    return softmax_float(op) if op.type.dtype.is_float else softmax_int8(op)


SCRIPTS = {"softmax": define_softmax, "log_softmax": define_softmax}
