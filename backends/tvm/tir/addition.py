"""Sums of two int8 tensors with the DSP extension: four elements at a time, a pair in one SMLAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.template import micro_kernel


@dataclass(frozen=True)
class Sum:
    """``y = clamp((a * ma + b * mb + offset) >> shift, low, high)`` of stored int8.

    ``ma`` and ``mb`` fit int16; ``offset`` (int32) holds rounding and all three zero points.
    """

    ma: int
    mb: int
    offset: int
    shift: int
    low: int
    high: int

    @property
    def multipliers(self) -> str:
        """Both as one word of int16 lanes, in C."""
        return f"(int32_t)0x{(self.mb & 0xFFFF) << 16 | self.ma & 0xFFFF:08x}u"


def four(total: Sum) -> tuple[str, str]:
    """``f(a, b, y)``: four elements; y may be a or b."""
    lines = [
        "  const int32_t v = tcnn_ld32(a), w = tcnn_ld32(b);",
        f"  const int32_t m = {total.multipliers};",
    ]
    for half, expand in enumerate(("tcnn_sxtb16", "tcnn_sxtb16_ror8")):
        lines += [
            f"  const uint32_t v{half} = (uint32_t){expand}(v), w{half} = (uint32_t){expand}(w);",
            f"  int32_t s{half} = (int32_t)((v{half} & 0xffffu) | (w{half} << 16));",
            f"  int32_t s{half + 2} = (int32_t)((w{half} & 0xffff0000u) | (v{half} >> 16));",
        ]
    for i in range(4):
        lines.append(f"  s{i} = tcnn_smlad(s{i}, m, {total.offset}) >> {total.shift};")
    for i in range(4):
        lines.append(f"  y[{i}] = tcnn_clamp(s{i}, {total.low}, {total.high});")
    signature = "const int8_t *a, const int8_t *b, int8_t *y"
    return micro_kernel("add4", signature, "\n".join(lines), "four sums")


def one(total: Sum) -> tuple[str, str]:
    """``f(a, b, y)``: one element."""
    body = (
        f"  const int32_t s = a[0] * {total.ma} + b[0] * {total.mb} + {total.offset};\n"
        f"  y[0] = tcnn_clamp(s >> {total.shift}, {total.low}, {total.high});"
    )
    return micro_kernel("add1", "const int8_t *a, const int8_t *b, int8_t *y", body, "one sum")


def function(size: int, fours: str, ones: str) -> Any:
    """The loops over ``size`` elements that call both micro-kernels."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    at = T.address_of
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        a = T.arg("x0", T.Buffer((size,), "int8"))
        b = T.arg("x1", T.Buffer((size,), "int8"))
        y = T.arg("y", T.Buffer((size,), "int8"))
        with T.serial(size // 4) as i:
            T.evaluate(T.call_extern("void", fours, at(a[4 * i]), at(b[4 * i]), at(y[4 * i])))
        done = size // 4 * 4
        if size % 4:
            with T.serial(size % 4) as j:
                k = done + j
                T.evaluate(T.call_extern("void", ones, at(a[k]), at(b[k]), at(y[k])))
    return builder.get()
