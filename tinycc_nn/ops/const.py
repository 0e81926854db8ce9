"""const: an array known at compile time."""

from __future__ import annotations

from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import Array, Blob, DType, TensorType
from tinycc_nn.ops.definition import Attribute, OpDef


def _blob(op: Op) -> Blob:
    blob = op.attrs["value"]
    assert isinstance(blob, Blob)
    return blob


def infer(op: Op) -> tuple[TensorType, ...]:
    array = _blob(op).array
    return (TensorType(DType.of(array), array.shape),)


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
