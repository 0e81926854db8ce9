"""The inputs of a model: their element types and their dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.types import F32, I8, TensorType
from tinycc_nn.onnx.tensors import MAX_ELEMENTS, type_name

if TYPE_CHECKING:
    from onnx import ValueInfoProto

ELEMENTS = {"float": F32, "int8": I8, "uint8": I8}


def input_types(
    inputs: Sequence[ValueInfoProto], sizes: Mapping[str, int], where: str
) -> dict[str, TensorType]:
    """The type of each input by name; TinyccError for an open dimension or an unfit type.

    A symbolic dimension is called by its name in the model, an open one without a name
    `INPUT.AXIS`. `sizes` gives them numbers. The first dimension of an input, if it is still
    open, is the batch and becomes 1.
    """
    open_dims = {name for v in inputs for name in _dims(v) if isinstance(name, str)}
    for name, size in sizes.items():
        if name not in open_dims:
            hint = nearest(name, open_dims) if open_dims else "all dimensions are fixed"
            raise TinyccError(f"the model has no symbolic dimension '{name}'", where, hint)
        if size < 1:
            raise TinyccError(f"the dimension {name}={size} must be positive", where)
    batch = {dims[0] for v in inputs if (dims := _dims(v))}
    unknown = sorted(open_dims - set(sizes) - batch)
    if unknown:
        raise TinyccError(
            f"the model has symbolic dimensions: {', '.join(unknown)}",
            where,
            f"give each a number: {' '.join(f'--input-dim {n}=N' for n in unknown)}",
        )
    return {v.name: _type(v, sizes, where) for v in inputs}


def _dims(v: ValueInfoProto) -> list[int | str]:
    """Sizes, and names of those that are open."""
    dims = v.type.tensor_type.shape.dim
    return [
        d.dim_value if d.dim_value > 0 else d.dim_param or f"{v.name}.{i}"
        for i, d in enumerate(dims)
    ]


def _type(v: ValueInfoProto, sizes: Mapping[str, int], where: str) -> TensorType:
    if not v.type.HasField("tensor_type") or not v.type.tensor_type.HasField("shape"):
        raise TinyccError(f"the input '{v.name}' is not a tensor of a known shape", where)
    element = type_name(v.type.tensor_type.elem_type)
    if element not in ELEMENTS:
        raise TinyccError(
            f"the input '{v.name}' is {element}", where, "inputs are float (32 bits), int8 or uint8"
        )
    shape = tuple(d if isinstance(d, int) else sizes.get(d, 1) for d in _dims(v))
    t = TensorType(ELEMENTS[element], shape)
    if t.size > MAX_ELEMENTS:
        raise TinyccError(f"the input '{v.name}' has the impossible shape {list(shape)}", where)
    return t
