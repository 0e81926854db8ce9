"""Where do two executions of a network part? onnxruntime, interpreter, host C, emulated C."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tinycc_nn.accuracy import FLOAT_TOLERANCE
from tinycc_nn.backend import load_backend
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.driver import backend_options
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.measure import run_samples
from tinycc_nn.models import Model
from tinycc_nn.reference import run, visit
from tinycc_nn.request import Request
from tinycc_nn.toolchain import find_toolchain

Pair = Literal["onnxruntime - interpreter", "interpreter - host C", "host C - core"]


@dataclass(frozen=True, slots=True)
class Difference:
    """
    Two executions at one tensor.

    largest: the largest absolute difference, in stored units (1.0 is one step of an int8).
    scale:   the largest magnitude in the first of the two.
    allowed: the largest difference that is not an error.
    """

    pair: Pair
    name: str
    op: str
    largest: float
    scale: float
    allowed: float

    @property
    def parts(self) -> bool:
        """Whether this is where they part. A NaN parts."""
        return not self.largest <= self.allowed


def first_parting(differences: Iterable[Difference]) -> Difference | None:
    """The first tensor, in the order of the network, at which two executions part."""
    return next((d for d in differences if d.parts), None)


def exposed(graph: Graph) -> Graph:
    """The graph with the result of every op as an output, in order."""
    out = graph.clone()
    computed = (r for op in out.ops if op.name != "const" for r in op.results)
    out.outputs = list(dict.fromkeys(computed)) or out.outputs
    return out


def against_onnxruntime(
    model: Model, graph: Graph, samples: Mapping[str, Array]
) -> list[Difference]:
    """The tensors of an ONNX model that have a value of the same name and shape in the imported
    `graph`, for stored `samples` of its inputs.

    Differences of a model with QuantizeLinear are allowed: its roundings amplify the last bit.
    TinyccError if onnxruntime is not installed or refuses the model.
    """
    wanted = _onnx_tensors(model, graph, samples)
    found: dict[str, tuple[Value, list[Array]]] = {}

    def see(value: Value, array: Array) -> None:
        key = value.name.rstrip("'")
        if key in wanted and wanted[key].shape[1:] == value.type.shape:
            seen = found.setdefault(key, (value, []))
            if seen[0] is not value:
                found[key] = value, [array]
            else:
                seen[1].append(array)

    visit(graph, samples, see)
    quantized = any(op.name == "quantize" for op in graph.ops)
    differences = []
    for key, theirs in wanted.items():
        if key in found and theirs.dtype.kind == "f":
            value, parts = found[key]
            ours = np.broadcast_to(np.concatenate(parts), theirs.shape)
            op = value.owner.name if value.owner else "input"
            pair: Pair = "onnxruntime - interpreter"
            differences.append(_difference(pair, key, op, theirs, ours, free=quantized))
    return differences


def _onnx_tensors(model: Model, graph: Graph, samples: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of an ONNX model [samples, *shape], by its name as the IR writes it."""
    import onnx

    try:
        import onnxruntime
    except ImportError:
        hint = "pip install 'tinycc-nn[validate]'"
        raise TinyccError("onnxruntime is not installed", hint=hint) from None
    proto = onnx.load(model.path) if model.path else onnx.load_model_from_string(model.data)
    given = {o.name for o in proto.graph.output}
    names = [n for node in proto.graph.node for n in node.output if n]
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in given)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        keys = [i.name for i in session.get_inputs()]
        arrays = [samples[v.name] for v in graph.inputs]
        rows = [
            session.run(names, dict(zip(keys, (a[i] for a in arrays), strict=True)))
            for i in range(len(arrays[0]))
        ]
    except Exception as e:  # onnxruntime's exceptions have no common base
        raise TinyccError(f"onnxruntime can't run the model: {e}", str(model.path)) from None
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {ir_name(n): np.stack(c) for n, c in columns if isinstance(c[0], np.ndarray)}


def ir_name(name: str) -> str:
    """An ONNX tensor's name as the IR writes it."""
    return re.sub(r"[^A-Za-z0-9_./-]", "_", name.rstrip("'")) or "_"


def against_c(
    request: Request, graph: Graph, samples: Mapping[str, Array], *, layers: bool
) -> list[Difference]:
    """The C of `graph` on the host against the interpreter, and on the core against the host.

    With `layers`, at the result of every op, for which each becomes an output of the network;
    otherwise at the outputs only, in the memory plan that is shipped.
    """
    shown = exposed(graph) if layers else graph
    options = backend_options(request)
    if layers:  # every tensor is an output, which takes more memory than the network itself
        options = replace(options, max_flash=None, max_ram=None)
    source = load_backend(request.backend).compile(shown, request.target, options).source
    host = HostLibrary(source)
    toolchain = find_toolchain(request.toolchain)
    device = Device(source, request.target, toolchain=toolchain, level=f"-{request.level}")
    results: Sequence[tuple[Pair, list[Array], list[Array]]]
    on_host = run_samples(host, shown, samples)
    on_core = run_samples(device, shown, samples)
    results = (
        ("interpreter - host C", run(shown, samples), on_host),
        ("host C - core", on_host, on_core),
    )
    differences = []
    for k, value in enumerate(shown.outputs):
        op = value.owner.name if value.owner else "input"
        name = value.name if layers else f"{value.name} (as shipped)"
        for pair, a, b in results:
            differences.append(_difference(pair, name, op, a[k], b[k]))
    return differences


def _difference(
    pair: Pair, name: str, op: str, a: Array, b: Array, *, free: bool = False
) -> Difference:
    largest = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0))
    scale = float(np.abs(a.astype(np.float64)).max(initial=0))
    allowed = FLOAT_TOLERANCE * max(1.0, scale) if a.dtype.kind == "f" else 0.0
    return Difference(pair, name, op, largest, scale, float("inf") if free else allowed)
