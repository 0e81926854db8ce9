"""The C files of a network whose kernels, order and places are decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinycc_nn.backend import Artifact, BackendOptions, Layer
from tinycc_nn.backends.tvm.allocate import Allocation
from tinycc_nn.backends.tvm.choose import Choice
from tinycc_nn.backends.tvm.files import Call, Constants, Files, Kernels, Pointers
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ops import opdef
from tinycc_nn.schedule import storage
from tinycc_nn.source import NetworkSource


def emit(
    graph: Graph,
    order: Sequence[Op],
    choices: Mapping[Op, Choice],
    allocation: Allocation,
    options: BackendOptions,
) -> Artifact:
    """The artifact for ops in this order, with their kernels and places."""
    name = options.name
    pointers = Pointers(graph, allocation, name)
    constants, kernels = Constants(name), Kernels(name)
    codes = [choices[op].kernel.code() for op in order]
    symbols = kernels.add(codes, [bool(choices[op].kernel.in_place) for op in order])
    calls: list[Call] = []
    layers: list[Layer] = []
    for op, code, symbol in zip(order, codes, symbols, strict=True):
        before = constants.nbytes
        running = [pointers.read(v) for v in op.operands if storage(v).constant is None]
        arrays = [constants.add(a) for a in code.constants]
        choice = choices[op]
        scratch = [pointers.arena(allocation.scratch(op))] if choice.kernel.scratch else []
        arguments = [*running, *arrays, pointers.write(op.result), *scratch]
        calls.append(Call(op.result.name, choice.kernel.name, symbol, tuple(arguments)))
        layers.append(
            Layer(
                op.result.name, op.name, choice.kernel.name, symbol, opdef(op.name).macs(op),
                constants.nbytes - before, choice.kernel.scratch, choice.names,
                choice.basis, choice.kernel.cycles,
            )
        )  # fmt: skip
    copies = [pointers.copy(i, v, constants) for i, v in allocation.copies]
    files = Files(graph, options, allocation.plan.size, pointers.inputs, pointers.outputs)
    source = NetworkSource(
        name,
        files.render(kernels, constants, calls, copies),
        files.ports(graph.inputs, pointers.inputs),
        files.ports(graph.outputs, pointers.outputs),
        allocation.plan.size,
        files.arena_align,
        tuple(layer.symbol for layer in layers),
    )
    return Artifact(source, tuple(layers), allocation.plan)
