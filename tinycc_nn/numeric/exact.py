"""Integer products at the speed of floating-point BLAS, exact by a range proof."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycc_nn.ir.types import Array


def matmul(a: Array, b: Array) -> Array:
    """[..., m, k] @ [..., k, n] as int64[..., m, n], exactly, for integers in arrays of any dtype.

    Every partial sum is bounded by max|a| times the largest sum of |b| down a column: float32
    holds it up to 2^24, float64 up to 2^53, whatever the order of the additions. Beyond that
    numpy's integers take over.
    """
    bound = _bound(a, b)
    if bound < 2**24:
        return _product(a, b, np.float32)
    if bound < 2**53:
        return _product(a, b, np.float64)
    return np.asarray(a.astype(np.int64) @ b.astype(np.int64))


def fits_float32(a: Array, b: Array) -> bool:
    """Whether float32 holds every partial sum of a[..., k] down the columns of b[k, n]."""
    return _bound(a, b) < 2**24


def _bound(a: Array, b: Array) -> float:
    columns = np.abs(b.astype(np.float64)).sum(axis=-2)
    return _largest(a) * float(columns.max(initial=0.0))


def _product(a: Array, b: Array, dtype: type[np.floating[Any]]) -> Array:
    return np.asarray((a.astype(dtype, copy=False) @ b.astype(dtype, copy=False)).astype(np.int64))


def _largest(x: Array) -> float:
    return max(-float(x.min()), float(x.max())) if x.size else 0.0
