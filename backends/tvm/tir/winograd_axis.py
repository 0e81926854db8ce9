"""The transforms of Winograd's F(2,3) and F(4,3) along one axis, with integers only.

``outputs x scale = OUTPUT ((WEIGHT g) * (INPUT d))`` for three weights ``g`` and ``points`` inputs
``d``, where ``*`` multiplies element by element. Every row of the usual matrices with fractions is
multiplied by a factor, and each output has a scale of its own. After A. Lavin, S. Gray, "Fast
Algorithms for Convolutional Neural Networks", 2016, with the points 0, 1, -1 (2, -2) and infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Names = Sequence[str]


@dataclass(frozen=True)
class Axis:
    """
    outputs: how many are computed together (m); each needs 3 inputs, all of them ``points``.
    scale:   what each output is multiplied with: a power of two times a power of three.
    bias:    a bias times this, added to product 1, adds the bias to every output times its scale.
    ones:    inputs that make all transformed inputs 1.
    level:   transformed input 1 of inputs that are all 1; the others are 0.
    weight:  matrix of the weights' transform.
    input:   matrix of the inputs' transform.
    """

    outputs: int
    scale: tuple[int, ...]
    bias: int
    ones: tuple[int, ...]
    level: int
    weight: npt.NDArray[np.int64]
    input: npt.NDArray[np.int64]

    @property
    def points(self) -> int:
        return self.outputs + 2

    def input_lines(self, d: Names, v: Names) -> list[str]:
        """C (unsigned) of the transform of ``d``, declaring ``v``."""
        if self.outputs == 2:
            lines = [f"{d[0]} - {d[2]}", f"{d[1]} + {d[2]}", f"{d[2]} - {d[1]}", f"{d[3]} - {d[1]}"]
            return _declare(v, lines)
        return [
            f"const uint32_t c = {d[4]} - {d[2]}, e = {d[3]} - {d[1]};",
            f"const uint32_t a = {d[4]} - ({d[2]} << 2), b = {d[3]} - ({d[1]} << 2);",
            *_declare(
                v,
                [
                    f"c + (({d[0]} - {d[2]}) << 2)", "a + b", "a - b", "c + (e << 1)",
                    "c - (e << 1)", f"{d[5]} - {d[3]} - (e << 2)",
                ],
            ),
        ]  # fmt: skip

    def weight_lines(self, g: Names, u: Names) -> list[str]:
        """C of the transform of words of int16 lanes, declaring ``u``."""
        h = [f"const int32_t h = tcnn_sadd16({g[0]}, {g[2]});"]
        sums = [f"tcnn_sadd16(h, {g[1]})", f"tcnn_ssub16(h, {g[1]})"]
        if self.outputs == 4:
            h += [
                f"const int32_t i = tcnn_sadd16({g[2]}, {g[2]});",
                f"const int32_t j = tcnn_sadd16({g[0]}, tcnn_sadd16(i, i));",
                f"const int32_t k = tcnn_sadd16({g[1]}, {g[1]});",
            ]
            sums += ["tcnn_sadd16(j, k)", "tcnn_ssub16(j, k)"]
        return [*h, *_declare(u, [g[0], *sums, g[2]], "int32_t")]

    def output_lines(self, m: Names, y: Names) -> list[str]:
        """C (unsigned) of the transform of ``m``, declaring ``y``."""
        start = f"const uint32_t s = {m[1]} + {m[2]}, d = {m[1]} - {m[2]};"
        if self.outputs == 2:
            return [start, *_declare(y, [f"s + ({m[0]} << 1)", f"d + ({m[3]} << 1)"])]
        return [
            start,
            f"const uint32_t p = {m[3]} + {m[4]}, q = {m[3]} - {m[4]};",
            f"const uint32_t z = {m[0]} + ({m[0]} << 1), i = {m[5]} + ({m[5]} << 1);",
            *_declare(
                y,
                ["p + ((z - (s << 1)) << 1)", "q - (d << 1)", "p - s", "((q + i) << 1) - d"],
            ),
        ]  # fmt: skip


def _declare(names: Names, values: Names, kind: str = "uint32_t") -> list[str]:
    return [f"const {kind} {n} = {v};" for n, v in zip(names, values, strict=True)]


TWO = Axis(
    2, (2, 2), 2, (2, 0, 1, 1), 2,
    np.array([[1, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 1]]),
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
)  # fmt: skip
FOUR = Axis(
    4, (24, 12, 6, 6), -6, (0, 0, 0, 0, 1, 1), -6,
    np.array([[1, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 1]]),
    np.array([
        [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
    ]),
)  # fmt: skip
AXES = {2: TWO, 4: FOUR}
"""By the number of outputs."""
