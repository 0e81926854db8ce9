"""const: an array known at compile time."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import Array, Blob, DType, TensorType
from tinycc_nn.ops.definition import Attribute, OpDef


def _blob(op: Op) -> Blob:
    blob = op.attrs["value"]
    assert isinstance(blob, Blob)
    return blob


def infer(op: Op) -> tuple[TensorType, ...]:
    array = _blob(op).array
    book = op.type.dtype.book if op.results else None
    if book is None:
        return (TensorType(DType.of(array), array.shape),)
    if array.dtype != book.storage:
        message = f"codes of {op.type.dtype} are stored as {book.storage}, not {array.dtype}"
        raise TinyccError(message, op.loc or str(op.result))
    for code in np.unique(array).tolist():
        if code >= len(book.used) or not book.used[code]:
            raise TinyccError(f"{code} is no code of {op.type.dtype}", op.loc or str(op.result))
    return (TensorType(op.type.dtype, array.shape),)


def run(op: Op) -> Array:
    return _blob(op).array[None]


OPS = (
    OpDef(
        "const",
        "an array known at compile time",
        infer,
        run,
        (Attribute("value", Blob, "the array, as stored"),),
        roles=(),
    ),
)
