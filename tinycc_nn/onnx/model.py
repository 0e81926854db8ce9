"""From bytes to a checked ModelProto: is it ONNX, of a version we know, whole, self-contained?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinycc_nn.diagnostics import TinyccError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

OLDEST_OPSET = 7


def load_model(source: Path | bytes) -> ModelProto:
    """The model in a file or in bytes. TinyccError if it can't be read, saying what to do."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    where = "<bytes>" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(source)
    if not data:
        raise TinyccError("the model is empty", where, "export it again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise TinyccError(
            "this is not an ONNX model, or it is truncated", where, "export it again"
        ) from None
    if not model.HasField("graph") or not model.graph.output:
        raise TinyccError("this is not an ONNX model: it has no graph", where, "export it again")
    if model.ir_version > onnx.IR_VERSION:
        raise TinyccError(
            f"the model has IR version {model.ir_version}, onnx {onnx.__version__} knows up to "
            f"{onnx.IR_VERSION}",
            where,
            "update the package onnx, or export with an older opset",
        )
    _check_opset(model, where)
    for t in _tensors(model.graph):
        if t.data_location == onnx.TensorProto.EXTERNAL:
            raise TinyccError(
                f"the tensor '{t.name}' is stored outside of the model",
                where,
                "save the model in one file: onnx.save(onnx.load(FILE), FILE)",
            )
    return _inlined(model, where)


def opsets(model: ModelProto) -> dict[str, int]:
    """The version of each operator set by domain; ONNX's own domain is ""."""
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise TinyccError(f"can't read the model: {e.strerror}", str(path)) from None


def _check_opset(model: ModelProto, where: str) -> None:
    import onnx

    opset, newest = opsets(model).get("", 0), onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise TinyccError(
            f"the model has opset {opset}, known are {OLDEST_OPSET} to {newest}",
            where,
            "convert it with onnx.version_converter, or update the package onnx",
        )


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (a.t for a in node.attribute if a.HasField("t"))


def _inlined(model: ModelProto, where: str) -> ModelProto:
    """The model without local functions: their bodies stand where they were called."""
    if not model.functions:
        return model
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as e:  # the checks inside are C++ and throw their own types
        raise TinyccError(f"the model's functions can't be inlined: {e}", where) from None
