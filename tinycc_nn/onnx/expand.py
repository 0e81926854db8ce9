"""QLinear operators in terms of others: dequantize the operands, compute, quantize the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.onnx.node import label

if TYPE_CHECKING:
    from onnx import NodeProto

Positions = Callable[[int], tuple[int, ...]]


@dataclass(frozen=True)
class QLinear:
    """
    op_type:  the operator on real numbers.
    operands: where (tensor, scale, zero) of each operand begin among `arity` inputs.
    result:   where (scale, zero) of the result begin.
    bias:     where the int32 bias, at the product of the operands' scales, is.
    axis:     along which the second operand's scales go, if there are several.
    """

    op_type: str
    operands: Positions
    result: int
    bias: int = -1
    axis: int = 0


def _at(*positions: int) -> Positions:
    return lambda arity: positions


EXPANDED = {
    "QLinearAdd": QLinear("Add", _at(0, 3), 6),
    "QLinearMul": QLinear("Mul", _at(0, 3), 6),
    "QLinearSigmoid": QLinear("Sigmoid", _at(0), 3),
    "QLinearLeakyRelu": QLinear("LeakyRelu", _at(0), 3),
    "QLinearSoftmax": QLinear("Softmax", _at(0), 3),
    "QLinearAveragePool": QLinear("AveragePool", _at(0), 3),
    "QLinearGlobalAveragePool": QLinear("GlobalAveragePool", _at(0), 3),
    "QLinearConcat": QLinear("Concat", lambda arity: tuple(range(2, arity - 2, 3)), 0),
    "QLinearConv": QLinear("Conv", _at(0, 3), 6, bias=8),
    "QLinearMatMul": QLinear("MatMul", _at(0, 3), 6, axis=-1),
    "QGemm": QLinear("Gemm", _at(0, 3), 7, bias=6, axis=-1),
}
OWN_ATTRIBUTES = {"channels_last": 0, "opset": None}
"""Attributes of the quantized operators alone, and the value that they must have."""


def expand(proto: NodeProto) -> list[NodeProto]:
    """The nodes that `proto` stands for, itself if it is not a QLinear operator."""
    from onnx import NodeProto

    q = EXPANDED.get(proto.op_type)
    if q is None:
        return [proto]
    inputs, stem = list(proto.input), proto.output[0] if proto.output else ""
    positions = q.operands(len(inputs))
    needed = max(*(p + 2 for p in positions), q.result + 1) if positions else len(inputs) + 1
    if len(inputs) < needed or not stem:
        raise TinyccError(f"{proto.op_type} has too few inputs or outputs", label(proto))
    inputs += [""] * (max(q.bias + 1, q.result + 2, needed + 1) - len(inputs))

    def node(op: str, ins: list[str], out: str, axis: int | None = None) -> NodeProto:
        made = NodeProto(op_type=op, name=proto.name or stem, input=ins, output=[out])
        if axis is not None:
            made.attribute.add(name="axis", type=2, i=axis)
        return made

    nodes, reals = [], []
    for i, p in enumerate(positions):
        reals.append(f"{stem}/real{i}")
        nodes.append(node("DequantizeLinear", inputs[p : p + 3], reals[-1], q.axis if i else None))
    if q.bias >= 0 and inputs[q.bias]:
        scale = f"{stem}/bias_scale"
        nodes.append(node("Mul", [inputs[1], inputs[4]], scale))
        nodes.append(node("DequantizeLinear", [inputs[q.bias], scale], f"{stem}/bias", 0))
        reals.append(f"{stem}/bias")
    core = node(q.op_type, reals, f"{stem}/result")
    for a in proto.attribute:
        if a.name not in OWN_ATTRIBUTES:
            core.attribute.append(a)
        elif OWN_ATTRIBUTES[a.name] not in (None, a.i):
            raise TinyccError(f"{a.name}={a.i} is not supported", label(proto))
    nodes.append(core)
    nodes.append(node("QuantizeLinear", [core.output[0], *inputs[q.result : q.result + 2]], stem))
    return nodes
