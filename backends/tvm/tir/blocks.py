"""C micro-kernels of register blocks: sums of some pixels x channels over receptive fields.

``f(x, weights, bias[, multiplier], y)``: pixel p's field is at ``x + p * pitch``, its outputs go to
``y + p * stride``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from tinycc_nn.backends.tvm.tir.packing import Packing
from tinycc_nn.backends.tvm.tir.sums import Sums, unrolled
from tinycc_nn.backends.tvm.tir.template import Requantize, micro_kernel


@dataclass(frozen=True)
class Block:
    """``pixels`` x ``channels`` sums of ``depth`` products."""

    pixels: int
    channels: int
    depth: int
    pitch: int
    stride: int

    @property
    def comment(self) -> str:
        return f"{self.pixels} pixels x {self.channels} channels of {self.depth} products"


def literal(value: float) -> str:
    """A float32 in C, exactly."""
    return f"{float(np.float32(value)).hex()}f"


def clipped(name: str, low: float, high: float) -> list[str]:
    """C that limits a float variable; nothing for infinite limits."""
    lines = []
    if low != -inf:
        lines.append(f"{name} = {name} < {literal(low)} ? {literal(low)} : {name};")
    if high != inf:
        lines.append(f"{name} = {name} > {literal(high)} ? {literal(high)} : {name};")
    return lines


def multiply_add(fused: bool) -> Callable[[str, str, str], str]:
    """C of c + a * b for float32 a, b, c. Fused is faster on Cortex-M7; Cortex-M4 and M33 take
    three cycles for it, and one each for a product and a sum.
    """
    if fused:
        return lambda a, b, c: f"tcnn_fma({a}, {b}, {c})"
    return lambda a, b, c: f"{c} + {a} * {b}"


def floats(block: Block, low: float, high: float, unroll: int, *, fused: bool) -> tuple[str, str]:
    """Sums of float32 limited to [low, high]; weights lie by depth, then channel."""
    add = multiply_add(fused)
    pixels, channels = range(block.pixels), range(block.channels)
    sums = [(p, n) for p in pixels for n in channels]
    lines = [f"float a{p}{n} = bias[{n}];" for p, n in sums]
    lines += _products(
        block, "float", unroll, lambda p, n: f"a{p}{n} = {add(f'v{p}', f'w{n}', f'a{p}{n}')};"
    )
    for p, n in sums:
        lines += clipped(f"a{p}{n}", low, high)
        lines.append(f"y[{p * block.stride + n}] = a{p}{n};")
    signature = "const void *x, const float *weights, const float *bias, float *y"
    return micro_kernel("float_block", signature, _indented(lines), block.comment)


def scalars(block: Block, requantize: Requantize) -> tuple[str, str]:
    """Sums of int8, one product at a time; weights lie by depth, then channel."""
    pixels, channels = range(block.pixels), range(block.channels)
    lines = [f"int32_t a{p}{n} = bias[{n}];" for p in pixels for n in channels]
    lines += _products(block, "int8_t", 1, lambda p, n: f"a{p}{n} += v{p} * w{n};")
    body = _indented(lines) + Sums(
        block.pixels, block.channels, Packing.BYTES, lambda _half, _pixel: ""
    ).finish(requantize, block.stride)
    signature = (
        "const void *x, const int8_t *weights, const int32_t *bias, "
        "const int32_t *multiplier, int8_t *y"
    )
    return micro_kernel("block", signature, body, block.comment)


def quads(block: Block, requantize: Requantize, unroll: int) -> tuple[str, str]:
    """Sums of int8 with the DSP extension; weights are words of four int8 (`Packing.BYTES`).

    Fields are read in words, to a multiple of four elements.
    """
    pixels = range(block.pixels)
    sums = Sums(block.pixels, block.channels, Packing.BYTES, lambda half, p: f"s{half}{p}")
    load = "".join(
        f"    u = tcnn_ld32(x + {p * block.pitch});\n"
        f"    s0{p} = tcnn_sxtb16(u);\n    s1{p} = tcnn_sxtb16_ror8(u);\n"
        for p in pixels
    ) + "    x += 4;\n"  # fmt: skip
    names = ["u", *(f"s{half}{p}" for half in (0, 1) for p in pixels), *sums.names()]
    fours = -(-block.depth // 4)
    unread = "  (void)x;\n  (void)weights;\n"
    text = "  const tcnn_word *w = weights;\n" if fours else unread
    text += sums.start()
    text += unrolled(load + sums.four(), names, fours, unroll, "const int8_t", 4)
    text += sums.finish(requantize, block.stride)
    signature = (
        "const int8_t *x, const int32_t *weights, const int32_t *bias, "
        "const int32_t *multiplier, int8_t *y"
    )
    return micro_kernel("block_dsp", signature, text, block.comment)


def _products(
    block: Block, element: str, unroll: int, product: Callable[[int, int], str]
) -> list[str]:
    """Lines that run ``product`` with ``v<pixel>`` and ``w<channel>`` for all of the depth."""
    if not block.depth:
        return ["(void)x;", "(void)weights;"]
    pixels, channels = range(block.pixels), range(block.channels)
    lines = [f"const {element} *x{p} = (const {element} *)x + {p * block.pitch};" for p in pixels]

    def steps(count: int) -> list[str]:
        inner = []
        for k in range(count):
            inner.append("{")
            for n in channels:
                inner.append(f"  const {element} w{n} = weights[{k * block.channels + n}];")
            for p in pixels:
                inner.append(f"  const {element} v{p} = x{p}[{k}];")
                inner += [f"  {product(p, n)}" for n in channels]
            inner.append("}")
        inner += [f"x{p} += {count};" for p in pixels]
        return [*inner, f"weights += {count * block.channels};"]

    times, rest = divmod(block.depth, unroll)
    if times > 1:
        lines.append(f"const {element} *const end = x0 + {times * unroll};")
        lines += ["do {", *(f"  {line}" for line in steps(unroll)), "} while (x0 != end);"]
    elif times:
        rest = block.depth
    return lines + (steps(rest) if rest else [])


def _indented(lines: Sequence[str]) -> str:
    return "".join(f"  {line}\n" for line in lines)
