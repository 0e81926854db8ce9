"""Receptive fields of any convolution, and C that lays them in scratch memory one after the other.

A transposed convolution of stride s is s x s ordinary ones, each with some of the taps and with
every s-th output row and column (a `Phase` each); an ordinary convolution is a single phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tinycc_nn.backends.tvm.tir.template import micro_kernel


@dataclass(frozen=True)
class Axis:
    """Rows or columns: output ``first + step * i`` for ``i < count`` reads, with kernel tap
    ``taps[t]``, the input at ``stride * i + offset + dilation * t`` of ``size``, or padding.
    """

    size: int
    count: int
    taps: tuple[int, ...] = (0,)
    stride: int = 1
    offset: int = 0
    dilation: int = 1
    first: int = 0
    step: int = 1

    @property
    def inside(self) -> bool:
        """Nothing is read outside the input."""
        last = self.stride * (self.count - 1) + self.offset + self.dilation * (len(self.taps) - 1)
        return self.offset >= 0 and last < self.size

    @property
    def same(self) -> bool:
        """Each output reads the input of its own number."""
        return len(self.taps) == self.stride == self.step == 1 and self.offset == self.first == 0


@dataclass(frozen=True)
class Phase:
    """Outputs that share their taps."""

    rows: Axis
    columns: Axis

    @property
    def taps(self) -> int:
        return len(self.rows.taps) * len(self.columns.taps)

    @property
    def pointwise(self) -> bool:
        """Each output pixel reads just the input pixel of its own number."""
        return self.rows.same and self.columns.same and self.columns.count == self.columns.size

    @property
    def flat(self) -> bool:
        """The outputs are neighbours, row after row: a strip may go over the end of a row."""
        return self.rows.step == self.columns.step == 1


@dataclass(frozen=True)
class Geometry:
    """A convolution of ``channels`` into ``outputs``, both split into ``groups``, to an image that
    is ``width`` pixels wide.
    """

    channels: int
    outputs: int
    width: int
    phases: tuple[Phase, ...]
    groups: int = 1

    @property
    def per_group(self) -> int:
        """Input channels of a group."""
        return self.channels // self.groups

    @property
    def each(self) -> int:
        """Output channels of a group."""
        return self.outputs // self.groups

    def depth(self, phase: Phase) -> int:
        """Products of a sum."""
        return phase.taps * self.per_group

    @cached_property
    def input_size(self) -> int:
        """Elements of the input."""
        return self.phases[0].rows.size * self.phases[0].columns.size * self.channels

    @cached_property
    def pixels(self) -> int:
        """Output pixels."""
        return sum(p.rows.count * p.columns.count for p in self.phases)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those with padding too."""
        return sum(
            p.rows.count * p.columns.count * self.outputs * self.depth(p) for p in self.phases
        )


def convolved(
    size: int, kernel: int, stride: int, dilation: int, before: int, count: int
) -> tuple[Axis, ...]:
    """The axis of a convolution with ``before`` pixels of padding and ``count`` outputs."""
    return (Axis(size, count, tuple(range(kernel)), stride, -before, dilation),)


def transposed(
    size: int, kernel: int, stride: int, dilation: int, before: int, count: int
) -> tuple[Axis, ...]:
    """The axes of a transposed convolution: output i is the sum of the taps k for which
    ``i + before - k * dilation`` is a multiple of the stride, times the input at the quotient.
    """
    axes = []
    for first in range(min(stride, count)):
        shifts = [(first + before - k * dilation, k) for k in reversed(range(kernel))]
        reads = [(s // stride, k) for s, k in shifts if s % stride == 0]
        step = reads[1][0] - reads[0][0] if len(reads) > 1 else 1
        offset = reads[0][0] if reads else 0
        taps = tuple(k for _, k in reads)
        number = -(-(count - first) // stride)
        axes.append(Axis(size, number, taps, 1, offset, step, first, stride))
    return tuple(axes)


def columns(
    geometry: Geometry, phase: Phase, pixels: int, pitch: int, element: str, fill: int
) -> tuple[str, str]:
    """``f(x, first, scratch)``: the receptive fields of ``pixels`` outputs from number ``first`` of
    the phase, ``pitch`` elements of the C type ``element`` apart.

    ``x`` is the first channel of the group. Padding is bytes of ``fill``.
    """
    rows, across = phase.rows, phase.columns
    size = f" * sizeof({element})" if element != "int8_t" else ""
    run, whole = geometry.per_group, across.dilation == 1 and geometry.groups == 1
    copy = f"__builtin_memcpy(d, s, {{}}{size});"
    clear = f"__builtin_memset(d, {fill}, {{}}{size});"
    lines = [
        f"{element} *d = ({element} *)scratch + p * {pitch};",
        f"const int32_t y0 = (first + p) / {across.count} * {rows.stride} + {rows.offset};",
        f"const int32_t x0 = (first + p) % {across.count} * {across.stride} + {across.offset};",
    ]
    width, taps = across.size, len(across.taps)
    if whole and not across.inside:
        lines += [
            f"const int32_t left = x0 >= 0 ? 0 : x0 > -{taps} ? -x0 : {taps};",
            f"const int32_t past = x0 - {width - taps};",
            f"const int32_t right = past <= 0 ? 0 : past < {taps} ? past : {taps};",
        ]
    lines += [
        f"for (int32_t i = 0; i < {len(rows.taps)}; ++i) {{",
        f"  const int32_t y = y0 + i * {rows.dilation};",
    ]
    if not rows.inside:
        lines += [
            f"  if (y < 0 || y >= {rows.size}) {{",
            f"    {clear.format(taps * run)}",
            f"    d += {taps * run};",
            "    continue;",
            "  }",
        ]
    if whole and across.inside:
        lines += [
            f"  const {element} *s = x + (y * {width} + x0) * {run};",
            f"  {copy.format(taps * run)}",
            f"  d += {taps * run};",
        ]
    elif whole:
        lines += [
            "  if (left) {",
            f"    {clear.format(f'left * {run}')}",
            f"    d += left * {run};",
            "  }",
            f"  const {element} *s = x + (y * {width} + x0 + left) * {run};",
            f"  const int32_t n = ({taps} - left - right) * {run};",
            "  if (n > 0) {",
            f"    {copy.format('n')}",
            "    d += n;",
            "  }",
            "  if (right) {",
            f"    {clear.format(f'right * {run}')}",
            f"    d += right * {run};",
            "  }",
        ]
    else:
        lines += [
            f"  for (int32_t j = 0; j < {taps}; ++j, d += {run}) {{",
            f"    const int32_t k = x0 + j * {across.dilation};",
        ]
        if not across.inside:
            lines += [
                f"    if (k < 0 || k >= {width}) {{",
                f"      {clear.format(run)}",
                "      continue;",
                "    }",
            ]
        lines += [
            f"    const {element} *s = x + (y * {width} + k) * {geometry.channels};",
            f"    {copy.format(run)}",
            "  }",
        ]
    inner = "\n".join(f"    {line}" for line in [*lines, "}"])
    body = f"  for (int32_t p = 0; p < {pixels}; ++p) {{\n{inner}\n  }}"
    signature = f"const {element} *x, int32_t first, int8_t *scratch"
    return micro_kernel("patch", signature, body, f"receptive fields of {pixels} pixels")
