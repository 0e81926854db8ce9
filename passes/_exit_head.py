"""A classifier after an inner layer: what it looks at, where it is sure enough, what it saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.types import F32, Array
from tinycc_nn.ops import emit, opdef
from tinycc_nn.passes._classifier import Fitted
from tinycc_nn.reference import visit

LEVELS = 256
"""Thresholds are multiples of 1 / LEVELS; LEVELS itself ends no sample early."""


@dataclass(frozen=True)
class Head:
    """A classifier after the layer `op`. level: its threshold in steps of 1 / LEVELS. skipped: MACs
    that an inference does not take which ends there."""

    op: Op
    fitted: Fitted
    level: int
    skipped: int

    @property
    def exits(self) -> float:
        """The share of the calibration samples that end there."""
        if self.level >= LEVELS:
            return 0.0
        return float((levels(self.fitted.held_out) >= self.level).mean())

    @property
    def saved(self) -> float:
        """MACs that an inference takes less, on average, than without the classifier."""
        return self.exits * self.skipped - self.fitted.weights.size


def features(x: Array) -> Array:
    """float64[samples, channels]: the mean over an image [samples, 1, h, w, channels], or a row."""
    return np.asarray(x.astype(np.float64).reshape(len(x), -1, x.shape[-1]).mean(axis=1))


def features_of(
    graph: Graph, inputs: Mapping[str, Array], wanted: Sequence[Value]
) -> dict[Value, Array]:
    """The features of some values on samples as stored."""
    parts: dict[Value, list[Array]] = {v: [] for v in wanted}

    def see(v: Value, a: Array) -> None:
        if v in parts:
            parts[v].append(features(a))

    visit(graph, inputs, see)
    return {v: np.concatenate(p) for v, p in parts.items()}


def levels(p: Array) -> Array:
    """int[samples]: the largest threshold that probabilities [samples, classes] reach."""
    return np.asarray(np.floor(p.max(axis=1) * LEVELS).astype(np.int64))


def level_for_loss(early: Array, targets: Array, loss: float) -> int:
    """The smallest threshold at which at most `loss` of the samples end early with a class other
    than that of `targets`, both [samples, classes]."""
    lost = losses(early, targets)
    fine = np.flatnonzero(lost <= loss + 1e-9)
    return int(fine[0]) + 1 if len(fine) else LEVELS


def losses(early: Array, targets: Array) -> Array:
    """float64[LEVELS - 1]: that share of samples for the thresholds from 1 on."""
    wrong = early.argmax(axis=1) != targets.argmax(axis=1)
    ends = levels(early) >= np.arange(1, LEVELS)[:, None]
    return np.asarray((ends & wrong).mean(axis=1))


def level_for_exits(early: Array, exits: float) -> int:
    """The largest threshold at which at least `exits` of the samples end early."""
    ends = levels(early) >= np.arange(1, LEVELS)[:, None]
    enough = np.flatnonzero(ends.mean(axis=1) >= exits - 1e-9)
    return int(enough[-1]) + 1 if len(enough) else LEVELS


def why_not(op: Op, final: Value) -> str:
    """Why no classifier can come after an op, else an empty text."""
    if op.type.dtype != F32 or op.type.rank not in (2, 4) or op.type.shape[0] != 1:
        return f"it makes {op.type}, not one float image or row"
    return "" if skipped_macs(op, final) else "no layer comes behind it"


def skipped_macs(op: Op, final: Value) -> int:
    """MACs of what is not needed for `op`."""
    mine = _needed(op.result)
    return sum(opdef(o.name).macs(o) for o in _needed(final) if o not in mine)


def _needed(v: Value) -> set[Op]:
    """The ops that `v` is computed by."""
    found: set[Op] = set()
    left = [v]
    while left:
        op = left.pop().owner
        if op is not None and op not in found:
            found.add(op)
            left += op.operands
    return found


def insert(graph: Graph, head: Head, final: Value) -> None:
    """Add the classifier behind its layer, and the choice between both as the last op."""
    op, name = head.op, f"{head.op.result.name}.exit"
    x, before = op.result, graph.ops[graph.ops.index(op) + 1]
    if x.type.rank == 4:
        image = x.type.shape[1:3]
        window: dict[str, Attr] = {"kernel": image, "stride": image}
        x = emit(graph, "avg_pool2d", [x], window, result=f"{name}.mean", before=before)
        row: dict[str, Attr] = {"shape": (1, x.type.shape[-1])}
        x = emit(graph, "reshape", [x], row, result=f"{name}.row", before=before)
    u = graph.constant(f"{name}.weight", head.fitted.weights.astype(np.float32), before=before)
    k = graph.constant(f"{name}.bias", head.fitted.bias.astype(np.float32), before=before)
    z = emit(graph, "dense", [x, u, k], result=f"{name}.logits", before=before)
    if z.type.shape != final.type.shape:
        shape = {"shape": final.type.shape}
        z = emit(graph, "reshape", [z], shape, result=f"{name}.shaped", before=before)
    axis = {"axis": final.type.rank - 1}
    early = emit(graph, "softmax", [z], axis, result=name, before=before)
    threshold = {"threshold": head.level / LEVELS}
    graph.outputs[:] = [emit(graph, "exit_if", [early, final], threshold, result=final.name)]
