"""Print a graph and parse it back; `parse_graph(print_graph(g))` prints the same text.

Arrays stay out of the text: `write_graph` puts them, by digest, into a sibling `.npz`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from tinycc_nn.ir.graph import Attr, Graph, Op
from tinycc_nn.ir.parse import parse_graph
from tinycc_nn.ir.types import Blob

__all__ = ["graph_blobs", "parse_graph", "print_graph", "print_op"]


def print_attr(a: Attr) -> str:
    match a:
        case bool():
            return "true" if a else "false"
        case str():
            return (
                a if a.isidentifier() and a.isascii() and a not in ("true", "false") else f'"{a}"'
            )
        case tuple():
            return f"[{','.join(map(_number, a))}]"
        case float():
            return _number(a)
        case _:
            return str(a)


def _number(x: float) -> str:
    if isinstance(x, int):
        return str(x)
    return repr(float(x)) if isfinite(x) else f"{x:+}"


def print_op(op: Op) -> str:
    text = f"{', '.join(map(str, op.results))} = {op.name}"
    attrs = dict(op.attrs)
    if isinstance(value := attrs.get("value"), Blob):
        del attrs["value"]
        text += f" {value}"
    if op.operands:
        text += f" {', '.join(map(str, op.operands))}"
    if attrs:
        text += f" {{{', '.join(f'{k}={print_attr(v)}' for k, v in sorted(attrs.items()))}}}"
    return f"{text} : {', '.join(str(r.type) for r in op.results)}"


def print_graph(g: Graph) -> str:
    params = ", ".join(f"{v}: {v.type}" for v in g.inputs)
    body = "".join(f"  {print_op(op)}\n" for op in g.ops)
    outputs = ", ".join(map(str, g.outputs))
    return f"graph @{g.name}({params}) {{\n{body}  return {outputs}\n}}\n"


def graph_blobs(g: Graph) -> dict[str, Blob]:
    """Every array that the text names, by digest."""
    return {b.digest: b for b in _blobs(g)}


def _blobs(g: Graph) -> Iterator[Blob]:
    values = [*g.inputs, *(r for op in g.ops for r in op.results)]
    for v in values:
        if v.type.quant is not None and isinstance(v.type.quant.scale, Blob):
            yield v.type.quant.scale
        yield from (p for p in v.type.dtype.params if isinstance(p, Blob))
    for op in g.ops:
        yield from (a for a in op.attrs.values() if isinstance(a, Blob))
