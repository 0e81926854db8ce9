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

    `sizes` gives numbers to open dimensions, by their name in the model or as `INPUT.AXIS`. The
    first dimension of an input, if it is still open, is the batch and becomes 1.
    """
    names = {name for v in inputs for d in _dims(v) if not isinstance(d, int) for name in d}
    for name, size in sizes.items():
        if name not in names:
            hint = nearest(name, names) if names else "all dimensions are fixed"
            raise TinyccError(f"the model has no symbolic dimension '{name}'", where, hint)
        if size < 1:
            raise TinyccError(f"the dimension {name}={size} must be positive", where)
    batches = [b for v in inputs if not sizes.keys() & (b := _batch(v))]
    known = {name: 1 for b in batches for name in b} | dict(sizes)
    unknown = sorted(
        {d[-1] for v in inputs for d in _dims(v) if not isinstance(d, int) and not known.keys() & d}
    )
    if unknown:
        raise TinyccError(
            f"the model has symbolic dimensions: {', '.join(unknown)}",
            where,
            f"give each a number: {' '.join(f'--input-dim {n}=N' for n in unknown)}",
        )
    return {v.name: _type(v, known, where) for v in inputs}


Dim = int | tuple[str, ...]
"""A size, or the names of an open dimension: `INPUT.AXIS`, and the model's own if it has one."""


def _dims(v: ValueInfoProto) -> list[Dim]:
    def dim(axis: int, value: int, name: str) -> Dim:
        return value if value > 0 else (f"{v.name}.{axis}", *([name] if name else []))

    return [dim(i, d.dim_value, d.dim_param) for i, d in enumerate(v.type.tensor_type.shape.dim)]


def _batch(v: ValueInfoProto) -> set[str]:
    """The names of the first dimension, if it is open."""
    first = _dims(v)[:1]
    return set(first[0]) if first and not isinstance(first[0], int) else set()


def _type(v: ValueInfoProto, sizes: Mapping[str, int], where: str) -> TensorType:
    if not v.type.HasField("tensor_type") or not v.type.tensor_type.HasField("shape"):
        raise TinyccError(f"the input '{v.name}' is not a tensor of a known shape", where)
    element = type_name(v.type.tensor_type.elem_type)
    if element not in ELEMENTS:
        raise TinyccError(
            f"the input '{v.name}' is {element}", where, "inputs are float (32 bits), int8 or uint8"
        )
    shape = tuple(
        d if isinstance(d, int) else next(sizes[n] for n in d if n in sizes) for d in _dims(v)
    )
    t = TensorType(ELEMENTS[element], shape)
    if t.size > MAX_ELEMENTS:
        raise TinyccError(f"the input '{v.name}' has the impossible shape {list(shape)}", where)
    return t
