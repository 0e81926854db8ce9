"""Convolution and matrix product with the DSP extension: im2col strips times packed weights.

A strip of output pixels is expanded to int16 lanes once and serves all output channels; a block of
pixels x channels keeps its sums in registers. Three packings of the weights (see `Packing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.build import Block, block_function
from tinycc_nn.backends.tvm.tir.template import (
    Int8,
    Int32,
    Requantize,
    Template,
    Window,
    micro_kernel,
)

_SIGNATURE = (
    "const int8_t *scratch, const int32_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


class Packing(Enum):
    """How weights are stored, and what a block of 4 products deep costs to read them.

    BYTES: words of four int8 of one channel; two expansions (SXTB16) each.
    PAIRS: int16 of ``256 * w[n + 1] + w[n]`` of two channels; SMLAD with the whole and with its
        low byte gives both sums, with one expansion for two channels. Same size as BYTES. Exact
        modulo 2^32 as long as every sum of an odd channel is below 2^23 (`pairs_fit`).
    WORDS: int16, no expansion, twice the size.
    """

    BYTES = "bytes"
    PAIRS = "pairs"
    WORDS = "words"


@dataclass(frozen=True)
class Blocking:
    """Output pixels x channels of a register block, and how often its loop is unrolled."""

    pixels: int = 3
    channels: int = 2
    unroll: int = 2
    packing: Packing = Packing.BYTES


def pairs_fit(weights: Int8) -> bool:
    """Whether ``weights`` (output channels first) may be packed as PAIRS.

    The sum of an odd channel must stay below 2^23 for any input, and no int16 may overflow.
    """
    w = weights.reshape(weights.shape[0], -1).astype(np.int32)
    odd = w[1::2]
    even = w[0 : 2 * len(odd) : 2]
    in_range = bool(np.all(256 * odd + even >= -(2**15)))
    return in_range and bool(np.all(128 * np.abs(odd).sum(axis=1) < 2**23))


def gemm_dsp(
    window: Window, out_channels: int, input_zero: int, requantize: Requantize, blocking: Blocking
) -> Template:
    """A convolution with groups = 1 (a dense layer of M rows: window of M x 1 pixels).

    In place only where each pixel is read before its output is written: 1x1 with no more output
    than input channels.
    """
    pixels = min(blocking.pixels, window.pixels)
    rest = window.pixels % pixels
    in_place = window.pointwise and out_channels <= window.channels
    steps = [(pixels, window.pixels // pixels, 0)]
    if rest and in_place:
        steps.append((rest, 1, window.pixels - rest))
    elif rest:  # the last strip does some pixels again, which needs no second micro-kernel
        steps = [(pixels, -(-window.pixels // pixels), 0)]
    words = im2col.padded_depth(window) // 4
    micro: dict[str, str] = {}
    blocks = []
    for strip, count, first in steps:
        fill, text = im2col.wide(window, input_zero, strip)
        micro[fill] = text
        groups = []
        for start, width, times in _channel_groups(out_channels, blocking.channels):
            name, text = _block(words, out_channels, strip, width, requantize, blocking)
            micro[name] = text
            groups.append((name, start, width, times))
        blocks.append(Block(fill, strip, count, first, tuple(groups)))
    row = words * (2 if blocking.packing is Packing.WORDS else 1)
    scratch = im2col.wide_bytes(window, pixels)

    def function() -> Any:
        return block_function(
            blocks, window, out_channels, requantize, row * out_channels, "int32", scratch
        )

    return Template(
        f"gemm-{pixels}x{blocking.channels}-{blocking.packing.value}",
        function,
        lambda w: pack(w, blocking),
        micro,
        scratch,
        in_place,
        True,
    )


def _channel_groups(channels: int, width: int) -> list[tuple[int, int, int]]:
    """(first channel, channels of a block, blocks): full blocks, then what is left."""
    full, rest = divmod(channels, width)
    groups = [(0, width, full)] if full else []
    return [*groups, (full * width, rest, 1)] if rest else groups


def pack(weights: Int8, blocking: Blocking) -> Int32:
    """OHWI weights in reading order: blocks of channels, then depth in fours, then channels."""
    channels = weights.shape[0]
    flat = weights.reshape(channels, -1)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 4)))
    if blocking.packing is Packing.PAIRS and not pairs_fit(weights):
        raise ValueError("these weights can't be packed in pairs")
    parts = []
    for start, width, times in _channel_groups(channels, blocking.channels):
        for first in range(start, start + width * times, width):
            parts.append(_pack_block(flat[first : first + width], blocking.packing))
    return np.concatenate(parts)


def _pack_block(rows: Int8, packing: Packing) -> Int32:
    fours = rows.reshape(rows.shape[0], -1, 4).transpose(1, 0, 2)  # depth / 4, channel, 4
    if packing is Packing.BYTES or (packing is Packing.PAIRS and rows.shape[0] == 1):
        return np.ascontiguousarray(fours).view("<i4").ravel()
    lanes = fours[:, :, [0, 2, 1, 3]].astype(np.int16)
    if packing is Packing.PAIRS:
        lanes = _paired(lanes)
    halves = lanes.reshape(*lanes.shape[:2], 2, 2).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(halves).view("<i4").ravel()


def _paired(lanes: np.ndarray[Any, np.dtype[np.int16]]) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Two channels in each int16; the last of an odd number of channels stays alone."""
    even, odd = lanes[:, 0::2], lanes[:, 1::2]
    joined = even.copy()
    joined[:, : odd.shape[1]] += 256 * odd
    return joined


def _block(
    words: int, stride: int, pixels: int, channels: int, requantize: Requantize, how: Blocking
) -> tuple[str, str]:
    """The sums of ``pixels`` x ``channels`` outputs over ``words`` x 4 products, and their int8."""
    packing = how.packing
    if packing is Packing.PAIRS and channels == 1:
        packing = Packing.BYTES
    inner = {
        Packing.BYTES: _inner_bytes, Packing.PAIRS: _inner_pairs, Packing.WORDS: _inner_words,
    }[packing](pixels, channels)  # fmt: skip
    sums = [(p, n) for p in range(pixels) for n in range(channels)]
    start = {n: f"bias[{n}]" for n in range(channels)}
    finish = []
    if packing is Packing.PAIRS:
        # The wide sum is 256 * odd + even, so it starts from the even channel's bias alone.
        for n in range(1, channels, 2):
            start[n] = f"bias[{n - 1}]"
            finish += [
                f"  a{p}{n} = (int32_t)((uint32_t)a{p}{n} - (uint32_t)a{p}{n - 1}) >> 8;\n"
                f"  a{p}{n} += bias[{n}];\n"
                for p in range(pixels)
            ]
    text = "  const tcnn_word *x = (const tcnn_word *)scratch, *w = weights;\n"
    text += "".join(f"  int32_t a{p}{n} = {start[n]};\n" for p, n in sums)
    times, rest = divmod(words, how.unroll)
    if times > 1:
        text += f"  const tcnn_word *end = x + {2 * pixels * how.unroll * times};\n  do {{\n"
        text += "    int32_t t, " + inner[0] + ";\n" + inner[1] * how.unroll
        text += "  } while (x != end);\n"
    else:
        rest = words
    if rest:
        text += "  {\n    int32_t t, " + inner[0] + ";\n" + inner[1] * rest + "  }\n"
    text += "".join(finish) + store(requantize, pixels, channels, stride)
    comment = f"{pixels} pixels x {channels} channels over {4 * words} products"
    return micro_kernel("gemm", _SIGNATURE, text, comment)


def store(requantize: Requantize, pixels: int, channels: int, stride: int) -> str:
    """C that requantizes the sums a<pixel><channel> into y."""
    text = ""
    for n in range(channels):
        multiplier = f"multiplier[{n if requantize.per_channel else 0}]"
        text += f"  const int32_t m{n} = {multiplier};\n"
        for p in range(pixels):
            text += f"  y[{p * stride + n}] = {requantize.c(f'a{p}{n}', f'm{n}')};\n"
    return text


def _products(pixels: int, offset: int, pairs: list[tuple[int, str]]) -> str:
    """SMLAD of the words of all pixels with words of weights of (sum, name)."""
    text = ""
    for p in range(pixels):
        text += f"    t = x[{offset + p}];\n"
        text += "".join(f"    a{p}{n} = tcnn_smlad(t, {w}, a{p}{n});\n" for n, w in pairs)
    return text


def _inner_bytes(pixels: int, channels: int) -> tuple[str, str]:
    names = [f"w{n}" for n in range(channels)] + [f"v{n}" for n in range(channels)]
    text = "".join(f"    w{n} = w[{n}];\n" for n in range(channels)) + f"    w += {channels};\n"
    for half, expand in enumerate(("tcnn_sxtb16", "tcnn_sxtb16_ror8")):
        text += "".join(f"    v{n} = {expand}(w{n});\n" for n in range(channels))
        text += _products(pixels, half * pixels, [(n, f"v{n}") for n in range(channels)])
    return ", ".join(names), text + f"    x += {2 * pixels};\n"


def _inner_words(pixels: int, channels: int) -> tuple[str, str]:
    text = ""
    for half in range(2):
        text += "".join(f"    v{n} = w[{half * channels + n}];\n" for n in range(channels))
        text += _products(pixels, half * pixels, [(n, f"v{n}") for n in range(channels)])
    text += f"    w += {2 * channels};\n    x += {2 * pixels};\n"
    return ", ".join(f"v{n}" for n in range(channels)), text


def _inner_pairs(pixels: int, channels: int) -> tuple[str, str]:
    count = -(-channels // 2)
    names, text = [], ""
    for half in range(2):
        products = []
        for i in range(count):
            text += f"    w{i} = w[{half * count + i}];\n"
        for i in range(count):
            if 2 * i + 1 == channels:
                products.append((2 * i, f"w{i}"))
                continue
            text += f"    v{i} = tcnn_sxtb16(w{i});\n"
            products += [(2 * i, f"v{i}"), (2 * i + 1, f"w{i}")]
        text += _products(pixels, half * pixels, products)
    for i in range(count):
        names += [f"w{i}"] if 2 * i + 1 == channels else [f"w{i}", f"v{i}"]
    text += f"    w += {2 * count};\n    x += {2 * pixels};\n"
    return ", ".join(names), text
