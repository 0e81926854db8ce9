"""How good a network is on samples: what goes in, what comes out, and the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinycc_nn.data import Dataset
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.numeric.requantize import dequantize, quantize

FLOAT_TOLERANCE = 1e-4
"""Of the largest magnitude: by how much float outputs of C and interpreter may differ."""


def stored_inputs(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Samples by the name of the input, as `graph` stores them: float32 samples of a quantized
    input are quantized, others are left as they are."""
    return {v.name: _stored(v, inputs[v.name]) for v in graph.inputs}


def _stored(v: Value, samples: Array) -> Array:
    q = v.type.quant
    if q is None or samples.dtype == v.type.dtype.numpy:
        return samples
    assert isinstance(q.scale, float)
    return quantize(samples.astype(np.float32), q.scale, q.zero)


def real_outputs(graph: Graph, outputs: Sequence[Array]) -> list[Array]:
    """Stored outputs [samples, *shape] as real numbers, float32."""
    return [_real(v, a) for v, a in zip(graph.outputs, outputs, strict=True)]


def _real(v: Value, stored: Array) -> Array:
    q = v.type.quant
    if q is None:
        return stored.astype(np.float32)
    assert isinstance(q.scale, float)
    return dequantize(stored, q.scale, q.zero)


def score(output: Array, data: Dataset) -> tuple[str, float]:
    """The metric and its value for the first output, real numbers [samples, *shape].

    "top1": the fraction of samples whose largest element is at the label. "mse": the mean squared
    error against labels of the output's shape, or without labels against the only input, for a
    network that reconstructs it. TinyccError if the data fits neither.
    """
    flat = output.reshape(len(output), -1).astype(np.float64)
    labels = data.labels
    if labels is None:
        (first, *others) = data.inputs.values()
        if others or first[0].size != flat.shape[1]:
            hint = "name them: FILE.npz:x,y (without labels a network must reconstruct its input)"
            raise TinyccError("the evaluation data has no labels", hint=hint)
        return "mse", _mse(flat, first.reshape(len(first), -1))
    if labels.size == flat.size:
        return "mse", _mse(flat, labels.reshape(len(labels), -1))
    if labels.dtype.kind not in "iu" or labels.size != len(labels):
        message = f"the labels are {labels.dtype}{list(labels.shape)}"
        raise TinyccError(message, hint="give class numbers, one for each sample")
    classes = labels.reshape(-1).astype(np.int64)
    if classes.min() < 0 or classes.max() >= flat.shape[1]:
        message = f"there are labels {classes.min()} to {classes.max()}"
        raise TinyccError(message, hint=f"the network has {flat.shape[1]} classes, from 0")
    return "top1", float(np.mean(flat.argmax(axis=1) == classes))


def _mse(a: Array, b: Array) -> float:
    return float(np.mean((a - b.astype(np.float64)) ** 2))


def mismatches(wanted: Sequence[Array], found: Sequence[Array]) -> Array:
    """bool[samples]: where any output [samples, *shape] differs, integers in any bit, floats by
    more than FLOAT_TOLERANCE of the sample's largest magnitude (at least 1)."""
    bad = np.zeros(len(wanted[0]), np.bool_)
    for w, f in zip(wanted, found, strict=True):
        a, b = (x.reshape(len(x), -1) for x in (w, f))
        if a.dtype.kind != "f":
            bad |= (a != b).any(axis=1)
            continue
        allowed = FLOAT_TOLERANCE * np.maximum(1, np.abs(a).max(axis=1, keepdims=True))
        bad |= ~(np.abs(a - b) <= allowed).all(axis=1)
    return bad
