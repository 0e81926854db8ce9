"""What of a model can't be read at all: every node of it, in one error, before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.onnx.expand import EXPANDED, OWN_ATTRIBUTES
from tinycc_nn.onnx.folding import FOLDERS
from tinycc_nn.onnx.node import label
from tinycc_nn.ops import readers

if TYPE_CHECKING:
    from onnx import NodeProto

STANDARD = ("", "ai.onnx")
MICROSOFT = (*EXPANDED, "Gelu", "QuantizeLinear", "DequantizeLinear")
"""Operators of the domain com.microsoft that are read as ONNX's own."""


def op_types() -> list[str]:
    """Every ONNX operator that can be read or folded, sorted."""
    return sorted({*readers(), *FOLDERS, *EXPANDED})


def check_support(nodes: Iterable[NodeProto], where: str) -> None:
    """Raise one TinyccError that names each node that can't be read, and why."""
    found = [f"{label(n)}: {why}" for n in nodes for why in _reasons(n)]
    if found:
        raise TinyccError(
            "\n  ".join(["the model has nodes that are not supported:", *found]),
            where,
            "`tinycc-nn ops --onnx` lists what can be read",
        )


def _reasons(n: NodeProto) -> list[str]:
    if any(a.HasField("g") or a.graphs for a in n.attribute):
        return ["a subgraph: control flow is decided at run time"]
    if n.domain not in STANDARD and not (n.domain == "com.microsoft" and n.op_type in MICROSOFT):
        return [f"the domain '{n.domain}' is not known"]
    if n.op_type not in op_types():
        return ["unknown operator"]
    honoured = attributes()[n.op_type]
    return [f"the attribute '{a.name}' is not known" for a in n.attribute if a.name not in honoured]


def attributes() -> Mapping[str, frozenset[str]]:
    """The attributes that are honoured, by operator."""
    own: dict[str, set[str]] = {name: set(r.attributes) for name, r in readers().items()}
    for name, folder in FOLDERS.items():
        own.setdefault(name, set()).update(folder.attributes)
    for name, q in EXPANDED.items():
        own.setdefault(name, set()).update(own.get(q.op_type, ()), OWN_ATTRIBUTES)
    return {name: frozenset(a) for name, a in own.items()}
