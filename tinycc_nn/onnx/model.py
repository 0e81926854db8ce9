"""From bytes to a checked ModelProto: is it ONNX, of a version we know, whole, self-contained?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinycc_nn.diagnostics import TinyccError

if TYPE_CHECKING:
    from google.protobuf.message import Message  # type: ignore[import-untyped]
    from onnx import GraphProto, ModelProto, TensorProto

OLDEST_OPSET = 7


def load_model(source: Path | bytes) -> ModelProto:
    """The model in a file or in bytes. TinyccError if it can't be read, saying what to do."""
    import onnx
    from google.protobuf.message import DecodeError

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
    if not _is_text(model):
        raise TinyccError("the model has names that are not text", where, "export it again")
    if not model.HasField("graph") or not model.graph.output:
        raise TinyccError("this is not an ONNX model: it has no graph", where, "export it again")
    if model.ir_version > onnx.IR_VERSION:
        raise TinyccError(
            f"the model has IR version {model.ir_version}, onnx {onnx.__version__} knows up to "
            f"{onnx.IR_VERSION}",
            where,
            "update the package onnx, or export with an older opset",
        )
    if any(isinstance(text, bytes) for text in _texts(model.graph)):
        raise TinyccError("a name in the model is not UTF-8: it is damaged", where, "export again")
    _check_opset(model, where)
    for t in _tensors(model.graph):
        if t.data_location == onnx.TensorProto.EXTERNAL:
            raise TinyccError(
                f"the tensor '{t.name}' is stored outside of the model",
                where,
                "save the model in one file: onnx.save(onnx.load(FILE), FILE)",
            )
    return _inlined(model, where)


def _is_text(message: Message) -> bool:
    """Whether all strings are UTF-8: protobuf gives others as bytes, where text is declared."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            values = [value] if isinstance(value, str | bytes) else value
            if any(isinstance(v, bytes) for v in values):
                return False
        elif field.type == field.TYPE_MESSAGE:
            parts = [value] if hasattr(value, "ListFields") else value
            if not all(_is_text(part) for part in parts):
                return False
    return True


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


def _texts(graph: GraphProto) -> Iterator[str | bytes]:
    """Every name in the graph; protobuf gives bytes for one that is not UTF-8."""
    yield graph.name
    yield from (t.name for t in graph.initializer)
    for v in (*graph.input, *graph.output):
        yield v.name
        yield from (d.dim_param for d in v.type.tensor_type.shape.dim)
    for n in graph.node:
        yield from (n.name, n.op_type, n.domain, *n.input, *n.output)
        yield from (a.name for a in n.attribute)


def _inlined(model: ModelProto, where: str) -> ModelProto:
    """The model without local functions: their bodies stand where they were called."""
    if not model.functions:
        return model
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as e:  # the checks inside are C++ and throw their own types
        raise TinyccError(f"the model's functions can't be inlined: {e}", where) from None
