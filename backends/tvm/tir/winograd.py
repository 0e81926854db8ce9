"""3x3 convolution of stride 1 with the DSP extension, by Winograd's F(2,3) or F(4,3) on each axis.

Output tiles of 4x4 pixels take 36 multiplications for each pair of channels where the definition
takes 144 (2x2: 16 for 36). All of it is exact. What is transformed fits int16; sums are those of
the definition times a known factor 2^k 3^j modulo 2^32, however large they were in between, so that
an exact division (a multiplication with the inverse of 3^j, then a shift) gives them back as long as
they times 2^k fit int32.

Inputs are transformed as two int16 lanes in one integer, ``high * 2^16 + low``: shifts and sums of
it are shifts and sums of both. At the end the lanes must come apart, so the inputs are offset such
that every transformed low lane is 2^15 higher, which makes it positive.

Tiles at the right and the bottom are moved back into the output and compute some pixels again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir import winograd_c
from tinycc_nn.backends.tvm.tir.template import Int8, Int32, Packed, Requantize, Template
from tinycc_nn.backends.tvm.tir.winograd_tiling import Tiling


def winograd_dsp(tiling: Tiling, input_zero: int, requantize: Requantize) -> Template:
    """The convolution of a layer that ``fits``."""
    source = winograd_c.inputs(tiling, input_zero)
    weights = None if tiling.wide else winograd_c.weights(tiling)
    products = winograd_c.products(tiling)
    output = winograd_c.outputs(tiling, requantize)
    names = (source[0], weights[0] if weights else "", products[0], output[0])
    rows, columns = tiling.outputs
    form = "words" if tiling.wide else f"bytes-{tiling.block * tiling.blocks}"
    return Template(
        f"winograd-{rows}x{columns}-{form}",
        lambda: _function(tiling, requantize, names),
        lambda w: pack(w, tiling),
        dict(t for t in (source, weights, products, output) if t),
        tiling.scratch,
        dsp=True,
    )


def pack(weights: Int8, tiling: Tiling) -> Packed:
    """OHWI weights in the order in which they are read.

    int8: output channel, four input channels, the nine of the kernel, input channel. Transformed:
    two output channels, point, two input channels, output channel, and a word of both inputs.
    """
    n, _, _, c = weights.shape
    if not tiling.wide:
        fours = weights.reshape(n, 9, c // 4, 4).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(fours).ravel()
    rows, columns = tiling.axes
    points: Int32 = np.einsum(
        "iy,nyxc,jx->nijc", rows.weight, weights.astype(np.int64), columns.weight
    ).reshape(n // 2, 2, tiling.points, c // 4, 4)[..., [0, 2, 1, 3]]
    lanes = points.reshape(n // 2, 2, tiling.points, c // 2, 2).transpose(0, 2, 3, 1, 4)
    return np.ascontiguousarray(lanes, np.int16).view("<i4").ravel()


def _function(tiling: Tiling, requantize: Requantize, names: tuple[str, str, str, str]) -> Any:
    """The TIR function: strips of blocks of tiles times pairs of output channels."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    source, weights, products, output = names
    w, channels, row = tiling.window, tiling.channels, tiling.packed_words
    strip = tiling.block * tiling.blocks
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((w.height * w.width * w.channels,), "int8"))
        kind = "int32" if tiling.wide else "int8"
        row = row if tiling.wide else 4 * row
        u = T.arg("weights", T.Buffer((channels // 2 * row,), kind))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((w.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((tiling.scratch,), "int8"))
        at = T.address_of
        behind = tiling.blocks * tiling.block_bytes
        with T.serial(tiling.strips) as i:
            with T.serial(tiling.blocks) as k, T.serial(tiling.block) as p:
                tile = i * strip + k * tiling.block + p
                place = at(s[k * tiling.block_bytes + p * 4])
                T.evaluate(T.call_extern("void", source, at(x[0]), tile, place, at(s[behind])))
            with T.serial(channels // 2) as j:
                packed = at(u[j * row])
                if weights:
                    T.evaluate(T.call_extern("void", weights, packed, at(s[behind])))
                    packed = at(s[behind])
                sums = at(s[behind + tiling.weight_bytes])
                factor = m[2 * j] if requantize.per_channel else m[0]
                with T.serial(tiling.blocks) as k:
                    block = at(s[k * tiling.block_bytes])
                    T.evaluate(T.call_extern("void", products, block, packed, sums))
                    tile = i * strip + k * tiling.block
                    places = (at(b[2 * j]), at(factor), at(y[2 * j]))
                    T.evaluate(T.call_extern("void", output, sums, tile, *places))
    return builder.get()
