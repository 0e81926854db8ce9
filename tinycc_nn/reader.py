"""How an operator family reads the ONNX nodes it stands for; `onnx.py` drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tinycc_nn.ir.graph import Attr, Graph, Value
from tinycc_nn.ir.types import Array, Quant


class Node(Protocol):
    """An ONNX node in the course of being read. Every error it raises names the node.

    Values have the ONNX layout (NCHW where ONNX has it); readers put transposes where an
    operator of the IR wants NHWC, and the pass `sink-transposes` removes them.
    """

    op_type: str
    opset: int
    graph: Graph

    @property
    def arity(self) -> int:
        """Number of inputs, trailing absent ones left out."""

    @property
    def results(self) -> int:
        """Number of outputs that the node has."""

    def value(self, index: int) -> Value:
        """Input `index`; an error if it is absent."""

    def optional(self, index: int) -> Value | None:
        """Input `index`, or None if it is absent."""

    def known(self, index: int) -> Value | Array | None:
        """Input `index` as a value, or as an array of any type if it is known at compile time."""

    def constant(self, index: int) -> Array:
        """The contents of input `index`, an error if it isn't known at compile time."""

    def optional_constant(self, index: int) -> Array | None: ...

    def has(self, name: str) -> bool:
        """Whether the attribute is given."""

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute; without a default it is required."""

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]: ...

    def real(self, name: str, default: float | None = None) -> float: ...

    def reals(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]: ...

    def text(self, name: str, default: str | None = None) -> str: ...

    def tensor(self, name: str) -> Array:
        """An attribute that holds a tensor."""

    def emit(
        self,
        op: str,
        operands: Sequence[Value],
        attrs: Mapping[str, Attr] | None = None,
        *,
        quant: Quant | None = None,
    ) -> Value:
        """Add an op of the IR, named after the node's output."""

    def add_constant(self, array: Array, quant: Quant | None = None) -> Value:
        """Add a constant, named after the node's output, with `.const`."""

    def fail(self, message: str, hint: str = "") -> Exception:
        """The error to raise when this node can't be read: `raise n.fail("...")`."""


@dataclass(frozen=True)
class Reader:
    """
    op_types:   the ONNX operators that `read` takes.
    attributes: the ONNX attributes that it honours; any other is an error, never ignored.
    read:       adds ops to `node.graph` and returns the values of the node's outputs.
    """

    op_types: tuple[str, ...]
    read: Callable[[Node], Value | tuple[Value, ...]]
    attributes: tuple[str, ...] = ()
