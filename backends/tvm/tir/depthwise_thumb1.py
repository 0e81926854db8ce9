"""Depthwise convolution for cores with Thumb-1 alone: two output rows in one multiplication.

One channel at a time, as a padded plane of words: the low half holds ``x + 128`` of a row of the
upper half of the image, the high half that of the row as far down in the lower half. With a signed
weight ``s = (x0 + 2^16 x1) w`` is below 2^15 in its low half, and a shift by 16 leaves the low half's
sign in the carry: ``H += (s >> 16) + carry`` is exact. With ``F += s`` (modulo 2^32) the upper row's
sum is ``F - 2^16 H``, the lower row's is H.
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir.depthwise_scalar import pack_channels
from tinycc_nn.backends.tvm.tir.depthwise_unrolled import SIGNATURE, channelwise
from tinycc_nn.backends.tvm.tir.plane import Plane
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel
from tinycc_nn.backends.tvm.tir.thumb1 import ARMV6M, OFFSET

COLUMNS = 2
"""Outputs of a row that share a loaded weight: each needs a low register."""

MOST_TAPS = 25
"""Kernel elements, all of which are unrolled."""

_STORED_COLUMNS = 8
"""Words whose bytes a store reaches from one pointer."""

_FURTHEST_WORD = 31
_LARGEST_STEP = 255
"""Of a pointer, in bytes, by one addition."""


def depthwise_thumb1(window: Window, input_zero: int, requantize: Requantize) -> Template:
    """A depthwise convolution with one output channel for each input channel.

    In place where the output is as large as the input. Raises ``ValueError`` for a window that
    `fits` refuses.
    """
    if not fits(window):
        raise ValueError("a kernel this large, or an output of one row, is for other templates")
    plane = Plane(window, -(-window.out_height // 2), wide=False)
    taps = window.kernel[0] * window.kernel[1]
    clear, fill = _clear(plane, input_zero), _fill(plane)
    channel = _channel(plane, requantize)
    in_place = (window.out_height, window.out_width) == (window.height, window.width)
    scratch = 4 * (taps + plane.in_rows * plane.pitch)
    return Template(
        "depthwise-thumb1",
        lambda: channelwise(window, requantize, scratch, (clear[0], fill[0], channel[0])),
        pack_channels,
        dict([clear, fill, channel]),
        scratch,
        in_place,
        input_offset=OFFSET,
    )


def fits(window: Window) -> bool:
    """Whether loads reach all columns of the kernel, and there are two rows to compute at once."""
    reach = (COLUMNS - 1) * window.stride[1] + (window.kernel[1] - 1) * window.dilation[1]
    taps = window.kernel[0] * window.kernel[1]
    return window.out_height > 1 and taps <= MOST_TAPS and reach <= _FURTHEST_WORD


def _words(plane: Plane) -> str:
    taps = plane.window.kernel[0] * plane.window.kernel[1]
    return f"(tcnn_word *)scratch + {taps}"


def _clear(plane: Plane, zero: int) -> tuple[str, str]:
    """``f(scratch)``: the input's zero point everywhere; rows are then filled between pads."""
    body = (
        f"  tcnn_word *p = {_words(plane)};\n"
        f"  for (int32_t i = 0; i < {plane.in_rows * plane.pitch}; ++i)\n"
        f"    p[i] = {(zero + OFFSET) * 0x10001};"
    )
    return micro_kernel("clear", "int8_t *scratch", body, "a plane of the input's zero point")


def _fill(plane: Plane) -> tuple[str, str]:
    """``f(x, scratch)``: the plane of the channel at x."""
    w = plane.window
    text = ""
    for lane in range(2):
        above = lane * plane.rows * w.stride[0] - w.pad[0]  # input row of the plane's first
        first, last = max(0, -above), min(plane.in_rows, w.height - above)
        if last <= first or not plane.columns:  # nothing but padding
            continue
        step = min(plane.columns, _STORED_COLUMNS)
        times, rest = divmod(plane.columns, step)
        some = _elements(step, w.channels)
        if times > 1:
            some = f"    for (int32_t j = {times}; j > 0; --j) {{\n{some}    }}\n"
        text += (
            f"  {{\n  const int8_t *s = x + {(first + above) * w.width * w.channels};\n"
            f"  uint8_t *p = (uint8_t *)({_words(plane)} + {plane.pitch * first + w.pad[1]})"
            f" + {2 * lane};\n  for (int32_t i = {last - first}; i > 0; --i) {{\n"
            f"{some}{_elements(rest, w.channels)}"
            f"    s += {(w.width - plane.columns) * w.channels};\n"
            f"    p += {4 * (plane.pitch - plane.columns)};\n  }}\n  }}\n"
        )
    return micro_kernel("rows", "const int8_t *x, int8_t *scratch", text, "rows of one channel")


def _elements(count: int, channels: int) -> str:
    """C that stages some elements of a row. The upper byte of a half is always 0."""
    if not count:
        return ""
    text = "".join(
        f"      p[{4 * j}] = (uint8_t)(s[{j * channels}] ^ 128);\n" for j in range(count)
    )
    return text + f"      s += {count * channels};\n      p += {4 * count};\n"


def _channel(plane: Plane, requantize: Requantize) -> tuple[str, str]:
    """``f(scratch, w, bias, multiplier, y)``: all outputs of the channel whose plane is filled."""
    w = plane.window
    taps = w.kernel[0] * w.kernel[1]
    full, rest = divmod(w.out_width, COLUMNS)
    lower = plane.rows * w.out_width * w.channels
    text = (
        "  tcnn_word *const taps = (tcnn_word *)scratch;\n"
        f"  for (int32_t i = 0; i < {taps}; ++i)\n    taps[i] = w[i];\n"
        f"  const tcnn_word *line = {_words(plane)};\n"
        "  const uint32_t h = (uint32_t)bias[0], f = h + (h << 16);\n"
        "  const int32_t m = multiplier[0];\n"
        f"  for (int32_t r = 0; r < {plane.rows}; ++r) {{\n    const tcnn_word *v = line;\n"
    )
    both = w.out_height % 2 == 0
    for count, columns in ((full, COLUMNS), (1, rest)):
        if not count * columns:
            continue
        text += f"    for (int32_t j = {count}; j > 0; --j) {{\n{_sums(plane, columns)}"
        for c in range(columns):
            value = requantize.c(f"(int32_t)(F{c} - (H{c} << 16))", "m")
            text += f"      y[{c * w.channels}] = {value};\n"
        text += "" if both else f"      if (r < {w.out_height - plane.rows}) {{\n"
        for c in range(columns):
            place = lower + c * w.channels
            text += f"      y[{place}] = {requantize.c(f'(int32_t)H{c}', 'm')};\n"
        text += "" if both else "      }\n"
        text += f"      y += {columns * w.channels};\n      v += {columns * w.stride[1]};\n    }}\n"
    text += f"    line += {plane.pitch * w.stride[0]};\n  }}\n"
    return micro_kernel("channel", SIGNATURE, text, "one channel, two rows at a time")


def _sums(plane: Plane, columns: int) -> str:
    """C of the sums of ``columns`` outputs of two rows."""
    w = plane.window
    down = plane.pitch * w.dilation[0]
    sums = ", ".join(f"F{c} = f, H{c} = h" for c in range(columns))
    lines, portable = [".syntax unified"], ""
    for ky in range(w.kernel[0]):
        for kx in range(w.kernel[1]):
            tap = ky * w.kernel[1] + kx
            lines.append(f"ldr %[t], [%[taps], #{4 * tap}]")
            for c in range(columns):
                column = c * w.stride[1] + kx * w.dilation[1]
                lines += [
                    f"ldr %[s], [%[p], #{4 * column}]",
                    "muls %[s], %[t], %[s]",
                    f"add %[F{c}], %[s]",
                    "asrs %[s], %[s], #16",
                    f"adcs %[H{c}], %[s]",
                ]
                place = ky * down + column
                portable += f"      s = (uint32_t)v[{place}] * (uint32_t)taps[{tap}];\n"
                portable += f"      F{c} += s;\n      H{c} += (s >> 16 ^ 0x8000u) - 0x8000u"
                portable += " + (s >> 15 & 1u);\n"
        if ky < w.kernel[0] - 1:
            left = 4 * down
            while left > 0:
                lines.append(f"adds %[p], #{min(left, _LARGEST_STEP)}")
                left -= _LARGEST_STEP
    body = "".join(f'        "{line}\\n"\n' for line in lines)
    outputs = ['[p] "+l"(p)', '[t] "=&l"(t)', '[s] "=&l"(s)']
    for c in range(columns):
        outputs += [f'[F{c}] "+h"(F{c})', f'[H{c}] "+l"(H{c})']
    return (
        f"      uint32_t {sums}, s;\n{ARMV6M}\n      const tcnn_word *p = v;\n      int32_t t;\n"
        f"      __asm__ volatile(\n{body}        : {', '.join(outputs)}\n"
        f'        : [taps] "l"(taps)\n        : "cc", "memory");\n#else\n{portable}#endif\n'
    )
