"""What layers read on calibration data: rows of the matrix that their weights multiply."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import opdef
from tinycc_nn.ops.conv import windows
from tinycc_nn.pruning.layers import group_count, real
from tinycc_nn.reference import check_inputs

ROWS = 2**12
"""Positions of a layer that are looked at, at most: enough where all outputs keep the same inputs."""
ROWS_OF_INPUT, FEWEST_ROWS = 64, 2**11
"""Positions for each input of a weight row that suffice, but so many are always looked at."""
SPARSE_ROWS = 2**14
"""Positions, at most, where each output keeps inputs of its own."""
ELEMENTS = 2**23
"""Elements of the matrix of one layer's inputs, at most: 64 MiB as float64."""
ACTIVATION_BYTES = 2**29
"""Of all values of a graph together, over all samples, at most."""
BATCH = 32

_PIECE = 64


def calibration(
    graph: Graph, data: Mapping[str, Array], why: str, otherwise: str
) -> dict[str, Array]:
    """Samples as the graph stores its inputs, evenly spaced if not all fit `ACTIVATION_BYTES`.

    data: float32[samples, *shape] by name. TinyccError if there is none: `why` says what needs it,
    `otherwise` which option does without.
    """
    if not data:
        hint = f"give some with --calib, or {otherwise}"
        raise TinyccError(f"{why} needs calibration data", hint=hint)
    if not all(np.isfinite(a).all() for a in data.values()):
        message = f"{why}: the calibration data has samples that are infinite or not a number"
        raise TinyccError(message, hint="remove them")
    inputs = stored_inputs(graph, data)
    n = check_inputs(graph, inputs)
    each = sum(r.type.nbytes for op in graph.ops if op.name != "const" for r in op.results)
    fitting = max(1, ACTIVATION_BYTES // max(1, each))
    if n <= fitting:
        return inputs
    return evenly(inputs, fitting)


def evenly(inputs: Mapping[str, Array], most: int) -> dict[str, Array]:
    """At most so many of the samples, evenly spaced."""
    n = sample_count(inputs)
    some = np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
    return {name: a[some] for name, a in inputs.items()}


def sample_count(inputs: Mapping[str, Array]) -> int:
    return len(next(iter(inputs.values())))


def enough_rows(op: Op) -> int:
    """Positions by which a layer is fitted well where all outputs keep the same inputs."""
    inputs = op.operands[1].type.size // op.operands[1].type.shape[0]
    return min(ROWS, max(FEWEST_ROWS, ROWS_OF_INPUT * inputs))


def pick(op: Op, samples: int, rows: int = ROWS) -> Array:
    """int[m]: at most `rows` of the layer's positions, numbered over samples, rows and columns."""
    total = samples * (op.type.size // op.type.shape[-1])
    inputs = op.operands[1].type.size // op.operands[1].type.shape[0] * group_count(op)
    most = max(1, min(rows, ELEMENTS // inputs))
    if total <= most:
        return np.arange(total)
    random = np.random.default_rng(0)
    return np.sort(random.choice(total, most, replace=False))


def rows_of(op: Op, x: Array, which: Array) -> Array:
    """float64[groups, m, k]: what a layer reads at the positions `which`, real numbers.

    x: the layer's input as stored, [samples, *shape]. The layer is rows @ weights.T for each group.
    """
    v = op.operands[0]
    if op.name == "dense":
        return real(v, x.reshape(-1, x.shape[-1])[which])[None]
    zero = v.type.quant.zero if v.type.quant is not None else 0
    kh, kw = op.operands[1].type.shape[1:3]
    view = windows(op, x.reshape(-1, *x.shape[2:]), (kh, kw), zero)
    n, rows, columns = np.unravel_index(which, view.shape[:3])
    taken = real(v, view[n, rows, columns])
    groups = group_count(op)
    split = taken.reshape(len(which), kh * kw, groups, -1).transpose(2, 0, 1, 3)
    return split.reshape(groups, len(which), -1)


def contiguous(rows: Array) -> Array:
    """The result of `rows_of` group after group in memory, copied in pieces that stay in the cache:
    for what goes through each group several times."""
    if rows.flags.c_contiguous:
        return rows
    copy = np.empty(rows.shape)
    for i in range(0, rows.shape[1], _PIECE):
        copy[:, i : i + _PIECE] = rows[:, i : i + _PIECE]
    return copy


def centred(rows: Array) -> tuple[Array, Array]:
    """The result of `rows_of` without its means over positions, float32, group after group in
    memory; and these, float64[groups, k]."""
    mean = contiguous(rows).mean(axis=1) if rows.shape[2] == 1 else rows.mean(axis=1)
    copy = np.empty(rows.shape, np.float32)
    for i in range(0, rows.shape[1], _PIECE):
        part = rows[:, i : i + _PIECE]
        np.subtract(part, mean[:, None], out=copy[:, i : i + _PIECE], casting="same_kind")
    return copy, mean


def compute(op: Op, env: Mapping[Value, Array], samples: int) -> Array:
    """The result of an op, as stored, from those of `env`; constants are looked up in the graph."""
    arrays = [env[v] if v.constant is None else v.constant[None] for v in op.operands]
    run = opdef(op.name).run
    if all(len(a) == 1 for a in arrays):
        return np.asarray(run(op, *arrays))
    parts = [
        run(op, *(a if len(a) == 1 else a[i : i + BATCH] for a in arrays))
        for i in range(0, samples, BATCH)
    ]
    return np.concatenate(parts)
