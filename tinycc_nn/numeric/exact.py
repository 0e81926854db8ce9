"""Integer products at the speed of floating-point BLAS, exact by a range proof."""

from __future__ import annotations

import numpy as np

from tinycc_nn.ir.types import Array


def matmul(a: Array, b: Array) -> Array:
    """int[..., m, k] @ int[..., k, n] as int64[..., m, n], exactly.

    Every partial sum is bounded by k * max|a| * max|b|: float32 holds it up to 2^24, float64 up
    to 2^53, whatever the order of the additions. Beyond that numpy's integers take over.
    """
    bound = a.shape[-1] * _largest(a) * _largest(b)
    if bound < 2**24:
        return np.asarray((a.astype(np.float32) @ b.astype(np.float32)).astype(np.int64))
    if bound < 2**53:
        return np.asarray((a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64))
    return np.asarray(a.astype(np.int64) @ b.astype(np.int64))


def _largest(x: Array) -> int:
    return max(abs(int(x.min())), abs(int(x.max()))) if x.size else 0
