"""Run a pipeline: watch every step, check what passes promise, leave a reproducer of a crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.files import blobs_npz
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.text import print_graph
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import verify
from tinycc_nn.outputs import arrays_npz, write_directory
from tinycc_nn.pipeline import Context, Pass, Pipeline, Stage
from tinycc_nn.reference import run

_SAMPLES = 4
_FLOAT_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Step:
    """One pass that has run: its result, and the seconds that it took."""

    index: int
    made_by: Pass
    before: Graph
    after: Graph
    seconds: float


def run_pipeline(
    graph: Graph,
    pipeline: Pipeline,
    context: Context | None = None,
    *,
    verify_each: bool = False,
    observe: Callable[[Step], None] | None = None,
    reproducer: Path | None = None,
) -> Graph:
    """The graph after all passes; the argument is left as it was.

    The IR is always verified between passes. `verify_each` also runs the interpreter before and
    after each pass that declares to keep values, and raises TinyccError where they differ.
    `observe` sees every step. If a pass raises anything, `reproducer` (a .tnn file) receives the
    graph in front of that pass, with the command that runs it.
    """
    context = context or Context()
    keep = any(p.reads_history for p in pipeline)
    verify(graph)
    for index, p in enumerate(pipeline):
        started = time.perf_counter()
        if keep:
            context = replace(context, history=(*context.history, Stage(p.name(), graph)))
        try:
            after = p(graph, context)
            seconds = time.perf_counter() - started
            if verify_each and p.keeps_values:
                check_values(p, graph, after, context.calibration)
        except Exception:
            if reproducer is not None:
                write_reproducer(reproducer, graph, p, context, verify_each=verify_each)
            raise
        if observe is not None:
            observe(Step(index, p, graph, after, seconds))
        graph = after
    return graph


def check_values(p: Pass, before: Graph, after: Graph, data: Mapping[str, Array]) -> None:
    """TinyccError if a pass that keeps values changed an output: floats within 1e-4 of the
    largest magnitude, integers in every bit. On some of `data`, else on made-up samples."""
    wanted = run(before, _samples(before, data))
    found = run(after, _samples(after, data))
    for old, new, value in zip(wanted, found, before.outputs, strict=True):
        if old.dtype != new.dtype:
            raise TinyccError(f"{p.name()} changed the type of the output {value}", str(p))
        difference = np.abs(old.astype(np.float64) - new.astype(np.float64)).max(initial=0)
        allowed = 0.0
        if old.dtype.kind == "f":
            allowed = _FLOAT_TOLERANCE * max(1.0, float(np.abs(old).max(initial=0)))
        if not difference <= allowed:
            message = f"{p.name()} changed the output {value} by {difference:g}"
            hint = "it declares keeps_values: this is a bug of the pass"
            raise TinyccError(message, str(p), hint)


def _samples(graph: Graph, data: Mapping[str, Array]) -> dict[str, Array]:
    """A few samples as stored: of `data` where its type fits, else made up."""
    made_up = made_up_samples(graph)
    return {
        v.name: data[v.name][:_SAMPLES]
        if v.name in data and data[v.name].dtype == v.type.dtype.numpy
        else made_up[v.name]
        for v in graph.inputs
    }


def made_up_samples(graph: Graph) -> dict[str, Array]:
    """Stored inputs [4, *shape] drawn with a fixed seed: floats normal, integers uniform."""
    random = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for v in graph.inputs:
        shape = (_SAMPLES, *v.type.shape)
        if v.type.dtype.is_float:
            found[v.name] = random.standard_normal(shape, np.float32)
        else:
            found[v.name] = random.integers(-128, 128, shape).astype(v.type.dtype.numpy)
    return found


def write_reproducer(
    path: Path, graph: Graph, p: Pass, context: Context, *, verify_each: bool = False
) -> None:
    """Write the graph to `path`, its arrays and the calibration samples beside it, and as the
    first line the command that runs the pass on it."""
    command = f"tinycc-nn opt {path.name} -p '{p}'"
    files: dict[str, str | bytes] = {}
    if context.calibration:
        name = f"{path.stem}-calib.npz"
        command += f" --calib {name}"
        files[name] = _calibration_npz(graph, context.calibration)
    if context.training is not None and (p.needs_training or p.reads_training):
        command += f" --train {context.training.source}"
    if verify_each:
        command += " --verify-each"
    files[path.with_suffix(".npz").name] = blobs_npz(graph)
    files[path.name] = f"// {command}\n{print_graph(graph)}"
    write_directory(path.parent, files)


def _calibration_npz(graph: Graph, data: Mapping[str, Array]) -> bytes:
    names = ["x"] if len(graph.inputs) == 1 else [v.name for v in graph.inputs]
    arrays = (data[v.name] for v in graph.inputs)
    return arrays_npz(dict(zip(names, arrays, strict=True)))
