"""A whole compilation: model in, C files and their report out. It writes no file itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import tinycc_nn
from tinycc_nn.accuracy import real_outputs, score, stored_inputs
from tinycc_nn.backend import (
    BackendOptions,
    Effort,
    Observe,
    Tunable,
    Tuned,
    TuningStep,
    load_backend,
)
from tinycc_nn.cachedir import CacheDir
from tinycc_nn.data import Dataset, DataSpec, load_data
from tinycc_nn.diagnostics import UsageError
from tinycc_nn.ir.files import blobs_npz
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.text import print_graph
from tinycc_nn.levels import default_pipeline
from tinycc_nn.measure import Measurement, measure, run_samples
from tinycc_nn.passmanager import Step, made_up_samples, run_pipeline
from tinycc_nn.pipeline import Context, Pipeline, print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.report import Accuracy, DataReport, Report
from tinycc_nn.request import Request
from tinycc_nn.summary import describe
from tinycc_nn.target import Target
from tinycc_nn.toolchain import compiler_release
from tinycc_nn.training.data import TrainingData, load_training
from tinycc_nn.training.picture import curves_svg
from tinycc_nn.training.watch import Recorder, Watcher

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Compiled:
    """`files` are those of the output directory but report.json, by name; `temps` are the
    intermediate ones that -save-temps keeps."""

    files: Mapping[str, str]
    report: Report
    temps: Mapping[str, str | bytes] = field(default_factory=dict[str, str | bytes])


def compile_model(
    request: Request,
    progress: Progress = lambda message: None,
    watcher: Watcher | None = None,
) -> Compiled:
    """Compile; `progress` is told what is being done, `watcher` of trainings. TinyccError for all
    that a user can mend."""
    seen = Recorder(watcher or Watcher())
    passes, given, graph, used = _optimize(request, progress, seen)
    calibration, training = used
    evaluation = _load(request.eval, given)
    if request.tune_seconds is not None:
        effort = Effort(request.tune_seconds, request.workers)
        tune_kernels(request, graph, effort, lambda step: progress(str(step)))
    progress(f"generating C with the backend {request.backend}")
    options = backend_options(request)
    artifact = load_backend(request.backend).compile(graph, request.target, options)
    temps = _graph_files(request.name, given, graph)
    measurement = None
    if request.measure:
        progress(f"building, measuring, comparing bits for {request.target.name}")
        data = evaluation or calibration
        samples = stored_inputs(graph, data.inputs) if data else made_up_samples(graph)
        measurement = measure(
            artifact.source,
            graph,
            request.target,
            samples,
            level=request.level,
            toolchain=request.toolchain,
            compared=request.compared,
        )
        temps[f"{request.name}.elf"] = measurement.program.elf
    accuracy = None
    if evaluation is not None:
        progress(f"evaluating {len(evaluation)} samples")
        accuracy = _accuracy(given, graph, evaluation, measurement)
    notes = [note for d in (calibration, evaluation) if d for note in d.notes]
    if calibration and not any(p.needs_calibration or p.reads_calibration for p in passes):
        notes.append("the calibration data was not used: no pass needs it")
    if training and not any(p.needs_training or p.reads_training for p in passes):
        notes.append("the training data was not used: no pass needs it")
    report = describe(
        request,
        graph,
        artifact,
        measurement,
        pipeline=print_pipeline(passes),
        accuracy=accuracy,
        notes=tuple(dict.fromkeys([*notes, *seen.notes])),
        data=_data_reports(request, calibration, training, evaluation),
        curves=seen.curves,
    )
    files = dict(artifact.source.files)
    if seen.curves:
        files[f"{request.name}_training.svg"] = curves_svg(seen.curves)
    return Compiled(files, report, temps)


def _data_reports(
    request: Request,
    calibration: Dataset | None,
    training: TrainingData | None,
    evaluation: Dataset | None,
) -> tuple[DataReport, ...]:
    """What samples were seen, and what for."""
    found = []
    if request.calib and calibration:
        found.append(DataReport("calibration", request.calib.base_name, len(calibration), False))
    if training:
        found.append(DataReport("training", training.source, training.samples, training.labelled))
    if request.eval and evaluation:
        labelled = evaluation.labels is not None
        found.append(DataReport("evaluation", request.eval.base_name, len(evaluation), labelled))
    return tuple(found)


def backend_options(request: Request) -> BackendOptions:
    """What the request says to its backend."""
    return BackendOptions(
        request.name,
        request.level,
        request.kernels,
        banner=f"Generated by tinycc-nn {tinycc_nn.__version__}: {request.command}",
        max_flash=_smaller(request.max_flash, request.target.flash, request.target),
        max_ram=_smaller(request.max_ram, request.target.ram, request.target),
        toolchain=request.toolchain,
        compiler=compiler_release(request.toolchain),
        records=request.records,
    )


def _smaller(limit: int | None, of_target: int, target: Target) -> int | None:
    """The bound of the user and of a device; a generic core has none."""
    if target.generic:
        return limit
    return of_target if limit is None else min(limit, of_target)


def tune_kernels(request: Request, graph: Graph, effort: Effort, observe: Observe) -> Tuned:
    """Measure the kernels of the layers of `graph`, which goes to the backend, that have no
    measurement yet. UsageError for a backend that measures none."""
    backend = load_backend(request.backend)
    if not isinstance(backend, Tunable):
        message = f"the backend {request.backend} has no kernels to choose among"
        raise UsageError(message, hint="leave tuning out")
    return backend.tune(graph, request.target, backend_options(request), effort, observe)


def optimize(request: Request) -> tuple[Graph, Graph]:
    """The graph as given, and as it goes to the backend."""
    _, given, graph, _ = _optimize(request, lambda message: None, Watcher())
    return given, graph


def pass_context(
    request: Request,
    calibration: Dataset | None,
    training: TrainingData | None,
    progress: Progress = lambda message: None,
    watcher: Watcher | None = None,
) -> Context:
    """What the passes of a compilation may use."""

    def observe(step: TuningStep) -> None:
        progress(str(step))

    backend = load_backend(request.backend)
    return Context(
        calibration.inputs if calibration else {},
        training,
        watcher=watcher or Watcher(),
        checkpoints=CacheDir(),
        costs=backend.costs(request.target, backend_options(request), observe),
    )


def _optimize(
    request: Request, progress: Progress, watcher: Watcher
) -> tuple[Pipeline, Graph, Graph, tuple[Dataset | None, TrainingData | None]]:
    if request.pipeline is not None:
        parse_pipeline(request.pipeline)  # its errors come before the model's
    progress("reading the model")
    given = request.model.graph(request.input_dims)
    passes = parse_pipeline(pipeline_text(request, given))
    calibration = _load(request.calib, given)

    def observe(step: Step) -> None:
        progress(f"{step.made_by} ({step.seconds:.2f} s, {len(step.after.ops)} ops)")

    training = load_training(request.train, given) if request.train else None
    context = pass_context(request, calibration, training, progress, watcher)
    graph = run_pipeline(given, passes, context, observe=observe)
    return passes, given, graph, (calibration, training)


def pipeline_text(request: Request, graph: Graph) -> str:
    """The pipeline of the request, else that of its level for the kind of model.

    UsageError if a float model is to become int8 without calibration data, or a quantized one
    float32.
    """
    if request.pipeline is not None:
        return request.pipeline
    if is_quantized(graph):
        if request.dtype == "float32":
            raise UsageError("the model is quantized: it can't become float32")
        return default_pipeline(request.level, "quantized", request.weights)
    if (request.weights or request.chosen_dtype == "int8") and request.calib is None:
        hint = "give some with --calib FILE.npz, 100 to 250 are enough"
        raise UsageError("int8 needs samples to find the ranges of the tensors", hint=hint)
    dtype = "int8" if request.weights else request.chosen_dtype
    return default_pipeline(request.level, dtype, request.weights)


def is_quantized(graph: Graph) -> bool:
    """Whether any tensor but a constant is int8."""
    return any(
        r.type.quant is not None for op in graph.ops if op.name != "const" for r in op.results
    )


def _load(spec: DataSpec | None, graph: Graph) -> Dataset | None:
    return None if spec is None else load_data(spec, graph)


def _graph_files(name: str, given: Graph, final: Graph) -> dict[str, str | bytes]:
    found: dict[str, str | bytes] = {}
    for stage, graph in (("given", given), ("final", final)):
        found[f"{name}.{stage}.tnn"] = print_graph(graph)
        found[f"{name}.{stage}.npz"] = blobs_npz(graph)
    return found


def _accuracy(
    given: Graph, graph: Graph, data: Dataset, measurement: Measurement | None
) -> Accuracy:
    """Of the generated C on the host, bit for bit that of the core; without it of the IR."""
    samples = stored_inputs(graph, data.inputs)
    if measurement is None:
        stored = run(graph, samples)
    else:
        stored = run_samples(measurement.host, graph, samples)
    metric, compiled = score(real_outputs(graph, stored)[0], data)
    source = None
    if not is_quantized(given):
        source = score(run(given, stored_inputs(given, data.inputs))[0], data)[1]
    return Accuracy(metric, len(data), source, compiled)
