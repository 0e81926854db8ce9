"""
How much each group of coupled channels matters.

Norms of weights and shares of energy are relative to their layer; batch-norm scales and measured
output errors have one unit in the whole network.

Sources: Li et al., "Pruning Filters for Efficient ConvNets", 2017 (l1); Liu et al., "Learning
Efficient Convolutional Networks through Network Slimming", 2017 (batch-norm scales); Luo, Wu,
Lin, "ThiNet", 2017 (what the next layer gets from a channel); Fang et al., "DepGraph", 2023
(scores of groups).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from tinycc_nn.channels import Group, channel_count, is_depthwise, is_mixing
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.pruning.layers import real
from tinycc_nn.pruning.samples import compute, sample_count
from tinycc_nn.reference import visit

Criterion = Literal["l1", "l2", "bn-scale", "activation", "sensitivity"]
MEASURED = ("activation", "sensitivity")
"""Criteria that need calibration data."""
RELATIVE = ("l1", "l2", "activation")
"""Criteria whose scores can only be compared within a layer."""
SENSITIVITY_SAMPLES = 32


def group_scores(
    graph: Graph,
    groups: Sequence[Group],
    criterion: Criterion,
    inputs: Mapping[str, Array],
    *,
    compensated: bool,
) -> Array:
    """float64[groups], infinite for a group that the criterion knows nothing of.

    inputs: samples as stored, for the criteria that measure. compensated: the mean of what is
    removed goes into biases, so only what varies counts.
    """
    match criterion:
        case "l1":
            return _mean_over_group(groups, _row_norms(graph, 1))
        case "l2":
            return _mean_over_group(groups, _row_norms(graph, 2))
        case "bn-scale":
            return _mean_over_group(groups, _bn_scales(graph))
        case "activation":
            return _sum_over_group(groups, _energies(graph, inputs, compensated=compensated))
        case "sensitivity":
            return _output_errors(graph, groups, inputs)


Scores = Mapping[Value, Array]
"""float64[channels] for some values."""


def _mean_over_group(groups: Sequence[Group], scores: Scores) -> Array:
    each = [[scores[v][i] for v, i in g.channels if v in scores] for g in groups]
    return np.array([np.mean(s) if s else np.inf for s in each])


def _sum_over_group(groups: Sequence[Group], scores: Scores) -> Array:
    return np.array([sum(scores[v][i] for v, i in g.channels if v in scores) for g in groups])


def _row_norms(graph: Graph, power: int) -> dict[Value, Array]:
    """Norms of the filters of each layer, relative to the layer's mean."""
    found = {}
    for op in graph.ops:
        if is_mixing(op) or is_depthwise(op):
            w = op.operands[1].constant
            if w is None:
                continue
            rows = real(op.operands[1], w).reshape(len(w), -1)
            norms = np.linalg.norm(rows, power, axis=1)
            found[op.result] = norms / (norms.mean() or 1.0)
    return found


def _bn_scales(graph: Graph) -> dict[Value, Array]:
    gammas = {op.result: op.operands[1].constant for op in graph.ops if op.name == "batch_norm"}
    return {v: np.abs(a.astype(np.float64)) for v, a in gammas.items() if a is not None}


def _energies(
    graph: Graph, inputs: Mapping[str, Array], *, compensated: bool
) -> dict[Value, Array]:
    """Of each channel, the share that it has in the energy of the layers that read it."""
    readers = [op for op in graph.ops if is_mixing(op)]
    sums = {op.operands[0]: np.zeros((2, channel_count(op.operands[0]))) for op in readers}
    counts = dict.fromkeys(sums, 0)

    def see(v: Value, a: Array) -> None:
        if v in sums:
            rows = real(v, a).reshape(-1, a.shape[-1])
            sums[v] += np.stack([rows.sum(axis=0), np.square(rows).sum(axis=0)])
            counts[v] += len(rows)

    visit(graph, inputs, see)
    found: dict[Value, Array] = {}
    for op in readers:
        v, w = op.operands[0], op.operands[1].constant
        assert w is not None
        mean, square = sums[v] / counts[v]
        energy = square - mean**2 if compensated else square
        taps = np.square(real(op.operands[1], w)).reshape(-1, w.shape[-1]).sum(axis=0)
        share = np.maximum(energy, 0) * taps
        found[v] = found.get(v, 0) + share / (share.sum() or 1.0)
    return found


def _output_errors(graph: Graph, groups: Sequence[Group], inputs: Mapping[str, Array]) -> Array:
    """The squared error of the outputs, relative to their energy, without each group."""
    few = {name: a[:SENSITIVITY_SAMPLES] for name, a in inputs.items()}
    samples = sample_count(few)
    ops = [op for op in graph.ops if op.name != "const"]
    base: dict[Value, Array] = {v: few[v.name] for v in graph.inputs}
    for op in ops:
        base[op.result] = compute(op, base, samples)
    ends = [_before_softmax(v) for v in graph.outputs]
    energy = sum(float(np.square(real(v, base[v])).sum()) for v in ends) or 1.0

    def error(g: Group) -> float:
        changed = without(g, ops, base, samples)
        return sum(
            float(np.square(real(v, changed[v]) - real(v, base[v])).sum())
            for v in ends if v in changed
        )  # fmt: skip

    return np.array([error(g) for g in groups]) / energy


def without(
    group: Group, ops: Sequence[Op], base: Mapping[Value, Array], samples: int
) -> dict[Value, Array]:
    """The values that change, with what they become, if a group's channels are real 0."""
    gone: dict[Value, list[int]] = {}
    for v, i in group.channels:
        gone.setdefault(v, []).append(i)
    changed: dict[Value, Array] = {}
    for op in ops:
        if op.result not in gone and not any(v in changed for v in op.operands):
            continue
        env = {v: changed.get(v, base[v]) for v in op.operands if v.constant is None}
        if any(v in changed for v in op.operands):
            changed[op.result] = compute(op, env, samples)
        if op.result in gone:
            a = changed.get(op.result, base[op.result]).copy()
            q = op.type.quant
            a[..., gone[op.result]] = 0 if q is None else q.zero
            changed[op.result] = a
    return changed


def _before_softmax(v: Value) -> Value:
    """Outputs are compared where errors of small probabilities still show."""
    owner = v.owner
    return owner.operands[0] if owner is not None and owner.name == "softmax" else v
