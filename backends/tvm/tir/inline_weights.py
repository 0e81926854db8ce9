"""1x1 convolution and dense layers whose weights are numbers in the code: one C statement for each
weight that isn't zero, nothing for the others, no loop but that over pixels.

Bias and multipliers are in the code, too. Source: Elsen et al., "Fast Sparse ConvNets", 2020, whose
sparse rows are unrolled here until no index is left.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.template import Int8, Int32, Requantize, Window, micro_kernel

STEP = 4
"""Products after which the compiler finishes what it has begun: more loads at once would spill."""


def pixel(
    weights: Int8, bias: Int32, multipliers: Int32, requantize: Requantize
) -> tuple[str, str]:
    """``f(x, y)``: all output channels of a pixel.

    weights: int8[out, depth]. bias: with the input's zero point folded in. multipliers: int32[out],
    or [1].
    """
    channels, depth = weights.shape
    lines = []
    factors = np.broadcast_to(multipliers, channels)
    for n, (row, b, m) in enumerate(zip(weights, bias, factors, strict=True)):
        lines += ["{", f"  int32_t a = {b};"]
        for i, k in enumerate(np.flatnonzero(row)):
            if i and i % STEP == 0:
                lines.append("  tcnn_keep(y);")
            w = int(row[k])  # a small positive number is one short instruction, a negative one not
            lines.append(f"  a {'-' if w < 0 else '+'}= {abs(w)} * x[{k}];")
        lines += [f"  y[{n}] = {requantize.c('a', str(m))};", "}"]
    body = "".join(f"  {line}\n" for line in lines)
    live = np.count_nonzero(weights)
    comment = f"{depth} -> {channels}, {live} weights that aren't zero"
    return micro_kernel("inline_weights", "const int8_t *x, int8_t *y", body, comment)


def function(window: Window, channels: int, name: str) -> Any:
    """``f(x, y)``: the loop over pixels."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.pixels * window.depth,), "int8"))
        y = T.arg("y", T.Buffer((window.pixels * channels,), "int8"))
        at = T.address_of
        with T.serial(window.pixels) as i:
            T.evaluate(T.call_extern("void", name, at(x[i * window.depth]), at(y[i * channels])))
    return builder.get()
