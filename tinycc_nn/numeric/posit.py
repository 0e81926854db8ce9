"""
Posits of 2 to 16 bits: what a code means, and how a real number is rounded to one.

A posit<n, es> is a sign, a regime (a run of equal bits), `es` exponent bits and a fraction, as far
as n bits reach; negative numbers are the two's complement. All values are dyadic and fit float64.

Sources: Gustafson and Yonemoto, "Beating Floating Point at its Own Game: Posit Arithmetic", 2017;
"Standard for Posit Arithmetic (2022)", section 4.1 (rounding), where es is 2.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_BITS = 16


def decode(code: int, n: int, es: int) -> float:
    """The value of a code in 0..2^n - 1; NaN for the code 10...0 (not a real)."""
    if code == 0:
        return 0.0
    if code == 1 << (n - 1):
        return float("nan")
    sign, code = (-1.0, (1 << n) - code) if code >> (n - 1) else (1.0, code)
    body = [code >> i & 1 for i in reversed(range(n - 1))]
    run = next((i for i, bit in enumerate(body) if bit != body[0]), len(body))
    regime = run - 1 if body[0] else -run
    rest = body[run + 1 :]
    exponent = sum(bit << (es - 1 - i) for i, bit in enumerate(rest[:es]))
    fraction = 1.0 + sum(bit * 2.0 ** -(i + 1) for i, bit in enumerate(rest[es:]))
    return float(sign * fraction * 2.0 ** (regime * 2**es + exponent))


@cache
def values(n: int, es: int) -> Array:
    """float64[2^n]: the value of every code."""
    if not 2 <= n <= MAX_BITS or not 0 <= es <= 2:
        raise ValueError(f"posit<{n},{es}>: n must be 2..{MAX_BITS} and es 0..2")
    found = np.array([decode(code, n, es) for code in range(1 << n)])
    found.flags.writeable = False
    return found


@cache
def _limits(n: int, es: int) -> Array:
    """float64[2^(n-1) - 2]: where rounding goes from the positive code i + 1 to i + 2.

    That is the posit of one more bit, which follows the lower code with a 1.
    """
    return np.array([decode(2 * code + 1, n + 1, es) for code in range(1, (1 << (n - 1)) - 1)])


def encode(x: Array, n: int, es: int) -> Array:
    """uint16[...]: the codes of finite float64[...], rounded as the standard says.

    To the nearer code, halves (in the posit of one more bit) to the even code; what isn't 0 becomes
    neither 0 nor not-a-real. ValueError for numbers that are not finite.
    """
    values(n, es)
    if not np.all(np.isfinite(x)):
        raise ValueError("only finite numbers have a posit")
    size, limits = np.abs(x).astype(np.float64), _limits(n, es)
    at = np.searchsorted(limits, size, side="left")
    code = at + 1
    if len(limits):
        tie = limits[np.minimum(at, len(limits) - 1)] == size
        code += tie & (code % 2 == 1) & (at < len(limits))
    code = np.where(size == 0, 0, code)
    return np.asarray(np.where(x < 0, -code & ((1 << n) - 1), code).astype(np.uint16))
