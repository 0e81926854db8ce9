"""int8 convolution and dense layers for cores with Thumb-1 alone (Armv6-M, Armv8-M Baseline).

Such a core multiplies 32 x 32 bits to 32 in one cycle, but loads signed bytes only with an offset
in a register. Here inputs and weights are unsigned, ``x + 128`` and ``w + 128``, so that loads have
constant offsets, and one multiplication serves two output pixels: a word holds the input of one
pixel in its low half, of the other in its high half. A product of bytes is below 2^16, so that
``s = (x0 + 2^16 x1) w`` holds both, and the sums come of ``F += s`` (modulo 2^32) and
``H += s >> 16``: H is the second pixel's, ``F - 2^16 H`` the first one's.

``sum(x w) = sum(x' w') - 128 sum(x') - 128 sum(w)``: the sums of inputs are made once for a pixel
and serve all channels, those of weights are part of the bias. Sums live in high registers, which
additions reach but which compilers rarely use; hence the assembly.
"""

from __future__ import annotations

import numpy as np

from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.build import Part, convolution, strips
from tinycc_nn.backends.tvm.tir.packing import Blocking
from tinycc_nn.backends.tvm.tir.scalar import pack_bytes
from tinycc_nn.backends.tvm.tir.template import Int8, Requantize, Template, Window, micro_kernel
from tinycc_nn.backends.tvm.tir.unrolled import finish

OFFSET = 128
"""What is added to inputs and weights."""

LARGEST_DEPTH = 2**31 // 255**2
"""Products whose sum is below 2^31."""

ARMV6M = (
    "#if (defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)) && !defined(__OPTIMIZE_SIZE__)"
)
"""GCC has no high registers for Thumb-1 when it optimizes for size."""

_HEAD = 8
"""Bytes of what the sums of a pixel start from, before the staged inputs."""

_LANE_STEPS = 256
"""Bytes whose sum fits 16 bits."""

_LONGEST_OFFSET = 32
"""Bytes that a load can reach from its pointer; 32 words of words."""

_LONGEST_LOOP = 120
"""Instructions that a conditional branch can jump back over."""

_LOW_SUMS = 2
"""Sums in low registers beside two pointers, an input and a product."""

_FILL = "const int8_t *x, int32_t first, int8_t *scratch"
_BLOCK = (
    "const int8_t *scratch, const int8_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


def gemm_thumb1(
    window: Window,
    out_channels: int,
    input_zero: int,
    requantize: Requantize,
    blocking: Blocking,
    *,
    in_place: bool = True,
) -> Template:
    """A convolution with groups = 1, or a dense layer (a window of one pixel).

    ``blocking``: 1 or 2 pixels, up to 3 channels, and how many steps of depth one round of the loop
    has at most. ``in_place`` as in `gemm_dsp`. Raises ``ValueError`` for another number of pixels or
    a depth whose sums could exceed int32.
    """
    if blocking.pixels not in (1, 2) or window.depth > LARGEST_DEPTH:
        raise ValueError("one or two pixels, sums below 2^31")
    in_place &= window.pointwise and out_channels <= window.channels
    groups = Blocking(channels=blocking.channels).groups(out_channels)
    scratch = _scratch(window, min(blocking.pixels, window.pixels))
    micro: dict[str, str] = {}
    parts = []
    for strip in strips(window.pixels, blocking.pixels, overlap=not in_place):
        fill = _fill(window, input_zero, strip.pixels)
        blocks = [
            _block(window.depth, out_channels, strip.pixels, g.width, requantize, blocking)
            for g in groups
        ]
        micro |= fill | dict(blocks)
        parts.append(Part(strip, list(fill)[-1], tuple(name for name, _ in blocks)))
    return Template(
        f"thumb1-{blocking.pixels}x{blocking.channels}",
        lambda: convolution(parts, groups, window, requantize, (window.depth, "int8"), scratch),
        lambda w: _offset(pack_bytes(w, groups)),
        micro,
        scratch,
        in_place,
        input_offset=OFFSET,
    )


def _offset(weights: Int8) -> Int8:
    """The bytes of ``weights + 128``."""
    return (weights.view(np.uint8) ^ 0x80).view(np.int8)


def _scratch(window: Window, pixels: int) -> int:
    """Bytes of the start of the sums, then the inputs: bytes, or words over bytes (see `_fill`)."""
    size = 1 if pixels == 1 else 4 if window.pointwise else 5
    return _HEAD + window.depth * size


def _fill(window: Window, zero: int, pixels: int) -> dict[str, str]:
    """``f(x, first, scratch)``, the last one, and what it calls: stages the inputs of pixels.

    The receptive fields are first laid out as bytes, behind where words are written from the start:
    no word overwrites a byte before it is read.
    """
    depth, called = window.depth, {}
    if window.pointwise:
        text = f"  const int8_t *s = x + first * {depth};\n"
    else:
        name, narrow = im2col.narrow(window, zero, pixels)
        place = f"scratch + {_HEAD + (0 if pixels == 1 else 3 * depth)}"
        called = {name: narrow}
        text = f"  {name}(x, first, {place});\n  const int8_t *s = {place};\n"
    text += f"  uint32_t {', '.join(f'sum{p} = 0' for p in range(pixels))};\n"
    if pixels == 1:
        text += f"  uint8_t *o = (uint8_t *)scratch + {_HEAD};\n"
        text += _runs(depth, ["o[{k}] = (uint8_t)(v = (uint8_t)s[{k}] ^ 128u);", "sum0 += v;"], "s")
        starts = ["sum0"]
    else:
        text += f"  const int8_t *t = s + {depth};\n"
        text += f"  tcnn_word *o = (tcnn_word *)(scratch + {_HEAD});\n"
        lanes = "(uint8_t)s[{k}] | (uint32_t)(uint8_t)t[{k}] << 16"
        steps = [f"v = ({lanes}) ^ 0x00800080u;", "o[{k}] = (int32_t)v;", "sum += v;"]
        for first in range(0, depth, _LANE_STEPS):
            text += "  {\n  uint32_t sum = 0;\n"
            text += _runs(min(_LANE_STEPS, depth - first), steps, "st")
            text += "  sum0 += sum & 0xffffu;\n  sum1 += sum >> 16;\n  }\n"
        starts = ["sum0 + (sum1 << 16)", "sum1"]
    text += "  tcnn_word *const start = (tcnn_word *)scratch;\n"
    text += "".join(
        f"  start[{i}] = -(int32_t)(({value}) * 128u);\n" for i, value in enumerate(starts)
    )
    comment = f"im2col of {pixels} pixels to unsigned " + ("bytes" if pixels == 1 else "halves")
    return called | dict([micro_kernel("lanes", _FILL, text, comment)])


def _runs(count: int, steps: list[str], sources: str) -> str:
    """C that does ``steps`` (of element ``{k}``) ``count`` times, four in a round of a loop."""

    def some(n: int, indent: str) -> str:
        return "".join(f"{indent}{step.format(k=k)}\n" for k in range(n) for step in steps)

    times, rest = divmod(count, 4)
    text = "  uint32_t v;\n"
    if times:
        moves = " ".join(f"{name} += 4;" for name in ("o", *sources))
        text += f"  for (int32_t i = {times}; i > 0; --i) {{\n{some(4, '    ')}    {moves}\n  }}\n"
    if rest:
        text += (
            some(rest, "  ") + "  " + " ".join(f"{n} += {rest};" for n in ("o", *sources)) + "\n"
        )
    return text


def _block(
    depth: int,
    stride: int,
    pixels: int,
    channels: int,
    requantize: Requantize,
    blocking: Blocking,
) -> tuple[str, str]:
    """The int8 of ``pixels`` x ``channels`` outputs whose sums have ``depth`` products."""
    unroll = _unroll(depth, pixels, channels, blocking.unroll)
    element = "uint8_t" if pixels == 1 else "tcnn_word"
    names = [f"{kind}{n}" for n in range(channels) for kind in ("F" if pixels == 1 else "FH")]
    text = f"  const {element} *x = (const {element} *)(scratch + {_HEAD});\n"
    text += "  const uint8_t *w = (const uint8_t *)weights;\n"
    text += "  const tcnn_word *const start = (const tcnn_word *)scratch;\n"
    for name in names:
        text += f"  uint32_t {name} = (uint32_t)start[{int(name[0] == 'H')}];\n"
    text += f"{ARMV6M}\n{_assembly(depth, pixels, channels, unroll, names)}#else\n"
    text += f"  for (int32_t i = {depth}; i > 0; --i) {{\n    const uint32_t v = (uint32_t)*x++;\n"
    for n in range(channels):
        high = f" H{n} += s >> 16;" if pixels == 2 else ""
        text += f"    {{ const uint32_t s = v * w[{n}]; F{n} += s;{high} }}\n"
    text += f"    w += {channels};\n  }}\n#endif\n"
    for n in range(channels):
        first = f"F{n}" if pixels == 1 else f"F{n} - (H{n} << 16)"
        for p, total in enumerate((first, f"H{n}")[:pixels]):
            text += f"  const int32_t a{p}{n} = (int32_t)({total} + (uint32_t)bias[{n}]);\n"
    text += finish(pixels, channels, stride, requantize)
    comment = f"{pixels} pixels x {channels} channels of {depth} products"
    return micro_kernel("thumb1", _BLOCK, text, comment)


def _unroll(depth: int, pixels: int, channels: int, most: int) -> int:
    """Steps in a round of the loop: a divisor of depth, if there is one that is not much smaller."""
    step = 1 + channels * (3 if pixels == 1 else 5)
    most = min(most, _LONGEST_OFFSET // channels, _LONGEST_LOOP // step)
    return next((u for u in range(most, most // 2, -1) if depth % u == 0), most)


def _assembly(depth: int, pixels: int, channels: int, unroll: int, names: list[str]) -> str:
    """The loop over depth as one statement."""
    times, rest = divmod(depth, unroll)
    if times <= 1 and depth * channels <= _LONGEST_OFFSET:
        times, rest = 0, depth
    size = 1 if pixels == 1 else 4

    def steps(count: int) -> list[str]:
        lines = []
        for k in range(count):
            lines.append(f"ldr{'b' if pixels == 1 else ''} %[v], [%[x], #{size * k}]")
            for n in range(channels):
                lines += [f"ldrb %[s], [%[w], #{k * channels + n}]", "muls %[s], %[v], %[s]"]
                lines.append(f"add %[F{n}], %[s]")
                if pixels == 2:
                    lines += ["lsrs %[s], %[s], #16", f"add %[H{n}], %[s]"]
        return lines

    lines = [".syntax unified"]
    if times:
        moves = [f"adds %[x], #{size * unroll}", f"adds %[w], #{channels * unroll}"]
        lines += ["1:", *steps(unroll), *moves]
        lines += ["cmp %[x], %[end]", "bne 1b"] if times > 1 else []
    lines += steps(rest)
    low = names[:_LOW_SUMS]
    outputs = ['[x] "+l"(x)', '[w] "+l"(w)', '[v] "=&l"(v)', '[s] "=&l"(s)']
    outputs += [f'[{name}] "+{"l" if name in low else "h"}"({name})' for name in names]
    inputs = '[end] "h"(end)' if times > 1 else ""
    text = "  uint32_t v, s;\n"
    text += f"  const void *const end = x + {times * unroll};\n" if times > 1 else ""
    body = "".join(f'    "{line}\\n"\n' for line in lines)
    return f'{text}  __asm__ volatile(\n{body}    : {", ".join(outputs)}\n    : {inputs}\n    : "cc", "memory");\n'
