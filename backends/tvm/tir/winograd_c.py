"""C micro-kernels of a Winograd convolution (see ``winograd.py``)."""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir.template import Requantize, micro_kernel
from tinycc_nn.backends.tvm.tir.winograd_tiling import BLOCK, Tiling


def _indented(lines: list[str], indent: str) -> str:
    return "".join(f"{indent}{line}\n" for line in lines)


def _names(letter: str, rows: int, columns: int) -> list[list[str]]:
    return [[f"{letter}{i}{j}" for j in range(columns)] for i in range(rows)]


def _place(tiling: Tiling, tile: str) -> list[str]:
    """C that declares the first output row and column of a tile; beyond the last it is the last."""
    w = tiling.window
    lines = [f"const int32_t q = {tile} < {tiling.tiles} ? {tile} : {tiling.tiles - 1};"]
    places = (("row", f"q / {tiling.across}", w.out_height, tiling.outputs[0]),
              ("column", f"q % {tiling.across}", w.out_width, tiling.outputs[1]))  # fmt: skip
    for name, number, size, step in places:
        lines.append(f"int32_t {name} = {number} * {step};")
        if size % step:
            lines.append(f"{name} = {name} < {size - step} ? {name} : {size - step};")
    return lines


def inputs(tiling: Tiling, zero: int) -> tuple[str, str]:
    """``f(x, tile, v, stage)``: transformed inputs of a tile; ``v`` is the tile's place in its
    block, whose tiles are interleaved.
    """
    w = tiling.window
    text = _indented(_place(tiling, "tile"), "  ")
    text += _indented(
        [
            f"const int32_t top = row - {w.pad[0]}, left = column - {w.pad[1]};",
            f"const int8_t *s = x + (top * {w.width} + left) * {w.channels};",
        ],
        "  ",
    )
    pitch = str(w.width * w.channels)
    if tiling.padded:
        text += f"  int32_t pitch = {pitch};\n" + _stage(tiling, zero)
        pitch = "pitch"
    else:
        text += "  (void)stage;\n"
    text += "  tcnn_word *o = (tcnn_word *)v;\n"
    text += f"  for (int32_t c = 0; c < {w.channels}; c += 4, s += 4) {{\n"
    for expand in ("tcnn_sxtab16", "tcnn_sxtab16_ror8"):
        text += _input_half(tiling, pitch, expand)
    text += "  }"
    signature = "const int8_t *x, int32_t tile, int8_t *v, int8_t *stage"
    return micro_kernel("winograd_input", signature, text, "inputs of a tile, transformed")


def _stage(tiling: Tiling, zero: int) -> str:
    """C that copies a tile that reaches beyond the input, with the padding."""
    w = tiling.window
    height, width = (a.points for a in tiling.axes)
    row = width * w.channels
    return _indented(
        [
            f"if (top < 0 || left < 0 || top > {w.height - height} || left > {w.width - width}) {{",
            "  int8_t *d = stage;",
            "  const int32_t before = left < 0 ? -left : 0;",
            f"  const int32_t after = left > {w.width - width} ? left - {w.width - width} : 0;",
            f"  for (int32_t i = top; i < top + {height}; ++i, d += {row}) {{",
            f"    if (i < 0 || i >= {w.height}) {{",
            f"      __builtin_memset(d, {zero}, {row});",
            "      continue;",
            "    }",
            f"    __builtin_memset(d, {zero}, before * {w.channels});",
            f"    __builtin_memcpy(d + before * {w.channels},",
            f"                     x + (i * {w.width} + left + before) * {w.channels},",
            f"                     ({width} - before - after) * {w.channels});",
            f"    __builtin_memset(d + ({width} - after) * {w.channels}, {zero},",
            f"                     after * {w.channels});",
            "  }",
            "  s = stage;",
            f"  pitch = {row};",
            "}",
        ],
        "  ",
    )


def _input_half(tiling: Tiling, pitch: str, expand: str) -> str:
    """C of one word of two channels: rows of the tile first, then columns."""
    rows, columns = tiling.axes
    channels, stride = tiling.window.channels, tiling.words * tiling.block
    text = f"    {{\n      const int8_t *r = s;\n      uint32_t t[{tiling.points}];\n"
    results = [f"v{j}" for j in range(columns.points)]
    for i in range(rows.points):
        lines = []
        for j in range(columns.points):
            offset = 0x8000 * rows.ones[i] * columns.ones[j] + 0x80
            load = f"tcnn_ld32(r + {j * channels})"
            lines.append(f"const uint32_t d{j} = (uint32_t){expand}({offset}, {load});")
        lines += columns.input_lines([f"d{j}" for j in range(columns.points)], results)
        lines += [f"t[{i * columns.points + j}] = {name};" for j, name in enumerate(results)]
        text += _scope([*lines, f"r += {pitch};"], "t")
    level = 0x80 * rows.level * columns.level
    results = [f"v{i}" for i in range(rows.points)]
    for j in range(columns.points):
        lines = [f"const uint32_t d{i} = t[{i * columns.points + j}];" for i in range(rows.points)]
        lines += rows.input_lines([f"d{i}" for i in range(rows.points)], results)
        for i, name in enumerate(results):
            value = f"({name} - {level}u)" if (i, j) == (1, 1) else name
            at = (i * columns.points + j) * stride
            lines.append(f"o[{at}] = (int32_t)({value} ^ 0x8000u);")
        text += _scope(lines, "t")
    return text + f"      o += {tiling.block};\n    }}\n"


def _scope(lines: list[str], array: str) -> str:
    """C of one step of a transform, a scope of its own."""
    return "      {\n" + _indented([*lines, f"tcnn_keep({array});"], "        ") + "      }\n"


def weights(tiling: Tiling) -> tuple[str, str]:
    """``f(w, u)``: transformed weights of two output channels."""
    rows, columns = tiling.axes
    g, t, u = (_names(letter, rows.points, columns.points) for letter in "gtu")
    text = "  tcnn_word *o = (tcnn_word *)u;\n  for (int32_t n = 0; n < 2; ++n) {\n"
    text += f"    for (int32_t c = 0; c < {tiling.window.channels}; c += 4, w += 36) {{\n"
    for expand in ("tcnn_sxtb16", "tcnn_sxtb16_ror8"):
        text += "      {\n"
        for j in range(3):
            column = [t[i][j] for i in range(rows.points)]
            source = [g[i][j] for i in range(3)]
            lines = [
                f"const int32_t {name} = {expand}(tcnn_ld32(w + {4 * (3 * i + j)}));"
                for i, name in enumerate(source)
            ]
            lines += rows.weight_lines(source, [f"{name}_" for name in column])
            lines += [f"{n} = {n}_;" for n in column]
            text += f"        int32_t {', '.join(column)};\n        {{\n"
            text += _indented(lines, "          ") + "        }\n"
        for i in range(rows.points):
            lines = columns.weight_lines(t[i][:3], u[i])
            for j in range(columns.points):
                at = (i * columns.points + j) * tiling.words * 2
                lines.append(f"o[{at}] = {u[i][j]};")
            text += "        {\n" + _indented(lines, "          ") + "        }\n"
        text += "        o += 2;\n      }\n"
    text += f"    }}\n    o += {1 - tiling.words * 2};\n  }}"
    signature = "const int8_t *w, int8_t *u"
    return micro_kernel("winograd_weights", signature, text, "weights of two channels, transformed")


def products(tiling: Tiling) -> tuple[str, str]:
    """``f(v, u, m)``: for every point, the sums over input channels of a block's tiles and two
    output channels.
    """
    block, words = tiling.block, tiling.words
    first, *rest = [_step(block, k) for k in range(words)]
    text = "  const tcnn_word *x = (const tcnn_word *)v, *w = (const tcnn_word *)u;\n"
    text += "  tcnn_word *o = (tcnn_word *)m;\n"
    text += f"  for (int32_t i = 0; i < {tiling.points}; ++i) {{\n"
    text += f"    int32_t a[{2 * block}];\n" + _indented(first, "    ")
    unroll = 8 if words > 16 else words
    single, times = (words - 1) % unroll, (words - 1) // unroll
    text += "".join(_indented(step, "    ") for step in rest[:single])
    if times:
        text += f"    const tcnn_word *const end = x + {unroll * times * block};\n    do {{\n"
        text += "".join(_indented(step, "      ") for step in rest[:unroll])
        text += "    } while (x != end);\n"
    text += _indented([f"o[{i}] = a[{i}];" for i in range(2 * block)], "    ")
    text += f"    o += {2 * block};\n  }}"
    signature = "const int8_t *v, const int8_t *u, int8_t *m"
    return micro_kernel("winograd_products", signature, text, "products of a block of tiles")


def _step(block: int, number: int) -> list[str]:
    """C of the products of two input channels; number 0 starts the sums."""
    if block == BLOCK:
        return [f"tcnn_{'smlad' if number else 'smuad'}_4x2(&x, &w, a);"]
    lines = [
        f"a[{2 * p + n}] = tcnn_smlad(x[{p}], w[{n}], {f'a[{2 * p + n}]' if number else 0});"
        for p in range(block)
        for n in range(2)
    ]
    return [*lines, f"x += {block};", "w += 2;"]


def outputs(tiling: Tiling, requantize: Requantize) -> tuple[str, str]:
    """``f(m, tile, bias, multiplier, y)``: two channels of the pixels of a block's tiles."""
    rows, columns = tiling.axes
    width, block = tiling.window.out_width, tiling.block
    text = "  const tcnn_word *p = (const tcnn_word *)m;\n"
    text += f"  for (int32_t i = 0; i < {block}; ++i) {{\n"
    text += _indented(_place(tiling, "(tile + i)"), "    ")
    text += f"    int8_t *o = y + (row * {width} + column) * {tiling.channels};\n"
    text += "    for (int32_t n = 0; n < 2; ++n, ++p, ++o) {\n"
    text += f"      uint32_t t[{rows.outputs * columns.points}];\n"
    for j in range(columns.points):
        lines = []
        for i in range(rows.points):
            load = f"(uint32_t)p[{(i * columns.points + j) * 2 * block}]"
            if (i, j) == (1, 1):
                load += f" + (uint32_t)bias[n] * {rows.bias * columns.bias}u"
            lines.append(f"const uint32_t m{i} = {load};")
        results = [f"r{i}" for i in range(rows.outputs)]
        lines += rows.output_lines([f"m{i}" for i in range(rows.points)], results)
        lines += [f"t[{i * columns.points + j}] = {name};" for i, name in enumerate(results)]
        text += _scope(lines, "t")
    source = "n" if requantize.per_channel else "0"
    text += f"      const int32_t factor = multiplier[{source}];\n"
    for i in range(rows.outputs):
        lines = [
            f"const uint32_t m{j} = t[{i * columns.points + j}];" for j in range(columns.points)
        ]
        results = [f"r{j}" for j in range(columns.outputs)]
        lines += columns.output_lines([f"m{j}" for j in range(columns.points)], results)
        for j, name in enumerate(results):
            acc = divided(name, rows.scale[i] * columns.scale[j])
            at = (i * width + j) * tiling.channels
            lines.append(f"const int32_t a{j} = {acc};")
            lines.append(f"o[{at}] = {requantize.c(f'a{j}', 'factor')};")
        text += _scope(lines, "t")
    text += "    }\n  }"
    signature = (
        "const int8_t *m, int32_t tile, const int32_t *bias, const int32_t *multiplier, int8_t *y"
    )
    return micro_kernel("winograd_output", signature, text, "pixels of a block of tiles")


def divided(value: str, scale: int) -> str:
    """C of the exact quotient of a multiple of ``scale``, which is known modulo 2^32."""
    shift = (scale & -scale).bit_length() - 1
    odd = scale >> shift
    product = value if odd == 1 else f"({value} * {pow(odd, -1, 2**32)}u)"
    return f"(int32_t){product} >> {shift}"
