"""What an operator is: the facts that every part of the compiler asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from inspect import Parameter, signature
from math import inf

from tinycc_nn.ir.graph import Attr, Op
from tinycc_nn.ir.types import Array, Quant, TensorType


class Int8(Enum):
    """How an operator works on int8 tensors."""

    NONE = "none"
    """Only on floats."""
    STORAGE = "storage"
    """It moves stored elements: result and operands share one scale and zero point."""
    REQUANTIZE = "requantize"
    """It computes with integers; the result has a scale and a zero point of its own."""


@dataclass(frozen=True)
class Attribute:
    """An attribute, its default (whose type it must have) or its type if it has no default."""

    name: str
    default: Attr | type
    doc: str

    @property
    def required(self) -> bool:
        return isinstance(self.default, type)

    @property
    def kind(self) -> type:
        return self.default if isinstance(self.default, type) else type(self.default)


def no_macs(op: Op) -> int:
    del op
    return 0


@dataclass(frozen=True)
class OpDef:
    """
    infer:  the types of the results, from operands and attributes; TinyccError if they don't fit.
            Quantizations are not inferred, except by storage operators.
    run:    the meaning, from stored arrays to the stored result. Arrays have a leading sample
            axis: [samples, *shape], where constants have one sample. Float operators compute in
            float32; on int8 operands the meaning is integer and exact.
    roles:  what each operand is, "x" for activations, "weight" (per channel along axis 0),
            "bias" (int32 at scale x * weight); the last one stands for all further operands.
    macs:   multiply-accumulates of one inference.
    int16:  it also computes and requantizes int16 (what moves stored elements moves these too).
    output: the quantization that an int8 result always has, if it is fixed by the meaning.
    alias:  the result is the operand's storage, seen in another shape.
    """

    name: str
    doc: str
    infer: Callable[[Op], tuple[TensorType, ...]]
    run: Callable[..., Array]
    attrs: tuple[Attribute, ...] = ()
    roles: tuple[str, ...] = ("x",)
    macs: Callable[[Op], int] = no_macs
    int8: Int8 = Int8.NONE
    int16: bool = False
    output: Quant | None = None
    alias: bool = False
    elementwise: bool = False

    @cached_property
    def arity(self) -> tuple[int, float]:
        """The least and the largest number of operands: what `run` takes beside the op."""
        given = list(signature(self.run).parameters.values())[1:]
        least = sum(p.default is p.empty and p.kind != Parameter.VAR_POSITIONAL for p in given)
        many = any(p.kind == Parameter.VAR_POSITIONAL for p in given)
        return least, inf if many else len(given)

    def attribute(self, name: str) -> Attribute | None:
        return next((a for a in self.attrs if a.name == name), None)

    def role(self, index: int) -> str:
        return self.roles[min(index, len(self.roles) - 1)]
