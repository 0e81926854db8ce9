"""Arrays of ONNX tensors, and what may become a constant of the IR."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.types import Array

if TYPE_CHECKING:
    from onnx import TensorProto

MAX_ELEMENTS = 1 << 28
"""A tensor known at compile time that is larger than this is a mistake in the model."""

_KINDS = "fiub"


def type_name(elem_type: int) -> str:
    """`int64`, `float`, ... for a number of ONNX's enum of element types."""
    from onnx import TensorProto

    known = {v: k for k, v in TensorProto.DataType.items()}
    return str(known.get(elem_type, f"type {elem_type}")).lower()


def to_array(t: TensorProto) -> Array:
    """The array of a tensor: float32, float64, an integer type, or bool.

    float16 and bfloat16 become float32, 4-bit integers 8-bit ones. TinyccError for other element
    types and where the data does not fit the shape.
    """
    from onnx import numpy_helper

    name = type_name(t.data_type)
    if prod(t.dims) > MAX_ELEMENTS or any(d < 0 for d in t.dims):
        raise TinyccError(f"the tensor '{t.name}' has the impossible shape {list(t.dims)}")
    try:
        array = np.asarray(numpy_helper.to_array(t))
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as e:
        raise TinyccError(
            f"the tensor '{t.name}' ({name}{list(t.dims)}) can't be read: {e}", hint="export again"
        ) from None
    if name in ("float16", "bfloat16"):
        return array.astype(np.float32)
    if name in ("int4", "uint4"):
        return array.astype(np.int8 if name == "int4" else np.uint8)
    if array.dtype.kind not in _KINDS:
        raise TinyccError(f"the tensor '{t.name}' has elements of type {name}", hint="use float32")
    return array


def as_float32(array: Array) -> Array:
    """Floats as float32, where finite numbers too large for it become its largest."""
    if array.dtype != np.float64:
        return array.astype(np.float32, copy=False)
    limit = float(np.finfo(np.float32).max)
    clipped = np.where(np.isfinite(array), np.clip(array, -limit, limit), array)
    return np.asarray(clipped.astype(np.float32))


def check_size(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape; ValueError if a compile-time array of that shape makes no sense."""
    if any(n < 0 for n in shape) or prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"the shape {list(shape)} is impossible")
    return shape
