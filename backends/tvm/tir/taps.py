"""C of the part of a window that lies in the image."""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir.template import Window


def inside(w: Window) -> list[str]:
    """Lines that declare, for the output pixel (row, column), its place ``y0``, ``x0`` in the input
    and the taps inside: rows ``i0 <= i < i1``, columns ``j0 <= j < j1``; where there are none, i0 =
    i1 or j0 = j1.
    """
    return [
        *_range(
            "i", "y0", f"row * {w.stride[0]} - {w.pad[0]}", w.kernel[0], w.dilation[0], w.height
        ),
        *_range(
            "j", "x0", f"column * {w.stride[1]} - {w.pad[1]}", w.kernel[1], w.dilation[1], w.width
        ),
    ]


def first(w: Window) -> str:
    """The element of channel 0 at the first tap inside."""
    row, column = f"y0 + i0 * {w.dilation[0]}", f"x0 + j0 * {w.dilation[1]}"
    return f"(({row}) * {w.width} + {column}) * {w.channels}"


def _range(name: str, start: str, place: str, kernel: int, dilation: int, size: int) -> list[str]:
    before = f"-{start}" if dilation == 1 else f"({dilation - 1} - {start}) / {dilation}"
    past = f"{size} - {start}"
    past = past if dilation == 1 else f"({past} + {dilation - 1}) / {dilation}"
    return [
        f"const int32_t {start} = {place};",
        f"int32_t {name}0 = {start} < 0 ? {before} : 0;",
        f"int32_t {name}1 = {start} < {size} ? {past} : 0;",
        f"{name}0 = {name}0 < {kernel} ? {name}0 : {kernel};",
        f"{name}1 = {name}1 < {kernel} ? {name}1 : {kernel};",
        f"{name}1 = {name}1 > {name}0 ? {name}1 : {name}0;",
    ]
