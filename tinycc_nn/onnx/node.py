"""A node in the course of being read: what a reader sees (`tinycc_nn.reader.Node`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr, Graph, Value
from tinycc_nn.ir.types import Array, Quant
from tinycc_nn.onnx.tensors import MAX_ELEMENTS, as_float32, to_array
from tinycc_nn.ops import emit

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

Known = Value | Array
"""What an ONNX name stands for: a tensor at run time, or an array known at compile time."""

LAYOUT = ("const", "reshape", "transpose")
"""Ops that readers put around the one that matters; they get the node's name with a prime."""


def label(proto: NodeProto) -> str:
    """How errors name a node."""
    name = proto.name or next((o for o in proto.output if o), "")
    return f"node '{name}' ({proto.op_type})"


@dataclass
class Scope:
    """A graph under construction, and what is known by ONNX name.

    constants: the `const` values that were made for compile-time arrays.
    """

    graph: Graph
    known: dict[str, Known] = field(default_factory=dict[str, Known])
    constants: dict[str, Value] = field(default_factory=dict[str, Value])


class OnnxNode:
    """Implements `tinycc_nn.reader.Node` for a NodeProto within a scope."""

    def __init__(self, proto: NodeProto, opset: int, scope: Scope) -> None:
        self.op_type, self.opset, self.scope, self.graph = proto.op_type, opset, scope, scope.graph
        self.label = label(proto)
        self.inputs, self.outputs = list(proto.input), list(proto.output)
        while self.inputs and not self.inputs[-1]:
            self.inputs.pop()
        self.attributes: dict[str, AttributeProto] = {a.name: a for a in proto.attribute}

    @property
    def arity(self) -> int:
        return len(self.inputs)

    @property
    def results(self) -> int:
        return len(self.outputs)

    def known(self, index: int) -> Known | None:
        """Input `index` as a value or a compile-time array of any type; None if absent."""
        if index >= len(self.inputs) or not self.inputs[index]:
            return None
        return self.scope.known[self.inputs[index]]

    def shape(self, index: int) -> tuple[int, ...]:
        found = self.known(index)
        if found is None:
            raise self.fail(f"input {index} is missing")
        return found.type.shape if isinstance(found, Value) else found.shape

    def optional(self, index: int) -> Value | None:
        found = self.known(index)
        if found is None or isinstance(found, Value):
            return found
        name = self.inputs[index]
        if name not in self.scope.constants:
            if found.dtype.kind != "f":
                raise self.fail(
                    f"'{name}' is {found.dtype}; tensors at run time are float32 or quantized int8"
                )
            if found.size == 0:
                raise self.fail(f"'{name}' has no elements")
            self.scope.constants[name] = self.graph.constant(name, as_float32(found))
        return self.scope.constants[name]

    def value(self, index: int) -> Value:
        found = self.optional(index)
        if found is None:
            raise self.fail(f"input {index} is missing")
        return found

    def optional_constant(self, index: int) -> Array | None:
        found = self.known(index)
        if isinstance(found, Value):
            array = found.constant
            if array is None:
                raise self.fail(
                    f"'{self.inputs[index]}' must be known at compile time",
                    "make it an initializer, or simplify the model with onnxsim",
                )
            return array
        return as_float32(found) if found is not None and found.dtype.kind == "f" else found

    def constant(self, index: int) -> Array:
        found = self.optional_constant(index)
        if found is None:
            raise self.fail(f"input {index} is missing")
        return found

    def has(self, name: str) -> bool:
        return name in self.attributes

    def _attribute(self, name: str, kind: str) -> AttributeProto:
        if name not in self.attributes:
            raise self.fail(f"the attribute '{name}' is missing")
        a: AttributeProto = self.attributes[name]
        if a.type != a.AttributeType.Value(kind):
            raise self.fail(f"the attribute '{name}' must be of type {kind}")
        return a

    def integer(self, name: str, default: int | None = None) -> int:
        if default is not None and not self.has(name):
            return default
        return self._attribute(name, "INT").i

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        if default is not None and not self.has(name):
            return tuple(default)
        return tuple(self._attribute(name, "INTS").ints)

    def real(self, name: str, default: float | None = None) -> float:
        if default is not None and not self.has(name):
            return default
        return self._attribute(name, "FLOAT").f

    def reals(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        if default is not None and not self.has(name):
            return tuple(default)
        return tuple(self._attribute(name, "FLOATS").floats)

    def text(self, name: str, default: str | None = None) -> str:
        if default is not None and not self.has(name):
            return default
        return self._attribute(name, "STRING").s.decode("utf-8", "replace")

    def tensor(self, name: str) -> Array:
        return to_array(self._attribute(name, "TENSOR").t)

    @property
    def stem(self) -> str:
        """The name of the node's first output."""
        return next((o for o in self.outputs if o), self.op_type)

    def emit(
        self,
        op: str,
        operands: Sequence[Value],
        attrs: Mapping[str, Attr] | None = None,
        *,
        quant: Quant | None = None,
    ) -> Value:
        name = self.stem + "'" * (op in LAYOUT)
        y = emit(self.graph, op, operands, attrs, result=name, quant=quant, loc=self.label)
        if y.type.size > MAX_ELEMENTS:
            raise self.fail(f"the result has the impossible shape {list(y.type.shape)}")
        return y

    def add_constant(self, array: Array, quant: Quant | None = None) -> Value:
        fits = as_float32(array) if array.dtype.kind == "f" else array
        return self.graph.constant(f"{self.stem}.const", np.ascontiguousarray(fits), quant)

    def fail(self, message: str, hint: str = "") -> TinyccError:
        return TinyccError(message, self.label, hint)
