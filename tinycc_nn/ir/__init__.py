"""The graph, its types, and its text."""

from tinycc_nn.ir.files import read_graph, write_graph
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.text import parse_graph, print_graph
from tinycc_nn.ir.types import F32, I8, I16, I32, I64, Array, Blob, DType, Quant, TensorType

__all__ = [
    "F32",
    "I8",
    "I16",
    "I32",
    "I64",
    "Array",
    "Attr",
    "Blob",
    "DType",
    "Graph",
    "Op",
    "Quant",
    "TensorType",
    "Value",
    "parse_graph",
    "print_graph",
    "read_graph",
    "write_graph",
]
