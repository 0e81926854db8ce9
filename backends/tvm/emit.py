"""The C files of a network whose kernels, order and places are decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinycc_nn.backend import Artifact, BackendOptions, Layer
from tinycc_nn.backends.tvm.allocate import Allocation
from tinycc_nn.backends.tvm.choose import Choice
from tinycc_nn.backends.tvm.files import Call, Constants, Files, Kernels, Pointers
from tinycc_nn.backends.tvm.leave import exit_function
from tinycc_nn.exits import Staged
from tinycc_nn.ir.graph import Op
from tinycc_nn.ops import opdef
from tinycc_nn.schedule import storage
from tinycc_nn.source import NetworkSource


def emit(
    parts: Staged,
    order: Sequence[Op],
    choices: Mapping[Op, Choice],
    allocation: Allocation,
    options: BackendOptions,
) -> Artifact:
    """The artifact for ops in this order, with their kernels and places."""
    graph, name = parts.graph, options.name
    leaves = {storage(early): op for op, early in parts.exits}
    pointers = Pointers(graph, allocation, name)
    constants, kernels = Constants(name), Kernels(name)
    codes = [choices[op].kernel.code() for op in order]
    symbols = kernels.add(codes, [bool(choices[op].kernel.in_place) for op in order])
    calls: list[Call] = []
    layers: list[Layer] = []
    for step, (op, code, symbol) in enumerate(zip(order, codes, symbols, strict=True)):
        before = constants.nbytes
        running = [pointers.read(v) for v in op.operands if storage(v).constant is None]
        arrays = [constants.add(a) for a in code.constants]
        choice = choices[op]
        scratch = [pointers.arena(allocation.scratch(op))] if choice.kernel.scratch else []
        arguments = [*running, *arrays, pointers.write(op.result), *scratch]
        calls.append(Call(op.result.name, choice.kernel.name, symbol, tuple(arguments)))
        layers.append(
            Layer(
                op.result.name, op.name, choice.kernel.name, symbol,
                round(choice.kernel.share * opdef(op.name).macs(op)),
                constants.nbytes - before, choice.kernel.scratch, choice.names,
                choice.basis, choice.kernel.cycles, step,
            )
        )  # fmt: skip
        if (leave := leaves.get(op.result)) is not None:
            symbol = kernels.add_text(exit_function(leave))
            places = pointers.read(op.result), pointers.outputs[0]
            calls.append(Call(leave.result.name, "exit", symbol, places, ends=True))
            layers.append(
                Layer(leave.result.name, leave.name, "exit", symbol, 0, 0, 0, (), step=step)
            )
    copies = [pointers.copy(i, v, constants) for i, v in allocation.copies]
    files = Files(graph, options, allocation.plan.size, pointers.inputs, pointers.outputs)
    texts = files.render(kernels, constants, calls, copies)
    macro = f"{name.upper()}_WORST_CASE"
    source = NetworkSource(
        name,
        texts,
        files.ports(graph.inputs, pointers.inputs),
        files.ports(graph.outputs, pointers.outputs),
        allocation.plan.size,
        files.arena_align,
        tuple(layer.symbol for layer in layers),
        macro if macro in texts[f"{name}.c"] else "",
    )
    return Artifact(source, tuple(layers), allocation.plan)
