"""One pipeline, evaluated in stages: what it predicts is cheap, what it measures is the C itself."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

import tinycc_nn
from tinycc_nn.accuracy import real_outputs, score, stored_inputs
from tinycc_nn.backend import load_backend
from tinycc_nn.cachedir import CacheDir, content_key
from tinycc_nn.data import Dataset, DataSpec, load_data
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.driver import backend_options, is_quantized, pass_context
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.measure import measure
from tinycc_nn.memory import Buffer, live_bytes
from tinycc_nn.models import Model
from tinycc_nn.pipeline import Pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.report import Accuracy
from tinycc_nn.request import Request, c_name
from tinycc_nn.schedule import steps, storage
from tinycc_nn.search.prefixes import Prefixes, network_digest
from tinycc_nn.search.results import STAGES, Evaluation, Metrics, Stage
from tinycc_nn.search.settings import Problem
from tinycc_nn.summary import describe
from tinycc_nn.target import CPUS, Target
from tinycc_nn.training.data import load_training

_METRICS = ".metrics.json"
_CALIBRATED = 64
"""Samples of the calibration data on which outputs are compared with the float network's."""


@dataclass(frozen=True)
class Task:
    """A pipeline to evaluate up to a stage; `known` is what earlier stages found."""

    problem: Problem
    pipeline: str
    stage: Stage
    cache: Path
    known: Evaluation | None = None


def evaluate(task: Task) -> Evaluation:
    """The evaluation of a task, in this process; what fails is an evaluation with an error."""
    started = time.perf_counter()
    found = task.known or Evaluation(task.pipeline, "predicted", version=tinycc_nn.__version__)
    try:
        found = evaluator(task.problem, task.cache).evaluate(found, task.stage)
    except TinyccError as e:
        found = dataclasses.replace(found, stage=task.stage, error=e.message)
    except Exception as e:
        error = f"internal error: {type(e).__name__}: {e}"
        found = dataclasses.replace(found, stage=task.stage, error=error)
    seconds = found.seconds + time.perf_counter() - started
    return dataclasses.replace(found, seconds=seconds)


@lru_cache(maxsize=4)
def evaluator(problem: Problem, cache: Path) -> Evaluator:
    """The evaluator of a problem, which keeps what all evaluations need."""
    return Evaluator(problem, cache)


def request_of(problem: Problem, pipeline: str) -> Request:
    """The compilation that a pipeline of the problem stands for."""
    model = Model.read(problem.model)
    generic = problem.target in CPUS
    return Request(
        model=model,
        name=c_name(model.stem),
        target=Target.for_cpu(problem.target) if generic else Target.load(problem.target),
        level=problem.level,
        calib=DataSpec.parse(problem.calib) if problem.calib else None,
        train=problem.train or None,
        pipeline=pipeline,
        input_dims=dict(problem.input_dims),
        backend=problem.backend,
        toolchain=problem.toolchain,
        max_flash=problem.max_flash,
        max_ram=problem.max_ram,
        records=Path(problem.records) if problem.records else None,
    )


class Evaluator:
    """Evaluates pipelines of one problem: the model and its data are read once."""

    def __init__(self, problem: Problem, cache: Path) -> None:
        self.problem = problem
        self.request = request_of(problem, "")
        self.target = self.request.target
        self.given = self.request.model.graph(self.request.input_dims)
        self.calib = load_data(self.request.calib, self.given) if self.request.calib else None
        data = load_data(DataSpec.parse(problem.evaluation), self.given)
        held = held_out(len(data), problem.held_out)
        self.seen, self.held = subset(data, ~held), subset(data, held)
        self.part = self.seen
        if len(self.seen) > 2 * problem.part:  # else it isn't worth it
            self.part = subset(self.seen, np.arange(len(self.seen)) < problem.part)
        training = load_training(problem.train, self.given) if problem.train else None
        self.context = pass_context(self.request, self.calib, training)
        self._disk = CacheDir(cache)
        self._prefixes = Prefixes(problem.key, self._disk)

    def baseline(self) -> tuple[str, float, float]:
        """The metric, and the accuracy of the model as given on the data that the search may see
        and on the held-out data."""
        metric, seen = self._score(self.given, self.seen)
        held = self._score(self.given, self.held)[1] if len(self.held) else seen
        return metric, seen, held

    def graph(self, pipeline: str) -> Graph:
        """The network that a pipeline ends in."""
        return self._prefixes.run(self.given, parse_pipeline(pipeline), self.context)

    def prepared(self, passes: Pipeline) -> Graph:
        """The model after these passes."""
        return self._prefixes.run(self.given, passes, self.context)

    def evaluate(self, known: Evaluation, stage: Stage) -> Evaluation:
        """`known` with what the stages up to `stage` add. TinyccError where one fails."""
        graph = self.graph(known.pipeline)
        found = dataclasses.replace(known, network=network_digest(graph))
        m = found.metrics
        if m.predicted_cycles is None:
            m = self._once(found.network, lambda: self._predicted(graph))
        if stage != "predicted" and m.accuracy is None:
            m = dataclasses.replace(m, accuracy=self._score(graph, self.seen)[1])
        found = dataclasses.replace(found, metrics=m)
        if stage == "measured":
            return self._measured(graph, found)
        reached: Stage = "judged" if m.accuracy is not None else "predicted"
        return dataclasses.replace(found, stage=max(stage, reached, key=STAGES.index))

    def _once(self, network: str, predict: Callable[[], Metrics]) -> Metrics:
        """What is predicted of a network: once, whatever pipelines end in it."""
        key = content_key([self.problem.key, network])
        if (known := self._disk.get(key, _METRICS)) is not None:
            with contextlib.suppress(ValueError, TypeError):
                return Metrics.from_json(known.decode())
        found = predict()
        self._disk.put(key, _METRICS, found.to_json().encode())
        return found

    def _predicted(self, graph: Graph) -> Metrics:
        """Of costs from records and estimates, of accuracy on a part of the data."""
        assert self.context.costs is not None
        costs = self.context.costs.predicted(graph).values()
        buffers = sum(v.type.nbytes for v in (*graph.inputs, *graph.outputs))
        part = self._score(graph, self.part)[1]
        return Metrics(
            output_error=self._output_error(graph),
            accuracy_part=part,
            accuracy=part if self.part is self.seen else None,
            predicted_cycles=sum(c.cycles for c in costs),
            predicted_flash=sum(c.flash for c in costs),
            predicted_ram=peak_bytes(graph) + buffers,
        )

    def _measured(self, graph: Graph, found: Evaluation) -> Evaluation:
        """Built, run on the emulated core, and held to the interpreter's bits, in which the
        accuracies are computed."""
        request = dataclasses.replace(self.request, pipeline=found.pipeline)
        options = backend_options(request)
        artifact = load_backend(request.backend).compile(graph, request.target, options)
        samples = stored_inputs(graph, self.seen.inputs)
        done = measure(
            artifact.source,
            graph,
            request.target,
            samples,
            level=request.level,
            toolchain=request.toolchain,
            compared=request.compared,
        )
        if done.profile is None:
            raise TinyccError(done.note)
        assert found.metrics.accuracy is not None
        metric, float_seen, _ = self._baseline
        report = describe(
            request,
            graph,
            artifact,
            done,
            pipeline=found.pipeline,
            accuracy=Accuracy(metric, len(self.seen), float_seen, found.metrics.accuracy),
            notes=("accuracy on the evaluation data that the search may see",),
            data=(),
            curves=(),
        )
        m = report.metrics
        assert m.ram_bytes is not None
        held = self._score(graph, self.held)[1] if len(self.held) else None
        metrics = dataclasses.replace(
            found.metrics,
            held_out=held,
            cycles=m.cycles,
            flash_bytes=m.flash_bytes,
            ram_bytes=m.ram_bytes + (m.stack_bytes or 0),
            latency_ms=m.latency_ms,
            energy_uj=m.energy_uj,
        )
        return dataclasses.replace(found, stage="measured", metrics=metrics, report=report)

    @cached_property
    def _baseline(self) -> tuple[str, float, float]:
        return self.baseline()

    def _score(self, graph: Graph, data: Dataset) -> tuple[str, float]:
        stored = run(graph, stored_inputs(graph, data.inputs))
        return score(real_outputs(graph, stored)[0], data)

    @cached_property
    def _some(self) -> dict[str, Array]:
        data = self.calib or self.part
        return {name: a[:_CALIBRATED] for name, a in data.inputs.items()}

    @cached_property
    def _wanted(self) -> Array:
        stored = run(self.given, stored_inputs(self.given, self._some))
        return real_outputs(self.given, stored)[0].astype(np.float64)

    def _output_error(self, graph: Graph) -> float:
        found = real_outputs(graph, run(graph, stored_inputs(graph, self._some)))[0]
        error = np.mean((found - self._wanted) ** 2)
        return float(error / max(float(np.var(self._wanted)), 1e-30))

    @property
    def kind(self) -> str:
        """What recipes and frames are chosen by: "float32" or "quantized"."""
        return "quantized" if is_quantized(self.given) else "float32"


def held_out(samples: int, fraction: float) -> Array:
    """bool[samples]: which ones the search doesn't choose by, spread evenly."""
    steps_taken: Array = np.diff(np.floor(np.arange(samples + 1) * fraction))
    return steps_taken.astype(np.bool_)


def subset(data: Dataset, which: Array) -> Dataset:
    """The samples where bool[samples] is set."""
    labels = None if data.labels is None else data.labels[which]
    return Dataset({name: a[which] for name, a in data.inputs.items()}, labels, data.notes)


def peak_bytes(graph: Graph) -> int:
    """Most bytes of tensors that live at once between inputs and outputs, in the order of the ops,
    without what kernels need beside them."""
    order = steps(graph)
    last = {storage(v): i for i, op in enumerate(order) for v in op.operands}
    outside: set[Value] = {storage(v) for v in (*graph.inputs, *graph.outputs)}
    buffers = [
        Buffer(op.result.name, op.result.type.nbytes, i, last.get(op.result, i))
        for i, op in enumerate(order)
        if op.result not in outside
    ]
    return max(live_bytes(buffers), default=0)
