"""Integer products at the speed of floating-point BLAS, exact by a range proof."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycc_nn.ir.types import Array


def matmul(a: Array, b: Array) -> Array:
    """[..., m, k] @ [..., k, n] as int64[..., m, n], exactly, for integers in arrays of any dtype.

    Where `product_dtype` finds no floats that hold every sum, numpy's integers take over.
    """
    dtype = product_dtype(largest(a), b)
    return np.asarray((a.astype(dtype, copy=False) @ b.astype(dtype, copy=False)).astype(np.int64))


def product_dtype(most: float, b: Array) -> np.dtype[Any]:
    """In which dtype a[..., m, k] @ b[k, n] is exact, for integers up to `most` in magnitude in a.

    Every partial sum is bounded by `most` times the largest sum of |b| down a column: float32
    holds it up to 2^24, float64 up to 2^53, whatever the order of the additions; int64 beyond.
    """
    columns = np.abs(b.astype(np.float64)).sum(axis=-2)
    bound = most * float(columns.max(initial=0.0))
    return np.dtype(np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else np.int64)


def largest(x: Array) -> float:
    """The largest magnitude; 0 of nothing."""
    return max(-float(x.min()), float(x.max())) if x.size else 0.0
