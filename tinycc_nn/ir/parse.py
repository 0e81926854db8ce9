"""From the text of a graph to the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lark import Token, Tree

from tinycc_nn.diagnostics import Span, TinyccError
from tinycc_nn.ir.graph import Attr, Graph, Value
from tinycc_nn.ir.syntax import parse_tree, span_of
from tinycc_nn.ir.types import Blob, DType, Quant, TensorType
from tinycc_nn.numeric.codes import FORMATS


def parse_graph(text: str, blobs: Mapping[str, Blob] | None = None, file: str = "<text>") -> Graph:
    """Parse a graph. `blobs` maps digests to the constants that the text names.

    Raises TinyccError with the place in the text.
    """
    return _Builder(text, blobs or {}, file).graph(parse_tree(text, "graph", file))


class _Builder:
    def __init__(self, text: str, blobs: Mapping[str, Blob], file: str) -> None:
        self.lines, self.blobs, self.file = text.split("\n"), blobs, file
        self.values: dict[str, Value] = {}

    def span(self, t: Token) -> Span:
        return span_of(t, self.lines, self.file)

    def graph(self, tree: Tree[Token]) -> Graph:
        symbol, *rest = tree.children
        assert isinstance(symbol, Token)
        g = Graph(symbol[1:])
        for c in rest:
            if isinstance(c, Token):
                g.outputs.append(self.use(c))
            elif c is not None and c.data == "param":
                name, ty = c.children
                self.define(name, g.add_input(str(name)[1:], self.type(ty)))
            elif c is not None:
                self.op(g, c)
        return g

    def op(self, g: Graph, tree: Tree[Token]) -> None:
        tokens = [c for c in tree.children if isinstance(c, Token)]
        trees = {c.data: c for c in tree.children if isinstance(c, Tree) and c.data != "type"}
        blob = tokens.pop() if tokens[-1].type == "BLOB" else None
        *results, name = tokens
        operands = trees["operands"].children if "operands" in trees else []
        types = [self.type(c) for c in tree.children if isinstance(c, Tree) and c.data == "type"]
        if len(types) != len(results):
            raise TinyccError(
                f"{len(results)} results but {len(types)} types",
                self.span(name),
                "write one type for each result, separated by commas",
            )
        for t in results:
            if str(t) in self.values:
                raise TinyccError(f"{t} is defined twice", self.span(t), "rename one of the two")
        attrs = self.attrs(trees.get("attrs"))
        if blob is not None:
            attrs["value"] = self.blob(blob)
        op = g.add(
            str(name),
            [self.use(t) for t in operands if isinstance(t, Token)],
            types,
            attrs,
            names=[t[1:] for t in results],
            loc=self.span(name),
        )
        for t, v in zip(results, op.results, strict=True):
            self.define(t, v)

    def attrs(self, tree: Tree[Token] | None) -> dict[str, Attr]:
        pairs = [c.children for c in tree.children if isinstance(c, Tree)] if tree else []
        found: dict[str, Attr] = {}
        for k, v in pairs:
            assert isinstance(k, Token)
            if str(k) in found:
                raise TinyccError(f"attribute '{k}' is given twice", self.span(k))
            found[str(k)] = self.attr(v)
        return found

    def attr(self, node: Any) -> Attr:
        if node.data == "list":
            numbers = [_number(str(n.children[0])) for n in node.children if n is not None]
            if all(isinstance(n, int) for n in numbers):
                return tuple(int(n) for n in numbers)
            return tuple(float(n) for n in numbers)
        text: Token = node.children[0]
        match node.data:
            case "number":
                return _number(str(text))
            case "string":
                return str(text)[1:-1]
            case "word":
                return {"true": True, "false": False}.get(str(text), str(text))
            case _:
                return self.blob(text)

    def blob(self, t: Token) -> Blob:
        name, digest = t[1:].rsplit("#", 1)
        if (blob := self.blobs.get(digest)) is None:
            raise TinyccError(
                f"no constant with digest {digest}",
                self.span(t),
                "constants are read from the .npz file beside the .tnn file",
            )
        return Blob(name, blob.array)

    def type(self, node: Any) -> TensorType:
        name, params, *dims, quant = node.children
        dtype = self.dtype(name, params.children if params is not None else [])
        for d in dims:
            if d is not None and not str(d).isdigit():
                raise TinyccError(f"'{d}' is not a dimension", self.span(d), "a positive integer")
        return TensorType(dtype, tuple(int(d) for d in dims if d is not None), self.quant(quant))

    def dtype(self, name: Token, params: list[Token]) -> DType:
        for p in params:
            if p.type != "BLOB" and not str(p).isdigit():
                raise TinyccError(f"'{p}' is not a parameter", self.span(p), "0, 1, ...")
        found = tuple(self.blob(p) if p.type == "BLOB" else int(p) for p in params)
        try:
            return DType.of_parts(str(name), found)
        except ValueError as e:
            hint = f"such as f32, i8, i16, i32, u8; for weights also {', '.join(FORMATS)}"
            raise TinyccError(str(e), self.span(name), hint) from None

    def quant(self, node: Tree[Token] | None) -> Quant | None:
        if node is None:
            return None
        scale, zero, *axis = [c for c in node.children if isinstance(c, Token)]
        if not str(zero).lstrip("+-").isdigit():
            raise TinyccError(f"'{zero}' is not a zero point", self.span(zero), "an integer")
        if not axis:
            number = float(_number(str(scale)))
            if not 0 < number < float("inf"):
                raise TinyccError(f"'{scale}' is not a scale", self.span(scale), "positive, finite")
            return Quant(number, int(zero))
        if not str(axis[0]).isdigit():
            raise TinyccError(f"'{axis[0]}' is not an axis", self.span(axis[0]), "0, 1, ...")
        return Quant(self.blob(scale), int(zero), int(axis[0]))

    def define(self, t: Any, v: Value) -> None:
        if str(t) in self.values:
            raise TinyccError(f"{t} is defined twice", self.span(t), "rename one of the two")
        self.values[str(t)] = v

    def use(self, t: Token) -> Value:
        if (v := self.values.get(str(t))) is None:
            raise TinyccError(f"{t} is not defined", self.span(t), "define it above its first use")
        return v


def _number(text: str) -> int | float:
    if text.lstrip("+-").isdigit():
        return int(text)
    return float(text)
