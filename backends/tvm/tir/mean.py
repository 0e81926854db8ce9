"""Means over the pixels of an int8 map with the DSP extension: four channels in two words of lanes."""

from __future__ import annotations

from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.template import Requantize, micro_kernel

RUN = 255
"""Pixels whose sum fits an int16 lane."""

_UNROLL = 5
"""A divisor of RUN."""


def four(
    pixels: int, channels: int, input_zero: int, multiplier: int, requantize: Requantize
) -> tuple[str, str]:
    """``f(x, y)``: four channels, requantized sums of ``x - input_zero`` over all pixels."""
    lines = ["int32_t s[4] = {0};"]
    runs, rest = divmod(pixels, RUN)
    if runs:
        lines += [f"for (int32_t i = 0; i < {runs}; ++i) {{"]
        lines += [f"  {line}" for line in _run(RUN, channels)] + ["}"]
    if rest:
        lines += ["{", *(f"  {line}" for line in _run(rest, channels)), "}"]
    for i in range(4):
        sum_ = f"(s[{i}] - {pixels * input_zero})"
        lines.append(f"y[{i}] = {requantize.c(sum_, str(multiplier))};")
    body = "\n".join(f"  {line}" for line in lines)
    return micro_kernel("mean4", "const int8_t *x, int8_t *y", body, f"means of {pixels} pixels")


def _run(pixels: int, channels: int) -> list[str]:
    """C that adds up to RUN pixels to the sums."""
    times, rest = divmod(pixels, _UNROLL)
    step = [
        "v = tcnn_ld32(x);",
        f"x += {channels};",
        "a = tcnn_sxtab16(a, v);",
        "b = tcnn_sxtab16_ror8(b, v);",
    ]
    lines = ["int32_t a = 0, b = 0, v;"]
    if times:
        lines += [f"for (int32_t j = 0; j < {times}; ++j) {{"]
        lines += [f"  {line}" for line in step * _UNROLL] + ["}"]
    lines += step * rest
    return [*lines, "s[0] += (int16_t)a;", "s[1] += (int16_t)b;", "s[2] += a >> 16;", "s[3] += b >> 16;"]  # fmt: skip


def function(pixels: int, channels: int, fours: str) -> Any:
    """The loop over groups of four channels."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((pixels * channels,), "int8"))
        y = T.arg("y", T.Buffer((channels,), "int8"))
        at = T.address_of
        with T.serial(channels // 4) as i:
            T.evaluate(T.call_extern("void", fours, at(x[4 * i]), at(y[4 * i])))
    return builder.get()
