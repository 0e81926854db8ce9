"""Measure every kernel of every layer, the most promising first, in worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinycc_nn.backend import BackendOptions, Effort, Observe, Tuned, TuningStep
from tinycc_nn.backends.tvm.kernel import Kernel, candidates
from tinycc_nn.backends.tvm.tuning.database import Database, file_name, record_names
from tinycc_nn.backends.tvm.tuning.key import LayerKey, core_name
from tinycc_nn.backends.tvm.tuning.measure import Measured, Task, measure_kernel
from tinycc_nn.backends.tvm.tuning.one_layer import one_layer
from tinycc_nn.backends.tvm.tuning.records import Record, RecordFile, Setting
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator import EMULATED
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.schedule import steps
from tinycc_nn.target import Target
from tinycc_nn.toolchain import Toolchain, find_toolchain
from tinycc_nn.workers import Failed, run_tasks


@dataclass(frozen=True)
class Wanted:
    """A measurement to make. `index` and `name`: of the kernel among its layer's; `rank`: how many
    of them look faster; `weight`: the estimated cycles of the layer's fastest kernel."""

    op: Op
    layer: LayerKey
    index: int
    name: str
    kernel: Kernel
    rank: int = 0
    weight: float = 0.0


def tune(
    graph: Graph, target: Target, options: BackendOptions, effort: Effort, observe: Observe
) -> Tuned:
    """See `tinycc_nn.backend.Tunable`."""
    if target.cpu not in EMULATED:
        raise TinyccError(f"there is no model of the cycles of the {target.cpu}", target.name)
    if options.records is None:
        raise TinyccError("no folder for the measurements is given")
    until = None if effort.seconds is None else time.monotonic() + effort.seconds
    toolchain = find_toolchain(options.toolchain)
    setting = Setting(core_name(target), toolchain.release, options.level)
    file = RecordFile(options.records / file_name(target))
    database = Database.load(target, options.records)
    every = _every_kernel(graph, target)
    wanted = [w for w in every if database.find(setting, w.layer, w.name, w.kernel) is None]
    wanted.sort(key=lambda w: (w.rank, -w.weight, w.layer.text, w.index))
    failures: list[str] = []
    done = 0
    for found in measure_all(wanted, target, setting, toolchain, effort.workers, observe, until):
        done += 1
        if isinstance(found, Record):
            file.append(found)
        else:
            failures.append(found)
    known = len(every) - len(wanted)
    return Tuned(done - len(failures), known, len(wanted) - done, tuple(failures))


def measure_all(
    wanted: Sequence[Wanted],
    target: Target,
    setting: Setting,
    toolchain: Toolchain,
    workers: int,
    observe: Observe,
    until: float | None = None,
) -> Iterator[Record | str]:
    """The record of each measurement, or why it failed, as they come; `until` is of
    time.monotonic, what is left then isn't measured."""
    tasks = [_task(w, target, toolchain, setting.level) for w in wanted]
    answers = run_tasks(measure_kernel, tasks, workers, until=until)
    for done, (i, answer) in enumerate(answers, 1):
        w, step = wanted[i], (done, len(wanted), wanted[i].op.result.name, wanted[i].name)
        if isinstance(answer, Failed):
            observe(TuningStep(*step, None, None, answer.reason))
            yield f"{w.op.result.name} ({w.layer.text}), {w.name}: {answer.reason}"
            continue
        observe(TuningStep(*step, answer.cycles, answer.instructions))
        yield _record(setting, w, answer)


def _task(w: Wanted, target: Target, toolchain: Toolchain, level: str) -> Task:
    version = family_version(w.kernel.family)
    return Task(one_layer(w.op), w.index, version, target, toolchain.name, level)


def _record(setting: Setting, w: Wanted, m: Measured) -> Record:
    version = family_version(w.kernel.family)
    costs = m.cycles, m.instructions, m.text
    layer = w.layer.with_facts(w.kernel.facts)
    return Record(setting, layer, w.name, version, *costs, w.kernel.cycles)


def _every_kernel(graph: Graph, target: Target) -> list[Wanted]:
    """The kernels of all layers; layers that cost the same count once."""
    found: dict[tuple[LayerKey, str], Wanted] = {}
    for op in steps(graph):
        layer, kernels = LayerKey.of(op), candidates(op, target)
        for i, (k, name) in enumerate(zip(kernels, record_names(kernels), strict=True)):
            w = Wanted(op, layer, i, name, k, _rank(k, kernels), min(k.cycles for k in kernels))
            found.setdefault((layer.with_facts(k.facts), name), w)
    return list(found.values())


def _rank(kernel: Kernel, kernels: Sequence[Kernel]) -> int:
    return sum(k.cycles < kernel.cycles for k in kernels)
