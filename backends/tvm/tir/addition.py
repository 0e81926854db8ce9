"""Sums of two int8 tensors with the DSP extension: a pair of elements in one SMLAD."""

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


def fours(total: Sum, count: int) -> tuple[str, str]:
    """``f(a, b, y)``: ``count`` fours of elements, all read before the first is stored; y may be a
    or b.
    """
    lines = [f"const int32_t m = {total.multipliers};"]
    lines += [
        f"const int32_t {x}{k} = tcnn_ld32({x} + {4 * k});" for k in range(count) for x in "ab"
    ]
    body = "".join(f"  {line}\n" for line in lines)
    for k in range(count):
        body += "  {\n" + _four(total, k) + "  }\n"
    signature = "const int8_t *a, const int8_t *b, int8_t *y"
    return micro_kernel("add", signature, body, f"{4 * count} sums")


def _four(total: Sum, k: int) -> str:
    lines = []
    for half, expand in enumerate(("tcnn_sxtb16", "tcnn_sxtb16_ror8")):
        lines += [f"const int32_t {x}l{half} = {expand}({x}{k});" for x in "ab"]
        for i, pack in ((half, "tcnn_pkhbt"), (half + 2, "tcnn_pkhtb")):
            pair = f"{pack}(al{half}, bl{half})"
            lines.append(f"int32_t s{i} = tcnn_smlad({pair}, m, {total.offset});")
    clamps = [
        f"s{i} = tcnn_clamp(s{i} >> {total.shift}, {total.low}, {total.high});" for i in range(4)
    ]
    if (total.low, total.high) == (-128, 127) and total.shift:
        # One instruction for both; its shift is a literal, which is one without optimization too.
        shift = f"asr #{total.shift}"
        both = [f'__asm__("ssat %0, #8, %0, {shift}" : "+r"(s{i}));' for i in range(4)]
        clamps = ["#if TCNN_DSP", *both, "#else", *clamps, "#endif"]
    lines += [*clamps, f"tcnn_st32(y + {4 * k}, tcnn_bytes4(s0, s1, s2, s3));"]
    return "".join(f"{line}\n" if line[0] == "#" else f"    {line}\n" for line in lines)


def one(total: Sum) -> tuple[str, str]:
    """``f(a, b, y)``: one element."""
    body = (
        f"  const int32_t s = a[0] * {total.ma} + b[0] * {total.mb} + {total.offset};\n"
        f"  y[0] = tcnn_clamp(s >> {total.shift}, {total.low}, {total.high});"
    )
    return micro_kernel("add1", "const int8_t *a, const int8_t *b, int8_t *y", body, "one sum")


def kernel(size: int, total: Sum) -> tuple[Any, tuple[str, ...]]:
    """The TIR function over ``size`` elements, and the micro-kernels that it calls: eight at a time,
    then four, then single ones.
    """
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    steps = ((8, fours(total, 2)), (4, fours(total, 1)), (1, one(total)))
    at, done, texts = T.address_of, 0, []
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        a = T.arg("x0", T.Buffer((size,), "int8"))
        b = T.arg("x1", T.Buffer((size,), "int8"))
        y = T.arg("y", T.Buffer((size,), "int8"))
        for width, (name, text) in steps:
            if count := (size - done) // width:
                with T.serial(count) as i:
                    k = done + width * i
                    T.evaluate(T.call_extern("void", name, at(a[k]), at(b[k]), at(y[k])))
                done += width * count
                texts.append(text)
    return builder.get(), tuple(texts)
