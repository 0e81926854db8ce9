"""One channel of some rows of an NHWC input in scratch memory, with the padding around it."""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.backends.tvm.tir.template import Window, micro_kernel

_UNROLLED_COLUMNS = 16


@dataclass(frozen=True)
class Plane:
    """What ``rows`` output rows need. ``wide``: int16 elements, rows of whole words; else int8.
    ``together``: elements (wide ones) that are all loaded before the first is stored, which suits
    cores where a load behind a load is a cycle shorter.
    """

    window: Window
    rows: int
    wide: bool
    together: int = 1

    @property
    def whole(self) -> bool:
        """All output rows at once."""
        return self.rows == self.window.out_height

    @property
    def in_rows(self) -> int:
        w = self.window
        return (self.rows - 1) * w.stride[0] + (w.kernel[0] - 1) * w.dilation[0] + 1

    @property
    def pitch(self) -> int:
        """Elements of a row."""
        w = self.window
        columns = (w.out_width - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1
        return columns + columns % 2 if self.wide else columns

    @property
    def nbytes(self) -> int:
        return self.in_rows * self.pitch * (2 if self.wide else 1)

    @property
    def in_place(self) -> bool:
        """A channel is read as a whole before its outputs, as many, are written."""
        w = self.window
        return self.whole and (w.out_height, w.out_width) == (w.height, w.width)

    @property
    def strips(self) -> int:
        """How many times scratch memory is filled for a channel."""
        return -(-self.window.out_height // self.rows)

    @property
    def _element(self) -> str:
        return "tcnn_half" if self.wide else "int8_t"

    @property
    def columns(self) -> int:
        """Input columns that are read."""
        return max(0, min(self.window.width, self.pitch - self.window.pad[1]))

    def clear(self, zero: int) -> tuple[str, str]:
        """``f(scratch)``: the input's zero point everywhere; rows are then filled between pads."""
        body = (
            f"  {self._element} *p = ({self._element} *)scratch;\n"
            f"  for (int32_t i = 0; i < {self.in_rows * self.pitch}; ++i)\n    p[i] = {zero};"
        )
        return micro_kernel("clear", "int8_t *scratch", body, "a plane of the input's zero point")

    def fill(self, zero: int) -> tuple[str, str]:
        """``f(x, row, scratch)``: what output rows from ``row`` need of the channel at x."""
        w = self.window
        stride, top, left = w.width * w.channels, w.pad[0], w.pad[1]
        if self.whole:
            first, count = top, max(0, min(w.height, self.in_rows - top))
            start, check = "  (void)row;\n", ""
        else:
            first, count = 0, self.in_rows
            start = f"  int32_t iy = row * {w.stride[0]} - {top};\n  x += iy * {stride};\n"
            check = self._outside_row(zero)
        copy, step = self._copy_row()
        body = (
            f"  {self._element} *p = ({self._element} *)scratch + {self.pitch * first + left};\n"
            f"{start}  for (int32_t i = 0; i < {count}; ++i) {{\n{check}{copy}"
            f"    x += {stride - step * w.channels};\n    p += {self.pitch - step};\n  }}"
        )
        signature = "const int8_t *x, int32_t row, int8_t *scratch"
        return micro_kernel("plane", signature, body, "rows of one channel")

    def _copy_row(self) -> tuple[str, int]:
        """C that copies a row of one channel, and by how many columns it moves x and p on."""
        columns, channels = self.columns, self.window.channels
        if columns <= _UNROLLED_COLUMNS:
            return self._copies(columns, "    "), 0
        step = _UNROLLED_COLUMNS // 2
        full, rest = divmod(columns, step)
        text = (
            f"    for (int32_t j = 0; j < {full}; ++j) {{\n{self._copies(step, '      ')}"
            f"      x += {step * channels};\n      p += {step};\n    }}\n"
        )
        return text + self._copies(rest, "    "), full * step

    def _copies(self, count: int, indent: str) -> str:
        """Some columns."""
        channels = self.window.channels
        if self.together == 1:
            return "".join(f"{indent}p[{j}] = x[{j * channels}];\n" for j in range(count))
        text = ""
        for first in range(0, count, self.together):
            group = range(first, min(first + self.together, count))
            text += indent + "{\n"
            for j in group:
                text += f"{indent}  const int32_t v{j} = x[{j * channels}];\n"
            text += self._stores(group, indent + "  ") + indent + "}\n"
        return text

    def _stores(self, group: range, indent: str) -> str:
        """Whole words where two neighbours lie in one."""
        text, j = "", group.start
        while j < group.stop:
            if (self.window.pad[1] + j) % 2 == 0 and j + 1 < group.stop:
                text += f"{indent}*(tcnn_word *)(p + {j}) = tcnn_pkhbt(v{j}, v{j + 1});\n"
                j += 2
            else:
                text += f"{indent}p[{j}] = (int16_t)v{j};\n"
                j += 1
        return text

    def _outside_row(self, zero: int) -> str:
        w = self.window
        return (
            f"    if (iy < 0 || iy >= {w.height}) {{\n"
            f"      for (int32_t j = 0; j < {self.columns}; ++j)\n        p[j] = {zero};\n"
            f"      ++iy;\n      x += {w.width * w.channels};\n      p += {self.pitch};\n"
            "      continue;\n    }\n    ++iy;\n"
        )
