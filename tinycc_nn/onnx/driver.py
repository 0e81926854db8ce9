"""From an ONNX model to a graph: the order of nodes, what is known, errors node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import F32, I8
from tinycc_nn.onnx.expand import expand
from tinycc_nn.onnx.folding import FOLDERS
from tinycc_nn.onnx.interface import input_types
from tinycc_nn.onnx.model import load_model, opsets
from tinycc_nn.onnx.node import Known, OnnxNode, Scope, label
from tinycc_nn.onnx.order import ordered
from tinycc_nn.onnx.support import check_support
from tinycc_nn.onnx.tensors import to_array
from tinycc_nn.ops import emit, readers, verify
from tinycc_nn.reference import evaluate

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

KEPT = ("QuantizeLinear", "DequantizeLinear")
"""Never folded: int8 weights stay int8."""

MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError, AssertionError)
"""What numpy and readers raise on attributes and shapes that make no sense."""


def read_model(source: Path | bytes, input_dims: Mapping[str, int] | None = None) -> Graph:
    """The verified graph of an ONNX model, opset 7 and up.

    `input_dims` gives sizes to symbolic dimensions by name; the first dimension of an input is
    the batch and is 1 unless given. Values have ONNX's layout and names. uint8 tensors become
    int8: 128 is subtracted from what is stored and from the zero point, at inputs and outputs
    too. Whatever is known at compile time is folded, except that quantized constants stay
    quantized.

    Raises TinyccError: not a model, a version that is not known, nodes that are not supported
    (all of them in one error), symbolic dimensions without a size, nodes that make no sense.
    """
    model = load_model(source)
    where = "<bytes>" if isinstance(source, bytes) else str(source)
    arrays = {t.name: to_array(t) for t in model.graph.initializer}
    given = [v for v in model.graph.input if v.name not in arrays]
    outputs = [o.name for o in model.graph.output]
    names = [*arrays, *(v.name for v in given)]
    needed = ordered(list(model.graph.node), names, outputs, where)
    check_support(needed, where)
    types = input_types(given, input_dims or {}, where)
    graph = Graph(_identifier(model.graph.name or "network"))
    scope = Scope(graph, dict(arrays))
    for name, t in types.items():
        scope.known[name] = graph.add_input(name, t)
    _Reading(model, scope).nodes([n for proto in needed for n in expand(proto)])
    for name in outputs:
        graph.outputs.append(_output(scope, name))
    _name_outputs(graph, outputs)
    graph.sweep()
    for v in graph.inputs:
        if v.type.dtype == I8 and v.type.quant is None:
            raise TinyccError(
                f"the input '{v.name}' is of 8-bit integers without a scale",
                where,
                "read it by DequantizeLinear, or make the input float",
            )
    verify(graph)
    return graph


def _identifier(name: str) -> str:
    text = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
    return text if text[:1].isalpha() else f"n{text}"


class _Reading:
    """Reads nodes in order. A node that fails takes those after it along, not the others."""

    def __init__(self, model: ModelProto, scope: Scope) -> None:
        self.scope, self.opset = scope, opsets(model)[""]
        self.errors: list[TinyccError] = []
        self.unread: set[str] = set()

    def nodes(self, protos: Sequence[NodeProto]) -> None:
        for proto in protos:
            if self._ready(proto):
                self._node(proto)
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            lines = [f"{e.where}: {e.message}" for e in self.errors]
            text = "\n  ".join([f"{len(lines)} nodes can't be read:", *lines])
            raise TinyccError(text, hint=self.errors[0].hint)

    def _ready(self, proto: NodeProto) -> bool:
        missing = [name for name in proto.input if name and name not in self.scope.known]
        if unread := [name for name in missing if name in self.unread]:
            self.errors.append(
                TinyccError(f"'{unread[0]}' is an output that can't be read", label(proto))
            )
        return not missing

    def _node(self, proto: NodeProto) -> None:
        node = OnnxNode(proto, self.opset, self.scope)
        try:
            found = _read(node)
        except TinyccError as e:
            e.where = e.where or node.label
            self.errors.append(e)
            return
        except MALFORMED as e:
            self.errors.append(node.fail(f"the node makes no sense: {e}"))
            return
        self.scope.known.update(zip(proto.output, found, strict=False))
        self.unread.update(proto.output[len(found) :])


def _read(node: OnnxNode) -> Sequence[Known]:
    """The node's outputs: folded where everything is known, else by its reader."""
    known = [node.known(i) for i in range(node.arity)]
    arrays = [k for k in known if isinstance(k, np.ndarray)]
    constant = len(arrays) == sum(k is not None for k in known) and node.op_type not in KEPT
    folder = FOLDERS.get(node.op_type)
    if folder is not None and (folder.shape_only or constant):
        with np.errstate(all="ignore"):
            folded = folder.fold(node, arrays)
        return folded if isinstance(folded, list) else [folded]
    if node.op_type not in readers():
        raise node.fail(
            "its inputs must be known at compile time", "simplify the model with onnxsim"
        )
    if constant:
        return _run_apart(node)
    start = len(node.graph.ops)
    results = _call(node)
    _name_results(node, results, start)
    return results


def _call(node: OnnxNode) -> tuple[Value, ...]:
    found = readers()[node.op_type].read(node)
    return found if isinstance(found, tuple) else (found,)


def _run_apart(node: OnnxNode) -> list[Known]:
    """Read the node into a graph of its own and run that: its inputs are constants."""
    scratch = Scope(Graph("scratch"), node.scope.known)
    node.scope, node.graph = scratch, scratch.graph
    results = _call(node)
    arrays = {op.result: array for op, array in evaluate(scratch.graph, {})}
    return [np.asarray(arrays[v][0]) for v in results]


def _name_results(node: OnnxNode, results: Sequence[Value], start: int) -> None:
    """Give new results the name of the node's output where no other op took it."""
    new = set(node.graph.ops[start:])
    for name, v in zip(node.outputs, results, strict=False):
        if name and v.owner in new and not (free := node.graph.fresh(name)).endswith("'"):
            v.name = free


def _output(scope: Scope, name: str) -> Value:
    known = scope.known.get(name)
    if known is None:
        raise TinyccError(f"the output '{name}' can't be read")
    if isinstance(known, Value):
        return _own(scope.graph, known, name)
    if known.dtype.kind != "f":
        raise TinyccError(f"the output '{name}' is {known.dtype}", hint="outputs are float or int8")
    return scope.graph.constant(name, known.astype(np.float32))


def _own(graph: Graph, v: Value, name: str) -> Value:
    """The value, or a copy of it where it is an input or already another output."""
    if v.type.dtype not in (F32, I8):
        raise TinyccError(f"the output '{name}' is {v.type.dtype}")
    if v.owner is not None and v not in graph.outputs:
        return v
    return emit(graph, "reshape", [v], {"shape": v.type.shape}, result=name)


def _name_outputs(graph: Graph, names: Sequence[str]) -> None:
    """Give the outputs exactly the names that the model has for them."""
    holders = {r.name: r for op in graph.ops for r in op.results}
    for v, name in zip(graph.outputs, names, strict=True):
        wished = graph.fresh(name).rstrip("'")
        if v.name == wished or any(i.name == wished for i in graph.inputs):
            continue
        if (other := holders.get(wished)) is not None:
            other.name = v.name
            holders[v.name] = other
        v.name = wished
        holders[wished] = v
