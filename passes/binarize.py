"""
binarize: layers on one bit of each input and weight.

    %y = conv2d %x, %w, %b {pad=[1,1,1,1]} : i8[...] q(0.1, -3)
 ->
    %p = pack_signs %x {threshold=-90} : i32[...] q(1.0, 0)
    %y = xnor_conv2d %p, %w', %b' {channels=64, pad=[1,1,1,1]} : i8[...] q(0.1, -3)

For conv2d that is not grouped, and dense of one row. A sum of products is the number of equal bits
less that of different ones; its gain in each channel, part of the requantization, and the bias are
fitted to the layer's output on calibration data. Padding is -1, as zeros behind a relu are. Accuracy
without training is low; binarize few layers.

Sources: Rastegari et al., "XNOR-Net: ImageNet Classification Using Binary Convolutional Neural
Networks", 2016; Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import I8, Blob, Quant
from tinycc_nn.numeric.requantize import multipliers
from tinycc_nn.ops import emit, number
from tinycc_nn.ops.xnor import pack_bits
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.quantization.xnor import Bits, inputs_of, to_bits

MOST_SAMPLES = 64
ACTIVATION = ("act", "act_min", "act_max")


@dataclass(frozen=True)
class Binarize(Pass):
    keeps_values: ClassVar[bool] = False
    needs_calibration: ClassVar[bool] = True

    layers: tuple[str, ...] = option((), "names of the layers; at least one", by_layer=True)

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError(
                "give the names of layers, as in {layers=[conv2]}; each loses accuracy"
            )

    def apply(self, graph: Graph, context: Context) -> None:
        able = {op.result.name.rstrip("'"): op for op in graph.ops if _has_bits(op)}
        ops = [_found(name, able) for name in dict.fromkeys(self.layers)]
        samples = stored_inputs(graph, context.calibration)
        inputs = inputs_of(graph, {k: a[:MOST_SAMPLES] for k, a in samples.items()}, ops)
        packed: dict[tuple[Value, int], Value] = {}
        for op in sorted(ops, key=graph.ops.index):
            _replace(graph, op, to_bits(op, inputs[op.operands[0]]), packed)
        graph.sweep()


def _has_bits(op: Op) -> bool:
    if op.name not in ("conv2d", "dense") or op.type.dtype != I8:
        return False
    if any(v.constant is None for v in op.operands[1:]):
        return False
    if op.name == "dense":
        return op.type.rank == 2 and op.type.shape[0] == 1
    return number(op, "groups") == 1


def _found(name: str, able: dict[str, Op]) -> Op:
    if (op := able.get(name.rstrip("'"))) is None:
        message = f"binarize: no int8 conv2d (not grouped) or dense layer is called '{name}'"
        raise TinyccError(message, hint=nearest(name, able) if able else "it works after quantize")
    return op


def _replace(graph: Graph, op: Op, bits: Bits, packed: dict[tuple[Value, int], Value]) -> None:
    x, name = op.operands[0], op.result.name
    sy = float(op.type.steps()[0])
    _, shift = multipliers(bits.gain / sy)
    gain = np.maximum(bits.gain, sy * 2.0 ** (8 - shift)).astype(np.float32)
    real = np.rint(bits.bias / gain.astype(np.float64))
    bias = np.clip(real, -(2**30), 2**30).astype(np.int32)
    if op.name == "dense":
        x = _reshaped(graph, x, (1, 1, 1, x.type.shape[-1]), op)
    source = packed.get((x, bits.threshold))
    if source is None:
        attrs = {"threshold": bits.threshold}
        source = emit(
            graph, "pack_signs", [x], attrs, quant=Quant(1.0), result=f"{name}.bits", before=op
        )
        packed[x, bits.threshold] = source
    weights = Quant(Blob(f"{name}.gain", gain), 0, 0)
    w = graph.constant(op.operands[1].name, pack_bits(bits.weights), weights, before=op)
    b = graph.constant(f"{name}.bias", bias, before=op)
    kept = {k: v for k, v in op.attrs.items() if k in (*ACTIVATION, "stride", "pad", "dilation")}
    kept["channels"] = x.type.shape[3]
    y = emit(
        graph, "xnor_conv2d", [source, w, b], kept,
        quant=op.type.quant, result=name, before=op, loc=op.loc,
    )  # fmt: skip
    if op.name == "dense":
        y = _reshaped(graph, y, op.type.shape, op)
    graph.replace_value(op.result, y)
    graph.erase(op)


def _reshaped(graph: Graph, v: Value, shape: tuple[int, ...], before: Op) -> Value:
    return emit(graph, "reshape", [v], {"shape": shape}, result=v.name, before=before)
