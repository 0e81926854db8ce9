"""1x1 convolution and dense layers that leave out the inputs that are zero.

The inputs of a pixel that aren't the zero point are listed once, each as its value and the place of
its weights. Then a few output channels at a time go over the list; the weights of an input for
these channels lie together. Source: Han et al., "EIE: Efficient Inference Engine on Compressed Deep
Neural Network", 2016, which skips zero activations in this way in hardware.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from tinycc_nn.backends.tvm.tir.block_calls import strip_calls
from tinycc_nn.backends.tvm.tir.build import Part, Strip
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group
from tinycc_nn.backends.tvm.tir.template import (
    Int8,
    Int32,
    Requantize,
    Template,
    Window,
    micro_kernel,
)
from tinycc_nn.backends.tvm.tir.thumb1 import ARMV6M

ENTRY = 4
"""Bytes of an input in the list: its value (int16) above, its place (uint16) below."""

UNROLL = 4
"""Entries in a round of the loop; the list is filled up with zeros to a multiple of it."""

_Sums = tuple[Group, str, str]
"""Output channels with the name and the C text of the function that computes them."""


class Lay(Enum):
    """How the weights of an input for a block of channels are stored and multiplied.

    PAIRS: for the DSP extension, 8 channels. int16 of ``256 * w[n + 1] + w[n]``: products with the
        whole and with its low byte give both sums, with one expansion for two words. Exact modulo 2^32
        as long as every sum of an odd channel is below 2^23 (`pairs_fit`).
    HALVES: uint8 of ``w + 128``, for inputs of 0..255. Two of them are the halves of a word, and one
        product of that with an input holds both products: ``F += s`` and ``H += s >> 16`` sum them,
        H those of the high half, ``F - 2^16 H`` those of the low one. 128 times the sum of the
        inputs is taken off again. As in `thumb1`, where the halves are inputs.
    """

    PAIRS = "pairs"
    HALVES = "halves"


def pairs_fit(weights: Int8, most: int) -> bool:
    """Whether ``weights`` (output channels first) may lie as PAIRS for inputs of at most ``most`` in
    magnitude, zero point subtracted."""
    w = weights.reshape(len(weights), -1).astype(np.int64)
    odd = w[1::2]
    even = w[0 : 2 * len(odd) : 2]
    in_range = bool((256 * odd + even >= -(2**15)).all())
    return in_range and bool((most * np.abs(odd).sum(axis=1) < 2**23).all())


def packed_bytes(channels: int, depth: int, outputs: int) -> int:
    """Of all weights in blocks of ``channels``, with the row in front."""
    return (1 + -(-outputs // channels) * depth) * channels


def pack(weights: Int8, lay: Lay, channels: int) -> Int32:
    """An empty row of ``channels``, so that no place in the list is 0 but that of its end. Blocks of
    ``channels`` (an even number; the last one is filled up with zeros), then inputs, then channels."""
    flat = weights.reshape(len(weights), -1).astype(np.int16)
    flat = np.pad(flat, ((0, -len(flat) % channels), (0, 0)))
    blocks = flat.reshape(-1, channels, flat.shape[1]).transpose(0, 2, 1).reshape(-1, channels)
    rows = np.pad(blocks, ((1, 0), (0, 0)))
    if lay is Lay.HALVES:
        return np.ascontiguousarray(rows + 128, np.uint8).view("<i4").ravel()
    pairs = 256 * rows[:, 1::2] + rows[:, 0::2]
    return np.ascontiguousarray(pairs, "<i2").view("<i4").ravel()


def skip_zeros(
    window: Window,
    outputs: int,
    input_zero: int,
    requantize: Requantize,
    lay: Lay,
    channels: int,
) -> Template:
    """A pointwise window, groups = 1, ``channels`` at a time: 8, or 4 of HALVES. Places must fit in 16
    bits, ``(depth + 1) * channels < 2^16``; the input's zero point is -128 for HALVES."""
    sums = _sums(Blocking(channels=channels).groups(outputs), requantize, lay, channels)
    pixel = _pixel(window.depth, input_zero, channels, sums, requantize, lay)
    part = Part(Strip(1, window.pixels, 0), None, (pixel[0],))
    nbytes = packed_bytes(channels, window.depth, outputs)
    scratch = ENTRY * (window.depth + UNROLL)
    return Template(
        f"skip-zeros-{channels}-{lay.value}",
        lambda: strip_calls(
            [part], window, outputs, requantize, (nbytes // 4, "int32"), scratch, pass_scratch=True
        ),
        lambda w: pack(w, lay, channels),
        dict([*((name, text) for _, name, text in sums), pixel]),
        scratch,
        in_place=outputs <= window.channels,
        dsp=lay is Lay.PAIRS,
        input_offset=-input_zero,
    )


def _pixel(
    depth: int, input_zero: int, row: int, sums: list[_Sums], requantize: Requantize, lay: Lay
) -> tuple[str, str]:
    """Lists the inputs of a pixel, then computes its outputs. ``row``: bytes of an input's weights
    in a block."""
    total = lay is Lay.HALVES
    lines = [
        "tcnn_word *const list = (tcnn_word *)(void *)scratch;",
        "tcnn_word *end = list;",
        *["int32_t total = 0;"] * total,
        f"for (int32_t k = 0; k < {depth}; ++k) {{",
        f"  const int32_t v = x[k] - ({input_zero});",
        f"  *end = (int32_t)((uint32_t)v << 16 | (uint32_t)(k + 1) * {row}u);",
        "  end += 1 - tcnn_dodge(v == 0);",
        *["  total += v;"] * total,
        "}",
        f"while ((end - list) % {UNROLL})",
        f"  *end++ = {row};",
        "*end = 0;",
        "const int8_t *block = (const int8_t *)weights;",
    ]
    last = ", 128 * total" if total else ""
    for group, name, _ in sums:
        lines += [
            f"for (int32_t n = {group.count}; n > 0; --n) {{",
            f"  {name}(scratch, block, bias, multiplier, y{last});",
            f"  y += {group.width};",
            f"  bias += {group.width};",
            *[f"  multiplier += {group.width};"] * requantize.per_channel,
            f"  block += {depth * row};",
            "}",
        ]
    body = "".join(f"  {line}\n" for line in lines)
    signature = (
        "const int8_t *x, int8_t *scratch, const int32_t *weights, const int32_t *bias, "
        "const int32_t *multiplier, int8_t *y"
    )
    return micro_kernel("skip_zeros", signature, body, f"{depth} inputs of a pixel")


def _sums(groups: list[Group], requantize: Requantize, lay: Lay, channels: int) -> list[_Sums]:
    """Functions of their own: inlined, the loop over the list would share its registers with those
    round it."""
    found = []
    for group in groups:
        lines = ["const tcnn_word *p = (const tcnn_word *)(const void *)list;"]
        pairs = lay is Lay.PAIRS
        lines += _pairs(group.width) if pairs else _halves(group.width, channels)
        extra = "" if pairs else " - extra"
        for i in range(group.width):
            m = f"multiplier[{i if requantize.per_channel else 0}]"
            lines += [f"a{i} = a{i}{extra} + bias[{i}];", f"y[{i}] = {requantize.c(f'a{i}', m)};"]
        signature = (
            "const int8_t *list, const int8_t *block, const int32_t *bias, "
            "const int32_t *multiplier, int8_t *y"
        )
        signature += "" if pairs else ", int32_t extra"
        body = "".join(line if line.startswith("#") else f"  {line}\n" for line in lines)
        name, text = micro_kernel("listed", signature, body, f"{group.width} channels")
        text = text.replace("static inline", "static __attribute__((noinline))", 1)
        found.append((group, name, text))
    return found


def _pairs(width: int) -> list[str]:
    """C of the sums ``a<channel>`` over the list at ``p``, whose entries have two words of weights."""
    lines = [f"int32_t a{i} = 0;" for i in range(width)]
    lines += ["int32_t e = *p++;", "while (e != 0) {"]
    for _ in range(UNROLL):
        lines += ["  {", "    int32_t f, w0, w1;", "    tcnn_listed(e, f, w0, w1, p, block);"]
        for first in range(0, width, 4):
            w = f"w{first // 4}"
            for part in (((1, "b"), (3, "t")), ((0, "b"), (2, "t"))):
                for n, half in part:
                    a = f"a{first + n}"
                    lines += [f"    {a} = tcnn_smla{half}t({w}, e, {a});"] * (first + n < width)
                lines += [f"    {w} = tcnn_sxtb16({w});"] * (part[0][0] == 1)
        lines += ["    (void)w1;"] * (width <= 4) + ["    e = f;", "  }"]
    lines += ["}"]
    for i in range(1, width, 2):
        lines += [f"a{i} = (int32_t)((uint32_t)a{i} - (uint32_t)a{i - 1}) >> 8;"]
    return lines


def _halves(width: int, channels: int) -> list[str]:
    """C of the sums ``a<channel>`` over the list at ``p``. An entry has weights of ``channels``, of
    which there are 4 on cores where sums need high registers: there it is assembly."""
    halves = channels // 2
    lines = [f"uint32_t F{i} = 0, H{i} = 0;" for i in range(halves)]
    loop = ["for (int32_t e = *p++; e != 0; e = *p++) {", "  const uint32_t v = (uint32_t)e >> 16;"]
    loop += ["  const tcnn_word *const w = (const tcnn_word *)(const void *)(block + (uint16_t)e);"]
    for i in range(halves):
        shift = " >> 8" * (i % 2)
        loop += [f"  const uint32_t s{i} = ((uint32_t)w[{i // 2}]{shift} & 0xff00ffu) * v;"]
        loop += [f"  F{i} += s{i};", f"  H{i} += s{i} >> 16;"]
    loop += ["}"]
    if channels == 4:
        loop = [f"{ARMV6M}\n", *_assembly(), "#else\n", *loop, "#endif\n"]
    lines += loop
    for i in range(width):
        half = i // 4 * 2 + i % 2
        value = f"H{half}" if i % 4 > 1 else f"F{half} - (H{half} << 16)"
        lines += [f"int32_t a{i} = (int32_t)({value});"]
    return lines


def _assembly() -> list[str]:
    """The loop over the list for four channels on Armv6-M."""
    entry = [
        "uxth %[t], %[e]",
        "ldr %[w], [%[block], %[t]]",
        "lsrs %[e], %[e], #16",
        "movs %[t], %[w]",
        "ands %[t], %[mask]",
        "muls %[t], %[e], %[t]",
        "lsrs %[w], %[w], #8",
        "ands %[w], %[mask]",
        "muls %[w], %[e], %[w]",
        "ldm %[p]!, {%[e]}",
    ]
    for i, s in enumerate("tw"):
        entry += [f"add %[F{i}], %[{s}]", f"lsrs %[{s}], %[{s}], #16", f"add %[H{i}], %[{s}]"]
    start = [".syntax unified", "ldm %[p]!, {%[e]}", "cmp %[e], #0", "beq 2f", "1:"]
    lines = [*start, *entry * UNROLL, "cmp %[e], #0", "bne 1b", "2:"]
    names = [f'[{k}{i}] "+h"({k}{i})' for i in range(2) for k in "FH"]
    outputs = ['[p] "+l"(p)', *(f'[{n}] "=&l"({n})' for n in "etw"), *names]
    return [
        "uint32_t e, t, w;",
        "__asm__ volatile(",
        *(f'  "{line}\\n"' for line in lines),
        f"  : {', '.join(outputs)}",
        '  : [block] "l"(block), [mask] "l"(0xff00ffu)',
        '  : "cc", "memory");',
    ]
