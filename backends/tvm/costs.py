"""What the layers of a graph cost: by the choice of kernels that a compilation would make."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from tinycc_nn.backend import BackendOptions, Observe
from tinycc_nn.backends.tvm.choose import Candidate, Choice, Choices, Judge
from tinycc_nn.backends.tvm.emit import emit
from tinycc_nn.backends.tvm.kernel import Code, candidates, value_facts
from tinycc_nn.backends.tvm.select import flash
from tinycc_nn.backends.tvm.settle import Settled, settle
from tinycc_nn.backends.tvm.tuning.database import Database, file_name, record_names
from tinycc_nn.backends.tvm.tuning.key import LayerKey, core_name
from tinycc_nn.backends.tvm.tuning.records import Record, RecordFile, Setting
from tinycc_nn.backends.tvm.tuning.tune import Wanted, measure_all
from tinycc_nn.cost import LayerCost
from tinycc_nn.device import Device
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator import EMULATED
from tinycc_nn.exits import Staged, staged
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.passmanager import made_up_samples
from tinycc_nn.schedule import steps, storage
from tinycc_nn.target import Target
from tinycc_nn.toolchain import compiler_release, find_toolchain


class TvmCosts:
    """See `tinycc_nn.cost.Costs`: flash and RAM bound the choice as in a compilation."""

    def __init__(self, target: Target, options: BackendOptions, observe: Observe) -> None:
        self.target = target
        self._given, self._observe = options, observe
        self._layers: dict[Hashable, list[Candidate]] = {}
        self._networks: dict[Hashable, list[LayerCost]] = {}

    def predicted(self, graph: Graph) -> dict[str, LayerCost]:
        """Of each layer from records and estimates. A network of layers that were seen before
        takes some milliseconds, the same network with other weights one."""
        parts = staged(graph)
        ops = steps(parts.graph)
        options = self._forced(graph)
        shape = _shape(parts, ops, options)
        if shape not in self._networks:
            settled = settle(
                parts, Choices.of(ops, self.target, options, self._remembered), options
            )
            self._networks[shape] = [_cost(settled.taken[op]) for op in ops]
        return {op.result.name: c for op, c in zip(ops, self._networks[shape], strict=True)}

    def measured(self, graph: Graph) -> dict[str, LayerCost]:
        """Of each layer, built and run where no record has it: until all that is chosen is known,
        since what is learned of a kernel may let another one win."""
        self._check_emulated()
        found = self.predicted(graph)
        while any(c.basis != "tuned" for c in found.values()):
            taken = self._settled(staged(graph)).taken.values()
            self._measure([choice for choice in taken if choice.basis != "tuned"])
            found = self.predicted(graph)
        return {name: replace(c, basis="measured") for name, c in found.items()}

    def built(self, graph: Graph) -> int:
        """Cycles of one inference on made-up samples, in the worst case: to the end where it may
        end early, no zero skipped."""
        device, _ = self._device(graph, worst=True)
        samples = made_up_samples(graph)
        return device.profile([samples[v.name][0] for v in graph.inputs]).cycles

    def on_samples(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, float]:
        """The mean of each layer, which `Device.profile` tells apart."""
        device, layers = self._device(staged(graph).graph, worst=False)
        arrays = [inputs[v.name] for v in graph.inputs]
        cycles = [
            [cost.cycles for cost in device.profile([a[i] for a in arrays]).layers]
            for i in range(len(arrays[0]))
        ]
        return dict(zip(layers, np.mean(cycles, axis=0).tolist(), strict=True))

    def _device(self, graph: Graph, *, worst: bool) -> tuple[Device, list[str]]:
        """The network, built, and the names of its layers in the order of their calls."""
        self._check_emulated()
        parts = staged(graph)
        options = self._forced(graph)
        settled = self._settled(parts)
        made = emit(parts, settled.order, settled.taken, settled.allocation, options)
        device = Device(
            made.source,
            self.target,
            toolchain=find_toolchain(options.toolchain),
            level=f"-{options.level}",
            flags=made.source.worst_case_flags if worst else (),
        )
        return device, [layer.name for layer in made.layers]

    @cached_property
    def _options(self) -> BackendOptions:
        """With the compiler that measurements are made with."""
        return replace(self._given, compiler=compiler_release(self._given.toolchain))

    @cached_property
    def _database(self) -> Database:
        return Database.load(self.target, self._options.records)

    @property
    def _judge(self) -> Judge:
        return Judge(self.target, self._options, self._database)

    def _forced(self, graph: Graph) -> BackendOptions:
        """The options with the kernels that are forced for layers of just this graph."""
        layers = {op.result.name for op in graph.ops}
        kernels = {k: v for k, v in self._options.kernels.items() if k in layers}
        return replace(self._options, kernels=kernels)

    def _remembered(self, op: Op) -> list[Candidate]:
        """The kernels of all layers like `op`, without what would hold its weights in memory."""
        key = _identity(op)
        if key not in self._layers:
            self._layers[key] = [
                replace(c, kernel=replace(c.kernel, code=_forgotten)) for c in self._judge(op)
            ]
        return self._layers[key]

    def _settled(self, parts: Staged) -> Settled:
        options = self._forced(parts.graph)
        choices = Choices.of(steps(parts.graph), self.target, options, self._judge)
        return settle(parts, choices, options)

    def _measure(self, choices: Sequence[Choice]) -> None:
        """Measure kernels and record them, but those that another process has measured meanwhile."""
        self._check_emulated()
        folder = self._options.records
        if folder is not None:
            self.__dict__["_database"] = Database.load(self.target, folder)
        database = self._database
        toolchain = find_toolchain(self._options.toolchain)
        setting = Setting(core_name(self.target), toolchain.release, self._options.level)
        wanted = {
            (w.layer.with_facts(w.kernel.facts), w.name): w for w in map(self._wanted, choices)
        }
        left = [
            w for w in wanted.values() if database.find(setting, w.layer, w.name, w.kernel) is None
        ]
        for found in measure_all(left, self.target, setting, toolchain, 1, self._observe):
            if not isinstance(found, Record):
                raise TinyccError(f"a layer can't be measured: {found}")
            database.add(found)
            if folder is not None:
                RecordFile(folder / file_name(self.target)).append(found)
        self._layers.clear()
        self._networks.clear()

    def _wanted(self, choice: Choice) -> Wanted:
        kernels = candidates(choice.op, self.target)
        names = record_names(kernels)
        i = choice.index
        return Wanted(choice.op, LayerKey.of(choice.op), i, names[i], kernels[i])

    def _check_emulated(self) -> None:
        if self.target.cpu not in EMULATED:
            message = f"there is no model of the cycles of the {self.target.cpu}"
            raise TinyccError(message, self.target.name)


def _shape(parts: Staged, ops: Sequence[Op], options: BackendOptions) -> Hashable:
    """What the choice for a network depends on: its layers, their connections, forced kernels."""
    graph = parts.graph
    number: dict[Value, int] = {}
    for v in (*graph.inputs, *(r for op in ops for r in op.results)):
        number[v] = len(number)
    edges = tuple(tuple(number.get(storage(v), -1) for v in op.operands) for op in ops)
    forced = tuple(options.kernels.get(op.result.name) for op in ops)
    ends = tuple(
        (v.type.nbytes, number.get(storage(v), -1))
        for v in (*graph.inputs, *graph.outputs, *parts.first)
    )
    return tuple(map(_identity, ops)), edges, forced, ends


def _identity(op: Op) -> Hashable:
    """Two layers for which it is the same have the same kernels at the same costs."""
    return LayerKey.of(op), value_facts(op)


def _cost(choice: Choice) -> LayerCost:
    kernel = choice.kernel
    return LayerCost(kernel.cycles, flash(kernel), kernel.name, choice.basis)


def _forgotten() -> Code:
    raise AssertionError("a kernel without code: costs are predicted only")
