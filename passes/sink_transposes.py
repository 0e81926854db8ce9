"""
sink-transposes: let every operator work in the layout that its operand has in memory.

Transposes move down through operators that don't mind the order of axes, until they meet their
inverse, a dense layer whose columns can be permuted, or an output.

    %t = transpose %x {perm=[0,3,1,2]}
    %r = relu %t                                    ->   %y = relu %x
    %y = transpose %r {perm=[0,2,3,1]}

    %t = transpose %x {perm=[0,3,1,2]}                   %f = reshape %x {shape=[1,64]}
    %f = reshape %t {shape=[1,64]}                  ->   %y = dense %f, %w'
    %y = dense %f, %w                                    w' has the columns of w in x's order

A transpose that moves only axes of one element becomes a reshape. The graph stays as it was if
the transposes that are left would move more bytes than before.

Source: layout conversion as in Liu et al., "Optimizing CNN Model Inference on CPUs", USENIX ATC
2019, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ops import emit, ints, opdef
from tinycc_nn.passes._constants import is_known, moved
from tinycc_nn.passes._layout import (
    Perm,
    compose,
    inverse,
    keeps_order,
    moved_attrs,
    moved_quant,
    reshaped,
)
from tinycc_nn.pipeline import Context, Pass


@dataclass(frozen=True)
class SinkTransposes(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        trial = graph.clone()
        _Sinker(trial).run()
        if moved_bytes(trial) <= moved_bytes(graph):
            graph.assign(trial)


def moved_bytes(graph: Graph) -> int:
    """Bytes that the transposes of a graph move."""
    return sum(op.type.nbytes for op in graph.ops if op.name == "transpose")


@dataclass(frozen=True)
class Form:
    """A value that isn't computed yet: reshape(transpose(source, perm), shape)."""

    source: Value
    perm: Perm
    shape: tuple[int, ...] | None = None

    @property
    def trivial(self) -> bool:
        return self.shape is None and self.perm == tuple(range(len(self.perm)))


class _Sinker:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.forms: dict[Value, Form] = {}
        self.made: dict[Value, Value] = {}

    def run(self) -> None:
        for op in self.graph:
            if len(op.results) != 1:
                continue
            form = self.form(op)
            if form is not None:
                self.forms[op.result] = form
                continue
            for i, v in enumerate(op.operands):
                self.graph.set_operand(op, i, self.materialize(v, op))
        self.graph.outputs[:] = [self.materialize(v, None) for v in self.graph.outputs]
        self.graph.sweep()

    def materialize(self, v: Value, before: Op | None) -> Value:
        """`v` as a value that is computed, in front of an op."""
        form = self.forms.get(v)
        if form is None:
            return v
        if v not in self.made:
            self.made[v] = self._make(v, form, before)
        return self.made[v]

    def _make(self, v: Value, form: Form, before: Op | None) -> Value:
        x = form.source
        if form.trivial:
            return x
        if form.perm != tuple(range(len(form.perm))) and not keeps_order(x.type.shape, form.perm):
            attrs = {"perm": form.perm}
            x = emit(self.graph, "transpose", [x], attrs, result=v.name, before=before)
        if x.type.shape == v.type.shape:
            return x
        return self.reshape(x, v.type.shape, v.name, before)

    def reshape(self, x: Value, shape: tuple[int, ...], name: str, before: Op | None) -> Value:
        if x.type.shape == shape:
            return x
        return emit(self.graph, "reshape", [x], {"shape": shape}, result=name, before=before)

    def form(self, op: Op) -> Form | None:
        """The result of `op` as a form; None if the op stays as it is."""
        if op.name == "transpose":
            return self.transpose(op)
        if not op.operands or not any(v in self.forms for v in op.operands):
            return None
        if op.name == "reshape":
            return self.reshape_form(op)
        if op.name == "dense":
            return self.dense(op)
        if len(op.operands) == 1 and self.pending(op.operands[0]).shape is not None:
            return self.flat_unary(op)
        return self.sink(op)

    def pending(self, v: Value) -> Form:
        return self.forms.get(v) or Form(v, tuple(range(v.type.rank)))

    def transpose(self, op: Op) -> Form | None:
        x = self.pending(op.operands[0])
        if is_known(op.operands[0]):
            return None
        if x.shape is not None:
            x = Form(self.materialize(op.operands[0], op), tuple(range(op.type.rank)))
        return Form(x.source, compose(x.perm, ints(op, "perm")))

    def reshape_form(self, op: Op) -> Form | None:
        x = self.forms[op.operands[0]]
        wanted, source = op.type.shape, x.source
        if keeps_order(source.type.shape, x.perm) and source.type.quant == op.type.quant:
            y = self.reshape(source, wanted, op.result.name, op)
            return Form(y, tuple(range(len(wanted))))
        if op.type.quant is not None and op.type.quant.axis is not None:
            return None
        if x.shape is None and (found := reshaped(source.type.shape, x.perm, wanted)):
            shape, perm = found
            return Form(self.reshape(source, shape, op.result.name, op), perm)
        return Form(source, x.perm, wanted)

    def flat_unary(self, op: Op) -> Form | None:
        """An elementwise op of a flattened tensor works on the tensor as it is in memory."""
        x = self.forms[op.operands[0]]
        q = op.type.quant
        if not opdef(op.name).elementwise or (q is not None and q.axis is not None):
            return None
        y = emit(
            self.graph, op.name, [x.source], op.attrs,
            result=op.result.name, quant=q, before=op, loc=op.loc,
        )  # fmt: skip
        return Form(y, x.perm, x.shape)

    def dense(self, op: Op) -> Form | None:
        """A dense layer of a whole flattened tensor takes it in any order."""
        x, w = self.forms.get(op.operands[0]), op.operands[1]
        if x is None or x.source.type.size != w.type.shape[1] or not is_known(w):
            return None
        order = np.arange(x.source.type.size).reshape(x.source.type.shape).transpose(x.perm)
        columns = tuple(int(i) for i in np.argsort(order.reshape(-1)))
        weight = moved(self.graph, "take", w, {"axis": 1, "indices": columns}, before=op)
        if weight is None:
            return None
        flat = self.reshape(x.source, op.operands[0].type.shape, op.operands[0].name, op)
        y = emit(
            self.graph, "dense", [flat, weight, *op.operands[2:]], op.attrs,
            result=op.result.name, quant=op.type.quant, before=op, loc=op.loc,
        )  # fmt: skip
        return Form(y, tuple(range(op.type.rank)))

    def sink(self, op: Op) -> Form | None:
        """Let a transpose that most operands have pass `op`."""
        forms = [self.forms[v] for v in op.operands if v in self.forms]
        perms = [f.perm for f in forms if f.shape is None and not f.trivial]
        if not perms:
            return None
        perm = max(perms, key=perms.count)
        found = moved_attrs(op, perm)
        others = [v for v in op.operands if self.pending(v).perm != perm and not is_known(v)]
        if found is None or len(others) > perms.count(perm):
            return None
        attrs, result_perm = found
        operands = [self.in_layout(v, perm, op) for v in op.operands]
        y = emit(
            self.graph, op.name, operands, attrs, result=op.result.name,
            quant=moved_quant(op.type.quant, result_perm), before=op, loc=op.loc,
        )  # fmt: skip
        return Form(y, result_perm)

    def in_layout(self, v: Value, perm: Perm, before: Op) -> Value:
        """x with v = transpose(x, perm)."""
        form = self.pending(v)
        if form.perm == perm and form.shape is None:
            return form.source
        attrs = {"perm": inverse(perm)}
        if (known := moved(self.graph, "transpose", v, attrs, before)) is not None:
            return known
        back = compose(form.perm, inverse(perm)) if form.shape is None else inverse(perm)
        source = form.source if form.shape is None else self.materialize(v, before)
        if back == tuple(range(len(back))):
            return source
        shape = tuple(source.type.shape[p] for p in back)
        if keeps_order(source.type.shape, back):
            return self.reshape(source, shape, v.name, before)
        return emit(self.graph, "transpose", [source], {"perm": back}, result=v.name, before=before)
