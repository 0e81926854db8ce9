"""Pools: some channels of one output pixel at a time, over the taps inside the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir import taps
from tinycc_nn.backends.tvm.tir.template import Requantize, Window, micro_kernel

Lines = Callable[[int], Sequence[str]]


@dataclass(frozen=True)
class Pool:
    """What is done with the elements of a window; C lines of a channel, or of a word of four.

    ``start``: declares ``a<n>``. ``step``: takes in ``p[n]``. ``finish``: stores ``y[n]``, with the
    pixel's factor ``m[0]`` where ``factor`` names its type. ``width``: of a full block, in channels
    or words; ``size``: channels of each. ``rest``: for the channels that are no word.
    """

    element: str
    width: int
    start: Lines
    step: Lines
    finish: Lines
    factor: str = ""
    size: int = 1
    rest: Pool | None = None

    @property
    def ctype(self) -> str:
        return "float" if self.element == "float32" else f"{self.element}_t"


def largest_float() -> Pool:
    """Maxima of float32."""
    return Pool(
        "float32",
        8,
        lambda n: [f"float a{n} = -0x1.fffffep+127f;"],
        lambda n: [f"a{n} = p[{n}] > a{n} ? p[{n}] : a{n};"],
        lambda n: [f"y[{n}] = a{n};"],
    )


def largest_int8(width: int = 4) -> Pool:
    """Maxima of int8, one at a time."""
    return Pool(
        "int8",
        width,
        lambda n: [f"int32_t a{n} = -128;"],
        lambda n: [f"a{n} = p[{n}] > a{n} ? p[{n}] : a{n};"],
        lambda n: [f"y[{n}] = (int8_t)a{n};"],
    )


def largest_words() -> Pool:
    """Maxima of int8, four in a word, with the DSP extension."""
    return Pool(
        "int8",
        4,
        lambda n: [f"int32_t a{n} = (int32_t)0x80808080u;"],
        lambda n: [f"a{n} = tcnn_max4(a{n}, tcnn_ld32(p + {4 * n}));"],
        lambda n: [f"tcnn_st32(y + {4 * n}, a{n});"],
        size=4,
        rest=largest_int8(),
    )


def mean_float() -> Pool:
    """Sums of float32 times the factor of the pixel."""
    return Pool(
        "float32",
        8,
        lambda n: [f"float a{n} = 0.0f;"],
        lambda n: [f"a{n} += p[{n}];"],
        lambda n: [f"y[{n}] = a{n} * m[0];"],
        "float32",
    )


def mean_int8(zero: int, requantize: Requantize, width: int = 4) -> Pool:
    """Sums of int8 without their zero point, requantized by the factor of the pixel."""
    return Pool(
        "int8",
        width,
        lambda n: [f"int32_t a{n} = (i1 - i0) * (j1 - j0) * {-zero};"],
        lambda n: [f"a{n} += p[{n}];"],
        lambda n: [f"y[{n}] = {requantize.c(f'a{n}', 'm[0]')};"],
        "int32",
    )


def blocks(pool: Pool, channels: int) -> list[tuple[Pool, int, int]]:
    """(pool, channels or words of a block, how many blocks), from the first channel on."""
    found = []
    full, rest = divmod(channels // pool.size, pool.width)
    found += [(pool, pool.width, full), (pool, rest, 1)]
    left = channels % pool.size
    if left and pool.rest is not None:
        found += blocks(pool.rest, left)
    return [b for b in found if b[1] * b[2]]


def pixel(w: Window, pool: Pool) -> tuple[str, str]:
    """``f(x, row, column[, m], y)``: all channels of one output pixel."""
    lines = [*taps.inside(w), f"x += {taps.first(w)};"]
    for part, width, count in blocks(pool, w.channels):
        each = range(width)
        step = w.dilation[1] * w.channels
        inner = [
            *(line for n in each for line in part.start(n)),
            f"const {part.ctype} *s = x;",
            "for (int32_t i = i0; i < i1; ++i) {",
            f"  const {part.ctype} *p = s, *const end = s + (j1 - j0) * {step};",
            f"  for (; p != end; p += {step}) {{",
            *(f"    {line}" for n in each for line in part.step(n)),
            "  }",
            f"  s += {w.dilation[0] * w.width * w.channels};",
            "}",
            *(line for n in each for line in part.finish(n)),
            f"x += {width * part.size};",
            f"y += {width * part.size};",
        ]
        head = f"for (int32_t k = {count}; k > 0; --k) {{" if count > 1 else "{"
        lines += [head, *(f"  {line}" for line in inner), "}"]
    body = "".join(f"  {line}\n" for line in lines)
    factor = {"": "", "int32": "const int32_t *m, ", "float32": "const float *m, "}[pool.factor]
    signature = f"const {pool.ctype} *x, int32_t row, int32_t column, {factor}{pool.ctype} *y"
    return micro_kernel("pool", signature, body, f"{w.channels} channels of a pixel")


def function(w: Window, pool: Pool, name: str, factors: int) -> Any:
    """The TIR function ``f(x[, m], y)`` that calls ``name`` for every pixel; one factor or one each."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((w.height * w.width * w.channels,), pool.element))
        m = T.arg("m", T.Buffer((factors,), pool.factor)) if pool.factor else x
        y = T.arg("y", T.Buffer((w.pixels * w.channels,), pool.element))
        at = T.address_of
        with T.serial(w.out_height) as row, T.serial(w.out_width) as column:
            place = row * w.out_width + column
            factor = [at(m[place if factors > 1 else 0])] if pool.factor else []
            arguments = at(x[0]), row, column, *factor, at(y[place * w.channels])
            T.evaluate(T.call_extern("void", name, *arguments))
    return builder.get()
