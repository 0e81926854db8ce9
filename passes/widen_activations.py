"""
widen-activations: int16 instead of int8 between layers.

    %y = conv2d %x, %w, %b : i8[...] q(0.1, -3)
 ->
    %x' = requantize %x {bits=16} : i16[...] q(s / 256, 256 * zero)
    %y = conv2d %x', %w, 256 * %b : i16[...] q(0.1 / 256, -768)

The range of a tensor stays what it was, its steps are 256 times finer. Layers, sums, means and what
moves elements compute on int16; others (softmax, tables of one element) and the graph's inputs and
outputs keep int8, with a requantize between. Weights keep their int8. Sums of products must fit 32
bits for every input, which is checked.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, whose scheme it is with wider activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import I8, I16, Quant, TensorType
from tinycc_nn.ops import Int8, emit, is_storage, opdef
from tinycc_nn.pipeline import Context, Pass, option

STEPS = 256
"""Of int16 to a step of int8."""


@dataclass(frozen=True)
class WidenActivations(Pass):
    keeps_values: ClassVar[bool] = False

    layers: tuple[str, ...] = option(
        (), "names of the only results that become int16", by_layer=True
    )
    skip: tuple[str, ...] = option((), "names of results that stay int8", by_layer=True)

    def apply(self, graph: Graph, context: Context) -> None:
        able = {op.result.name.rstrip("'"): op for op in graph.ops if _computes(op)}
        if not able:
            hint = "it works after quantize, or on a model that is quantized"
            raise TinyccError("widen-activations: there is no int8 layer", hint=hint)
        only = {_found(name, able) for name in self.layers} or set(able.values())
        chosen = only - {_found(name, able) for name in self.skip}
        widened: dict[Value, Value] = {}
        narrowed: dict[Value, Value] = {}
        for op in graph:
            moves = _moves(op) and any(v.type.dtype == I16 for v in op.operands)
            if op in chosen or moves:
                _widen(graph, op, widened)
                continue
            if op.name == "dequantize":
                continue
            for i, v in enumerate(op.operands):
                if v.type.dtype == I16 and v.type.quant is not None and op.name != "const":
                    graph.set_operand(op, i, _narrow(graph, v, narrowed, op))
        graph.outputs[:] = [
            _narrow(graph, v, narrowed, None) if v.type.dtype == I16 else v for v in graph.outputs
        ]
        graph.sweep()


def _computes(op: Op) -> bool:
    d = opdef(op.name)
    return d.int16 and d.int8 is Int8.REQUANTIZE and len(op.results) == 1 and op.type.dtype == I8


def _moves(op: Op) -> bool:
    return is_storage(op) and op.type.dtype == I8 and op.type.quant is not None


def _found(name: str, able: dict[str, Op]) -> Op:
    if (op := able.get(name.rstrip("'"))) is None:
        message = f"widen-activations: no int8 layer is called '{name}'"
        raise TinyccError(message, hint=nearest(name, able))
    return op


def _fine(q: Quant) -> Quant:
    return Quant(float(q.scales()[0]) / STEPS, STEPS * q.zero)


def _coarse(q: Quant) -> Quant:
    return Quant(float(q.scales()[0]) * STEPS, q.zero // STEPS)


def _widen(graph: Graph, op: Op, widened: dict[Value, Value]) -> None:
    d = opdef(op.name)
    for i, v in enumerate(op.operands):
        if d.role(i) == "x" and v.type.dtype == I8:
            graph.set_operand(op, i, _wide(graph, v, widened, op))
    quant = op.type.quant
    assert quant is not None
    if op.name == "requantize":
        op.attrs["bits"] = 16
    op.result.type = TensorType(I16, op.type.shape, _fine(quant))
    if d.role(1) == "weight":
        _check_sums(op)
        if len(op.operands) == 3 and (bias := op.operands[2].constant) is not None:
            fine = (bias.astype(np.int64) * STEPS).astype(np.int32)
            graph.set_operand(op, 2, graph.constant(op.operands[2].name, fine, before=op))


def _wide(graph: Graph, v: Value, widened: dict[Value, Value], before: Op) -> Value:
    if v in widened:
        return widened[v]
    quant = v.type.quant
    assert quant is not None
    fine = _fine(quant)
    if (a := v.constant) is not None:
        widened[v] = graph.constant(
            v.name, a.astype(np.int16) * np.int16(STEPS), fine, before=before
        )
    else:
        widened[v] = emit(
            graph, "requantize", [v], {"bits": 16}, quant=fine, result=v.name, before=before
        )
    return widened[v]


def _narrow(graph: Graph, v: Value, narrowed: dict[Value, Value], before: Op | None) -> Value:
    if v not in narrowed:
        quant = v.type.quant
        assert quant is not None
        made = emit(graph, "requantize", [v], quant=_coarse(quant), result=v.name, before=before)
        narrowed[v] = made
    return narrowed[v]


def _check_sums(op: Op) -> None:
    """TinyccError where a sum may exceed 32 bits, or codes would have to be decoded."""
    x, w = op.operands[0].type.quant, op.operands[1]
    name, hint = op.result.name.rstrip("'"), f"skip=[{op.result.name.rstrip(chr(39))}]"
    bias = op.operands[2].constant if len(op.operands) == 3 else None
    fixed = w.constant is not None and (len(op.operands) < 3 or bias is not None)
    if w.type.dtype != I8 or not fixed or (w.type.quant is not None and w.type.quant.zero):
        what = f"widen-activations: %{name} must have constant, symmetric int8 weights"
        raise TinyccError(f"{what}, not {w.type.dtype}", op.loc, hint)
    assert x is not None and w.constant is not None
    reach = max(2**15 - 1 - x.zero, x.zero + 2**15)
    sums = np.abs(w.constant.astype(np.int64)).reshape(len(w.constant), -1).sum(axis=1) * reach
    if bias is not None:
        sums = sums + np.abs(bias.astype(np.int64)) * STEPS
    if sums.max() >= 2**31:
        message = f"widen-activations: the sums of %{name} may reach {sums.max():,}, beyond 32 bits"
        raise TinyccError(message, op.loc, hint)
