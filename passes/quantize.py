"""
quantize: float graph to int8 by post-training quantization.

Ranges of activations are observed on calibration data; then every operator that has an integer
meaning gets int8 operands and an int8 result, with quantize and dequantize only at the borders
to what stays float. Weights are symmetric in -127..127, biases int32.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018; Nagel et al., "A White Paper on Neural Network
Quantization", 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinycc_nn.calibration import choose_range, observe
from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import F32, Array, DType, Quant
from tinycc_nn.ops import emit, opdef
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.quantization.bias import correct_biases
from tinycc_nn.quantization.plan import Groups, integer_ops
from tinycc_nn.quantization.qdq import fuse
from tinycc_nn.quantization.weights import guard_scales, quantize_weight, weight_scales


@dataclass(frozen=True)
class Quantize(Pass):
    keeps_values: ClassVar[bool] = False
    needs_calibration: ClassVar[bool] = True

    method: Literal["minmax", "percentile", "mse", "entropy"] = option(
        "minmax", "how the range of an activation is chosen"
    )
    percentile: float = option(
        99.99,
        "of the elements, within the range (method=percentile)",
        choices=(99.9, 99.99, 99.999),
    )
    activations: Literal["asymmetric", "symmetric"] = option(
        "asymmetric", "zero point anywhere, or always 0"
    )
    weights: Literal["auto", "per-channel", "per-tensor"] = option(
        "auto", "a scale for each output channel, or one; auto: channels but for dense"
    )
    weight_bits: int = option(
        8, "more: codes for quantize-weights to round, or for accuracy", choices=(8, 12)
    )
    bias_correction: bool = option(True, "keep the mean of each channel as it was")
    keep_float: tuple[str, ...] = option(
        (), "names of results that are computed in float", by_layer=True
    )

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise ValueError("percentile must be above 50 and at most 100")
        if not 8 <= self.weight_bits <= 12:
            raise ValueError("weight_bits must be 8..12")

    def apply(self, graph: Graph, context: Context) -> None:
        keep = kept(graph, self.keep_float)
        ops = integer_ops(graph, keep)
        groups = Groups(graph, ops)
        seen = observe(graph, context.calibration, groups.observed())
        ranges = {
            v: choose_range(h, self.method, self.activations, self.percentile)
            for v, h in seen.items()
        }
        quants = groups.quants(ranges.__getitem__, self.activations)
        floats = {op: w for op in ops if (w := self._weight(graph, op, quants)) is not None}
        for v, quant in quants.items():
            insert_pair(graph, v, quant, ops)
        if self.bias_correction:
            correct_biases(graph, context.calibration, floats)
        fuse(graph, frozenset(op for op in graph.ops if op.type.dtype == F32 and op not in ops))
        for op in graph.ops:
            if op in ops:
                raise out_of_range(op, "its scales are out of the range of integer arithmetic")

    def _weight(self, graph: Graph, op: Op, quants: dict[Value, Quant]) -> Array | None:
        """Quantize the weight of a layer; what it was, float32, or None if it has none."""
        if opdef(op.name).role(1) != "weight" or (w := op.operands[1].constant) is None:
            return None
        per_channel = self.weights == "per-channel" or (
            self.weights == "auto" and op.name != "dense"
        )
        sx, sy = (float(quants[v].scales()[0]) for v in (op.operands[0], op.result))
        bias = op.operands[2].constant if len(op.operands) > 2 else None
        scales = weight_scales(w, per_channel=per_channel, bits=self.weight_bits)
        try:
            scales = guard_scales(scales, bias, sx, sy)
        except ValueError as e:
            raise out_of_range(op, str(e)) from None
        stored, quant = quantize_weight(op.operands[1].name, w, scales, self.weight_bits)
        name = op.operands[1].name
        dtype = None if self.weight_bits == 8 else DType.parse(f"fixed<{self.weight_bits},0>")
        constant = graph.constant(name, stored, quant, dtype=dtype, before=op)
        graph.set_operand(op, 1, emit(graph, "dequantize", [constant], result=name, before=op))
        return w


def kept(graph: Graph, names: tuple[str, ...]) -> frozenset[Op]:
    """The ops whose results have these names; TinyccError for a name that none has.

    Passes add primes to names that are taken, so `conv1` also stands for `conv1'`.
    """
    made = [op for op in graph.ops if op.name != "const"]
    exact = {op.result.name for op in made}
    stems = {name.rstrip("'") for name in exact}
    for name in names:
        if name not in exact | stems:
            raise TinyccError(
                f"quantize: keep_float: no layer is called '{name}'", hint=nearest(name, stems)
            )
    found = {*names} & exact
    loose = {*names} - exact
    return frozenset(
        op for op in made if op.result.name in found or op.result.name.rstrip("'") in loose
    )


def out_of_range(op: Op, what: str) -> TinyccError:
    """The error of a layer that integers can't compute."""
    name = op.result.name
    hint = f"keep it float: quantize{{keep_float=[{name}]}}"
    return TinyccError(f"quantize: {op.name} {op.result}: {what}", op.loc, hint)


def insert_pair(graph: Graph, v: Value, quant: Quant, ops: set[Op]) -> None:
    """Let `v` be quantized and dequantized for integer ops, for all users if one of them made it."""
    after = 0 if v.owner is None else graph.ops.index(v.owner) + 1
    before = graph.ops[after] if after < len(graph.ops) else None
    uses = tuple(v.uses)
    q = emit(graph, "quantize", [v], quant=quant, result=v.name, before=before)
    d = emit(graph, "dequantize", [q], result=v.name, before=before)
    for op, i in uses:
        if op in ops or v.owner in ops:
            graph.set_operand(op, i, d)
    if v.owner in ops:
        graph.outputs[:] = [d if o is v else o for o in graph.outputs]
