"""
Fusion of dequantize -> float operator -> quantize into an integer operator.

    %f = conv2d dequantize(%x), dequantize(%w), dequantize(%b)
    %y = quantize relu(%f)
 ->
    %y = conv2d %x, %w, %b' {act=relu}

Dequantize moves down through storage operators, quantize up to the operator that computes. What
has no integer meaning stays float between its dequantize and its quantize.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.calibration import affine
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.types import F32, I8, Array, DType, Quant
from tinycc_nn.numeric.requantize import quantize
from tinycc_nn.ops import Int8, emit, is_storage, number, opdef, word
from tinycc_nn.quantization.weights import quantize_bias


def fuse(graph: Graph, keep: frozenset[Op] = frozenset()) -> None:
    """Replace, in place, what can be computed on integers. The ops of `keep` stay float."""
    fusion = _Fusion(graph, keep)
    for op in graph:
        if not any(graph.is_used(r) for r in op.results) or op in keep:
            continue
        if op.name == "quantize":
            new = fusion.integer(op.operands[0], _quant(op.result), op)
        else:
            new = fusion.sink(op)
        if new is not None:
            graph.replace_value(op.result, new)
    graph.sweep()


def _quant(v: Value) -> Quant:
    assert v.type.quant is not None
    return v.type.quant


def _dequantized(v: Value) -> Value | None:
    """What `v` is the dequantization of, if that is an int8 tensor with one scale."""
    if v.owner is None or v.owner.name != "dequantize":
        return None
    x = v.owner.operands[0]
    return x if x.type.dtype == I8 and _quant(x).axis is None else None


def stored_constant(v: Value) -> tuple[Array, Quant] | None:
    """The integers and the quantization of a constant that is dequantized, perhaps transposed."""
    op = v.owner
    if op is None or not op.operands:
        return None
    source = op.operands[0]
    if op.name == "dequantize":
        inner = source if source.owner is None or source.owner.name == "const" else None
        array = inner.constant if inner is not None else _stored(source)
        return None if array is None else (array, _quant(source))
    if op.name != "transpose" or (found := stored_constant(source)) is None:
        return None
    array, quant = found
    perm = op.attrs["perm"]
    assert isinstance(perm, tuple)
    axis = None if quant.axis is None else perm.index(quant.axis)
    return array.transpose([int(p) for p in perm]), Quant(quant.scale, quant.zero, axis)


def codes_of(v: Value) -> DType | None:
    """The type of the codes that `v` is the dequantization of."""
    dequantized = v.owner is not None and v.owner.name == "dequantize"
    dtype = v.owner.operands[0].type.dtype if v.owner is not None and dequantized else None
    return dtype if dtype is not None and dtype.book is not None else None


def _stored(v: Value) -> Array | None:
    """The elements of a constant that storage operators have moved."""
    if v.constant is not None:
        return v.constant
    if v.owner is None or not is_storage(v.owner):
        return None
    parts = [_stored(o) for o in v.owner.operands]
    known = [p[None] for p in parts if p is not None]
    return opdef(v.owner.name).run(v.owner, *known)[0] if len(known) == len(parts) else None


def is_computable(v: Value) -> bool:
    """Whether the factors of the integer op that makes `v` are in range."""
    op = v.owner
    assert op is not None
    zeros = [np.zeros((1, *o.type.shape), o.type.dtype.numpy) for o in op.operands]
    try:
        opdef(op.name).run(op, *zeros)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class _Fusion:
    graph: Graph
    keep: frozenset[Op]

    def sink(self, op: Op) -> Value | None:
        """A storage op on dequantized operands of one quantization, dequantized after it."""
        if not is_storage(op) or op.type.dtype != F32:
            return None
        stored = [x for v in op.operands if (x := _dequantized(v)) is not None]
        if len(stored) != len(op.operands) or len({_quant(x) for x in stored}) != 1:
            return None
        moved = self.emit(op, op.name, stored, op.attrs, _quant(stored[0]))
        return emit(self.graph, "dequantize", [moved], result=op.result.name, before=op)

    def emit(
        self, at: Op, name: str, operands: list[Value], attrs: Mapping[str, Attr], quant: Quant
    ) -> Value:
        """Add an integer op in front of `at`, named after it."""
        return emit(
            self.graph, name, operands, attrs,
            result=at.result.name, quant=quant, before=at, loc=at.loc,
        )  # fmt: skip

    def integer(self, v: Value, quant: Quant, user: Op) -> Value | None:
        """`v` as int8 with `quant`, computed on integers for its only user; None if it can't be."""
        if (x := _dequantized(v)) is not None:
            if _quant(x) == quant:
                return x
            return self.emit(user, "requantize", [x], {}, quant)
        if (a := v.constant) is not None and a.dtype == np.float32 and quant.axis is None:
            stored = quantize(a, float(quant.scales()[0]), quant.zero)
            return self.graph.constant(v.name, stored, quant, before=user)
        op = v.owner
        alone = v.users == [user] and v not in self.graph.outputs
        if op is None or not alone or op in self.keep or len(op.results) != 1:
            return None
        if opdef(op.name).int8 is Int8.NONE or op.name in ("quantize", "dequantize"):
            return None
        if is_storage(op):
            return self._storage(op, quant)
        return self._computed(self._with_activation(op), op, quant)

    def _storage(self, op: Op, quant: Quant) -> Value | None:
        parts = [p for v in op.operands if (p := self.integer(v, quant, op)) is not None]
        if len(parts) != len(op.operands):
            return None
        return self.emit(op, op.name, parts, op.attrs, quant)

    def _with_activation(self, op: Op) -> Op:
        """The layer before a relu or clip, with that as its activation, or the op itself."""
        layer = op.operands[0].owner
        if op.name not in ("relu", "clip") or layer is None or layer in self.keep:
            return op
        if opdef(layer.name).attribute("act") is None or word(layer, "act") != "none":
            return op
        if op.operands[0].users != [op] or op.operands[0] in self.graph.outputs:
            return op
        attrs = dict(layer.attrs)
        attrs["act"] = op.name
        if op.name == "clip":
            attrs["act_min"], attrs["act_max"] = number(op, "min"), number(op, "max")
        return Op(layer.name, layer.operands, attrs, op.results, layer.loc)

    def _computed(self, op: Op, at: Op, quant: Quant) -> Value | None:
        d = opdef(op.name)
        stored = [self._operand(v, at) for i, v in enumerate(op.operands) if d.role(i) == "x"]
        operands = [x for x in stored if x is not None]
        if not operands or len(operands) != len(stored):
            return None
        if d.role(1) == "weight":
            parameters = self._parameters(op, at, _quant(operands[0]))
            if parameters is None:
                return None
            operands += parameters
        if d.output is None or d.elementwise or d.output == quant:
            result = self.emit(at, op.name, operands, op.attrs, quant)
            return result if is_computable(result) else None
        fixed = self.emit(at, op.name, operands, op.attrs, d.output)
        return self.emit(at, "requantize", [fixed], {}, quant)

    def _operand(self, v: Value, at: Op) -> Value | None:
        a = v.constant
        if a is None or a.dtype != np.float32:
            return _dequantized(v)
        quant = affine(float(a.min()), float(a.max()))
        stored = quantize(a, float(quant.scales()[0]), quant.zero)
        return self.graph.constant(v.name, stored, quant, before=at)

    def _parameters(self, op: Op, at: Op, x: Quant) -> list[Value] | None:
        """The weight and bias of a layer as int8 and int32 constants."""
        weight = stored_constant(op.operands[1])
        coded = codes_of(op.operands[1])
        is_stored = weight is not None and (weight[0].dtype == np.int8 or coded is not None)
        if weight is None or not is_stored or weight[1].axis not in (None, 0):
            return None
        array, quant = weight
        sx = float(x.scales()[0])
        try:
            bias = self._bias(op, sx, quant.scales())
        except OverflowError:
            return None
        name = op.operands[1].name
        parameters = [self.graph.constant(name, array, quant, dtype=coded, before=at)]
        if bias is not None:
            parameters.append(self.graph.constant(op.operands[2].name, bias, before=at))
        return parameters if len(parameters) == len(op.operands) - 1 else None

    def _bias(self, op: Op, sx: float, sw: Array) -> Array | None:
        if len(op.operands) < 3:
            return None
        if (found := stored_constant(op.operands[2])) is not None:
            stored, quant = found
            real = (stored.astype(np.float64) - quant.zero) * quant.scales()
        elif (real_bias := op.operands[2].constant) is not None:
            real = real_bias
        else:
            return None
        return quantize_bias(real, sx, sw)
