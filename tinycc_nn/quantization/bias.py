"""
Bias correction: the mean error that rounded weights make is taken out of the bias.

A layer is linear in its input, so the mean over samples of what the rounding of its weights
changes, E[(W' - W) x], is that layer with the weights W' - W on the mean of its input. The mean
over samples and positions is subtracted from each output channel.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
2019, section 4.2 and appendix D (the empirical form).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.numeric.requantize import dequantize
from tinycc_nn.ops import emit
from tinycc_nn.ops.quant import scale_of
from tinycc_nn.quantization.qdq import codes_of, stored_constant
from tinycc_nn.reference import run, visit


def correct_biases(graph: Graph, inputs: Mapping[str, Array], floats: Mapping[Op, Array]) -> None:
    """Correct the float biases of a graph of quantize and dequantize pairs, in place.

    inputs: calibration data, float32[samples, *shape] by name. floats: the layers, with their
    weights float32[n, ...] before they were rounded. A layer without a bias gets one.
    """
    means = mean_values(graph, inputs, {op.operands[0] for op in floats})
    for op, w in floats.items():
        found = stored_constant(op.operands[1])
        assert found is not None
        stored, quant = found
        if (coded := codes_of(op.operands[1])) is not None:
            stored = coded.decode(stored)
        rounded = dequantize(stored, scale_of(quant, w.ndim), quant.zero).reshape(w.shape)
        error = channel_means(op, means[op.operands[0]], rounded - w)
        set_bias(graph, op, (bias_of(op, len(w)) - error).astype(np.float32))


def mean_values(
    graph: Graph, inputs: Mapping[str, Array], values: set[Value]
) -> dict[Value, Array]:
    """float64[*shape]: the means of float values over the samples."""
    sums: dict[Value, Array] = {}
    samples = len(next(iter(inputs.values())))

    def see(v: Value, a: Array) -> None:
        if v in values:
            sums[v] = sums.get(v, np.float64(0)) + a.sum(axis=0, dtype=np.float64)

    visit(graph, inputs, see)
    return {v: total / samples for v, total in sums.items()}


def channel_means(op: Op, x: Array, w: Array) -> Array:
    """float64[n]: the mean of each output channel of a layer with other weights, without bias."""
    graph = Graph("layer")
    attrs = {k: a for k, a in op.attrs.items() if not k.startswith("act")}
    source = graph.add_input("x", op.operands[0].type)
    weight = graph.constant("w", w.astype(np.float32))
    graph.outputs = [emit(graph, op.name, [source, weight], attrs)]
    (y,) = run(graph, {"x": x.astype(np.float32)[None]})
    return np.asarray(y.reshape(-1, y.shape[-1]).mean(axis=0, dtype=np.float64))


def bias_of(op: Op, channels: int) -> Array:
    """float64[channels]: the bias of a layer, zeros if it has none."""
    a = op.operands[2].constant if len(op.operands) > 2 else None
    return np.zeros(channels) if a is None else a.astype(np.float64)


def set_bias(graph: Graph, op: Op, bias: Array) -> None:
    """Give a layer the float32[n] bias."""
    name = op.operands[2].name if len(op.operands) > 2 else f"{op.result.name}.bias"
    new = graph.constant(name, bias, before=op)
    if len(op.operands) > 2:
        graph.set_operand(op, 2, new)
        return
    op.operands = (*op.operands, new)
    new.uses.append((op, 2))
