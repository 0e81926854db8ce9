"""Which words of a row of weights meet which words of an int16 plane.

A kernel row is held as the words (w0, w1), (w2, w3)... for outputs that start at an even column and,
where the stride is odd, (w1, w2), (w3, w4)... for odd ones; a tap that stays alone is the upper or
lower half of one of these. With a dilation of columns all taps stay alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycc_nn.backends.tvm.tir.template import Int8, Int32, Window


@dataclass(frozen=True)
class Product:
    """One instruction: it adds to the sum of ``output`` the products of ``word`` of the plane's row
    and ``weight`` of the kernel row's words."""

    output: int
    word: int
    operation: str
    weight: int


def pairs(w: Window) -> list[tuple[int, int | None]]:
    """The taps of a kernel row in the low and the high half of each word."""
    width = w.kernel[1]
    if w.dilation[1] > 1 or w.stride[1] % 2 == 0 or width == 1:
        return [(i, i + 1 if i + 1 < width else None) for i in range(0, width, 2)]
    return [(i, i + 1) for i in (*range(0, width - 1, 2), *range(1, width - 1, 2))]


def pack(weights: Int8, w: Window) -> Int32:
    """(kernel rows, kernel columns, channels), or OHWI with I = 1, as words for each channel and
    kernel row."""
    if weights.ndim == 4:
        weights = weights[:, :, :, 0].transpose(1, 2, 0)
    taps = np.pad(weights.transpose(2, 0, 1).astype(np.int16), ((0, 0), (0, 0), (0, 1)))
    halves = [[low, w.kernel[1] if high is None else high] for low, high in pairs(w)]
    return np.ascontiguousarray(taps[:, :, halves]).view("<i4").ravel()


def row_products(w: Window, count: int) -> list[Product]:
    """Of one kernel row and ``count`` neighbouring outputs, the first of which starts in a low
    half; in the order of the plane's words."""
    found = [p for j in range(count) for p in _products(w, j)]
    return sorted(found, key=lambda p: p.word)


def _products(w: Window, output: int) -> list[Product]:
    start, words = output * w.stride[1], pairs(w)
    found, left = [], set(range(w.kernel[1]))
    for i, (low, high) in enumerate(words):
        column = start + low
        if w.dilation[1] == 1 and column % 2 == 0 and {low, high} <= left:
            found.append(Product(output, column // 2, "smlad", i))
            left -= {low, high}
    for tap in sorted(left):
        weight = next(i for i, pair in enumerate(words) if tap in pair)
        column = start + tap * w.dilation[1]
        halves = f"{'bt'[column % 2]}{'bt'[words[weight].index(tap)]}"
        found.append(Product(output, column // 2, f"smla{halves}", weight))
    return found
