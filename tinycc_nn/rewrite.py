"""Rewrite rules whose left side is written in the IR's own text, types and attributes left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lark import Token, Tree

from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.syntax import parse_tree
from tinycc_nn.ir.types import Array, Quant
from tinycc_nn.ops import emit


@dataclass(frozen=True, slots=True)
class Match:
    """What a pattern's names stood for: `m["%x"]` is a value, `m.op("%x")` the op that makes it."""

    graph: Graph
    root: Op
    values: dict[str, Value]

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def op(self, name: str) -> Op:
        owner = self.values[name].owner
        assert owner is not None, f"{name} is a graph input"
        return owner

    def emit(
        self,
        name: str,
        *operands: Value,
        like: Value | None = None,
        quant: Quant | None = None,
        attrs: Mapping[str, Attr] | None = None,
    ) -> Value:
        """Add an op in front of the root; it is named after `like`, by default after the root."""
        named = like or self.root.result
        return emit(
            self.graph, name, operands, attrs,
            result=named.name, quant=quant, before=self.root, loc=self.root.loc,
        )  # fmt: skip

    def constant(self, array: Array, like: Value, quant: Quant | None = None) -> Value:
        """Add a constant in front of the root, named after `like`."""
        return self.graph.constant(like.name, array, quant, before=self.root)


Rewrite = Callable[[Match], Value | None]


@dataclass(frozen=True)
class Rule:
    """`pattern` ends in the root op. `action` returns what replaces its result, or None."""

    ops: tuple[tuple[str, str, tuple[str, ...]], ...]
    action: Rewrite

    @property
    def root(self) -> str:
        """The operator of the last line of the pattern."""
        return self.ops[-1][1]

    def match(self, graph: Graph, root: Op) -> Match | None:
        makes = {result: (name, args) for result, name, args in self.ops}
        bound: dict[str, Value] = {}

        def bind(name: str, v: Value, *, inner: bool) -> bool:
            if bound.setdefault(name, v) is not v:
                return False
            if name not in makes:
                return True
            kind, args = makes[name]
            op = v.owner
            if op is None or op.name != kind or len(op.operands) != len(args):
                return False
            if inner and kind != "const" and (len(v.users) > 1 or v in graph.outputs):
                return False
            return all(bind(a, o, inner=True) for a, o in zip(args, op.operands, strict=True))

        if len(root.results) != 1 or not bind(self.ops[-1][0], root.result, inner=False):
            return None
        return Match(graph, root, bound)


def rule(pattern: str) -> Callable[[Rewrite], Rule]:
    """Turn a function into a rule.

    Each line of the pattern is `%y = op %a, %b`; a name without a line matches any value, the
    same name the same value. Inner values must have no other user, unless they are constants.
    """
    tree = parse_tree(pattern, "pattern", "<pattern>")
    ops = tuple(
        (str(op.children[0]), str(op.children[1]), _operands(op.children[2]))
        for op in tree.children
        if isinstance(op, Tree)
    )
    return lambda action: Rule(ops, action)


def _operands(tree: Tree[Token] | Token | None) -> tuple[str, ...]:
    if not isinstance(tree, Tree):
        return ()
    return tuple(str(t) for t in tree.children if isinstance(t, Token))


def rewrite(graph: Graph, *rules: Rule) -> bool:
    """Apply rules until none matches. Dead ops are swept. True if anything changed.

    Ops are visited in order; after a change the visit goes on from there and starts over at
    the end, so that long graphs don't cost a full scan for each change.
    """
    changed = False
    while _sweep_once(graph, rules):
        changed = True
    return changed


def _sweep_once(graph: Graph, rules: tuple[Rule, ...]) -> bool:
    changed = False
    for op in graph:
        if op.results and not graph.is_used(op.results[0]):
            continue
        for r in rules:
            if op.name != r.root or (m := r.match(graph, op)) is None:
                continue
            new = r.action(m)
            if new is None or new is op.result:
                continue
            graph.replace_value(op.result, new)
            changed = True
            break
    if changed:
        graph.sweep()
    return changed
