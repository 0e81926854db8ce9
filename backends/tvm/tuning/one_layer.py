"""A network of a single layer, to measure kernels in."""

from __future__ import annotations

from tinycc_nn.backend import Artifact, BackendOptions
from tinycc_nn.backends.tvm.allocate import allocate
from tinycc_nn.backends.tvm.choose import Choice
from tinycc_nn.backends.tvm.emit import emit
from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.exits import Staged
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.schedule import steps

NAME = "net"


def one_layer(op: Op) -> Graph:
    """A graph that computes `op` from its running operands, with the op's own constants."""
    graph = Graph(NAME)
    seen: dict[Value, Value] = {}
    for v in op.operands:
        if v in seen:
            continue
        if v.constant is None:
            seen[v] = graph.add_input(v.name, v.type)
        else:
            seen[v] = graph.constant(v.name, v.constant, v.type.quant)
    copy = graph.add(op.name, [seen[v] for v in op.operands], [op.type], op.attrs, names=["y"])
    graph.outputs = [copy.result]
    return graph


def layer_of(graph: Graph) -> Op:
    """The op that `one_layer` made the graph from."""
    (op,) = steps(graph)
    return op


def network(graph: Graph, kernel: Kernel) -> Artifact:
    """The C of a network of one layer."""
    op = layer_of(graph)
    choices = {op: Choice(op, kernel, (kernel.name,))}
    allocation = allocate(graph, [op], choices)
    return emit(Staged(graph, ()), [op], choices, allocation, BackendOptions(NAME))
