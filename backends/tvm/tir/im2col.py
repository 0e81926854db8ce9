"""C micro-kernels that lay the receptive fields of output pixels in scratch memory.

The wide form is for the DSP extension: four int8 become two words of int16 lanes (bytes 0 and 2,
then 1 and 3, as SXTB16 gives them), interleaved over the ``pixels`` of a strip. The narrow form
keeps int8, one pixel after the other. Depth is filled up with zeros to a multiple of 4 (wide).
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir.template import Window, micro_kernel

_SIGNATURE = "const int8_t *x, int32_t first, int8_t *scratch"


def padded_depth(window: Window) -> int:
    """Depth as a multiple of 4."""
    return -(-window.depth // 4) * 4


def wide_bytes(window: Window, pixels: int) -> int:
    """Scratch bytes of the wide form for a strip."""
    staged = 0 if window.channels % 4 == 0 else padded_depth(window)
    return 2 * pixels * padded_depth(window) + staged


def wide(window: Window, zero: int, pixels: int) -> tuple[str, str]:
    """``f(x, first, scratch)``: ``pixels`` output pixels from number ``first``, as int16 lanes."""
    words = padded_depth(window) // 4
    start = "    tcnn_word *o = (tcnn_word *)scratch + p;\n"
    if window.channels % 4 == 0:
        body = start + _rows(window, _Wide(zero, pixels))
    else:
        column = f"scratch + {2 * pixels * padded_depth(window)}"
        tail = padded_depth(window) - window.depth
        zeros = f"    __builtin_memset(d, 0, {tail});\n" if tail else ""
        body = (
            f"    int8_t *d = {column};\n" + _rows(window, _Narrow(zero)) + zeros + start
            + f"    const int8_t *c = {column};\n"
            + _loop(f"{words}", _expand("c", pixels), "    ")
        )  # fmt: skip
    return micro_kernel(
        "columns16", _SIGNATURE, _pixels(body, pixels), f"im2col of {pixels} pixels to int16 lanes"
    )


def narrow(window: Window, zero: int, pixels: int, pitch: int = 0) -> tuple[str, str]:
    """``f(x, first, scratch)``: ``pixels`` output pixels from number ``first``, as int8.

    They lie ``pitch`` bytes apart, filled up with zeros; 0: without gaps.
    """
    pitch = pitch or window.depth
    body = f"    int8_t *d = scratch + p * {pitch};\n" + _rows(window, _Narrow(zero))
    if pitch > window.depth:
        body += f"    __builtin_memset(d, 0, {pitch - window.depth});\n"
    return micro_kernel("columns8", _SIGNATURE, _pixels(body, pixels), f"im2col of {pixels} pixels")


class _Wide:
    """Runs of whole input pixels whose channels are a multiple of 4, expanded to int16 lanes."""

    def __init__(self, zero: int, pixels: int) -> None:
        lane = zero & 0xFFFF
        self.zero = f"(int32_t)0x{lane << 16 | lane:08x}u"
        self.pixels = pixels

    def copy(self, count: str, channels: int, indent: str) -> str:
        words = channels // 4
        unroll = max(u for u in (4, 3, 2, 1) if words % u == 0)
        return _loop(_times(count, words // unroll), _expand("s", self.pixels) * unroll, indent)

    def fill(self, count: str, channels: int, indent: str) -> str:
        p = self.pixels
        return _loop(
            _times(count, channels // 4),
            [f"o[0] = o[{p}] = {self.zero};", f"o += {2 * p};"],
            indent,
        )


class _Narrow:
    """Runs of input pixels as they are."""

    def __init__(self, zero: int) -> None:
        self.zero = zero

    def copy(self, count: str, channels: int, indent: str) -> str:
        n = _times(count, channels)
        return f"{indent}__builtin_memcpy(d, s, {n});\n{indent}d += {n};\n"

    def fill(self, count: str, channels: int, indent: str) -> str:
        n = _times(count, channels)
        return f"{indent}__builtin_memset(d, {self.zero}, {n});\n{indent}d += {n};\n"


def _times(count: str, factor: int) -> str:
    if count.isdigit():
        return str(int(count) * factor)
    return count if factor == 1 else f"({count}) * {factor}"


def _expand(source: str, pixels: int) -> list[str]:
    """Four int8 to two words of int16 lanes."""
    return [
        f"v = tcnn_ld32({source});",
        f"{source} += 4;",
        "o[0] = tcnn_sxtb16(v);",
        f"o[{pixels}] = tcnn_sxtb16_ror8(v);",
        f"o += {2 * pixels};",
    ]


def _loop(count: str, lines: list[str], indent: str) -> str:
    declared = ["int32_t v;"] if any("v =" in line for line in lines) else []
    inner = "".join(f"{indent}  {line}\n" for line in [*declared, *lines])
    return f"{indent}for (int32_t i = {count}; i > 0; --i) {{\n{inner}{indent}}}\n"


def _pixels(body: str, pixels: int) -> str:
    return f"  for (int32_t p = 0; p < {pixels}; ++p) {{\n{body}  }}"


def _rows(w: Window, form: _Wide | _Narrow) -> str:
    """C that writes the receptive field of output pixel ``first + p``, row after row."""
    if w.pointwise:
        return f"    const int8_t *s = x + (first + p) * {w.channels};\n" + form.copy(
            "1", w.channels, "    "
        )
    (kh, kw), (dy, dx), c = w.kernel, w.dilation, w.channels
    lines = [
        f"    const int32_t y0 = (first + p) / {w.out_width} * {w.stride[0]} - {w.pad[0]};",
        f"    const int32_t x0 = (first + p) % {w.out_width} * {w.stride[1]} - {w.pad[1]};",
    ]
    text = "\n".join(lines) + "\n"
    columns_inside = w.pad[1] == 0 and w.pad[3] == 0
    rows_inside = w.pad[0] == 0 and w.pad[2] == 0
    if not columns_inside and dx == 1:
        text += _outside("left", "-x0", kw, w.pad[1])
        text += _outside("right", f"x0 - {w.width - kw}", kw, w.pad[3])
    row = "y0 + ky" if dy == 1 else f"y0 + ky * {dy}"
    text += f"    for (int32_t ky = 0; ky < {kh}; ++ky) {{\n      const int32_t iy = {row};\n"
    indent = "      "
    if not rows_inside:
        text += f"      if (iy < 0 || iy >= {w.height}) {{\n"
        text += form.fill(str(kw), c, "        ") + "        continue;\n      }\n"
    if dx == 1 and columns_inside:
        text += f"{indent}const int8_t *s = x + (iy * {w.width} + x0) * {c};\n"
        text += form.copy(str(kw), c, indent)
    elif dx == 1:
        text += form.fill("left", c, indent)
        text += f"{indent}const int8_t *s = x + (iy * {w.width} + x0 + left) * {c};\n"
        text += form.copy(f"{kw} - left - right", c, indent) + form.fill("right", c, indent)
    else:
        text += f"{indent}for (int32_t kx = 0; kx < {kw}; ++kx) {{\n"
        text += f"{indent}  const int32_t ix = x0 + kx * {dx};\n"
        if not columns_inside:
            text += f"{indent}  if (ix < 0 || ix >= {w.width}) {{\n"
            text += form.fill("1", c, indent + "    ") + f"{indent}    continue;\n{indent}  }}\n"
        text += f"{indent}  const int8_t *s = x + (iy * {w.width} + ix) * {c};\n"
        text += form.copy("1", c, indent + "  ") + f"{indent}}}\n"
    return text + "    }\n"


def _outside(name: str, count: str, kernel: int, pad: int) -> str:
    """Columns of a kernel row that are outside the input on one side."""
    text = f"    int32_t {name} = {count} > 0 ? {count} : 0;\n"
    if pad > kernel:
        text += f"    {name} = {name} < {kernel} ? {name} : {kernel};\n"
    return text
