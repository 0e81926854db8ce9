"""
How much each group of coupled channels matters.

Norms of weights and shares of energy are relative to their layer; batch-norm scales and measured
output errors have one unit in the whole network.

Sources: Li et al., "Pruning Filters for Efficient ConvNets", 2017 (l1); Liu et al., "Learning
Efficient Convolutional Networks through Network Slimming", 2017 (batch-norm scales); Luo, Wu,
Lin, "ThiNet", 2017 (what the next layer gets from a channel, greedily); Frantar, Alistarh, "Optimal
Brain Compression", 2022 (the update of the inverse); Fang et al., "DepGraph", 2023 (groups).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from tinycc_nn.channels import Group, channel_count, is_depthwise, is_mixing
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.pruning.layers import real, weights_of
from tinycc_nn.pruning.least_squares import moments
from tinycc_nn.pruning.reconstruct import walk
from tinycc_nn.pruning.samples import compute, pick, rows_of, sample_count

Criterion = Literal["l1", "l2", "bn-scale", "activation", "sensitivity"]
MEASURED = ("activation", "sensitivity", "taylor")
"""Criteria that need calibration data."""
RELATIVE = ("l1", "l2", "activation")
"""Criteria whose scores can only be compared within a layer."""
SENSITIVITY_SAMPLES = 32
MOST_INPUTS = 2048
"""Of a weight matrix, up to which channels are looked at one after the other."""


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
            return sum_over_group(groups, _shares(graph, inputs, compensated=compensated))
        case "sensitivity":
            return _output_errors(graph, groups, inputs)


Scores = Mapping[Value, Array]
"""float64[channels] for some values."""


def _mean_over_group(groups: Sequence[Group], scores: Scores) -> Array:
    each = [[scores[v][i] for v, i in g.channels if v in scores] for g in groups]
    return np.array([np.mean(s) if s else np.inf for s in each])


def sum_over_group(groups: Sequence[Group], scores: Scores) -> Array:
    """float64[groups]: the sums of the scores that the channels of each have."""
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


def _shares(graph: Graph, inputs: Mapping[str, Array], *, compensated: bool) -> dict[Value, Array]:
    """Of each channel, the share that it has in the energy of the layers that read it."""
    samples = sample_count(inputs)
    found: dict[Value, Array] = {}

    def see(op: Op, x: Array) -> None:
        if not is_mixing(op):
            return
        v = op.operands[0]
        if op.name == "conv2d_transpose":
            energy = _energies_of_taps(op, x)
        else:
            rows = rows_of(op, x, pick(op, samples))[0]
            w = weights_of(op)[0].reshape(op.type.shape[-1], -1, channel_count(v))
            greedy = compensated and rows.shape[1] <= MOST_INPUTS
            energy = lost_energies(rows, w) if greedy else own_energies(rows, w)
        found[v] = found.get(v, 0) + energy / (energy.sum() or 1.0)

    walk(graph, inputs, see)
    return found


def _energies_of_taps(op: Op, x: Array) -> Array:
    """float64[c]: what channels add to the results of a layer none of whose windows overlap."""
    w = op.operands[1].constant
    assert w is not None
    taps = np.square(real(op.operands[1], w)).reshape(-1, w.shape[-1]).sum(axis=0)
    rows = np.square(real(op.operands[0], x)).reshape(-1, x.shape[-1])
    return np.asarray(rows.mean(axis=0) * taps)


def own_energies(x: Array, w: Array) -> Array:
    """float64[c]: mean square of what each channel adds to the outputs.

    x: float64[m, p * c], patches of p positions and c channels. w: float64[out, p, c].
    """
    square = np.square(x).mean(axis=0).reshape(w.shape[1:])
    return np.asarray((square * np.square(w).sum(axis=0)).sum(axis=0))


def lost_energies(x: Array, w: Array) -> Array:
    """float64[c]: the mean square error of the outputs that each channel adds when it goes.

    The channel that adds least goes first, then the next; a bias and the weights of the channels
    that are left make up for each as well as they can. x and w as for `own_energies`.
    """
    _, p, c = w.shape
    gram, _ = moments(x - x.mean(axis=0))
    inverse = np.linalg.inv(gram).reshape(p, c, p, c)
    now = w.transpose(2, 0, 1).astype(np.float64)
    lost, left = np.zeros(c), np.arange(c)
    while len(left):
        blocks = np.linalg.inv(inverse[:, left, :, left])
        errors = ((now[left] @ blocks) * now[left]).sum(axis=(1, 2))
        best = int(np.argmin(errors))
        i, lost[left[best]] = int(left[best]), errors[best]
        column = inverse[:, :, :, i].reshape(p * c, p)
        taken_over = column @ blocks[best]
        now -= (taken_over @ now[i].T).reshape(p, c, -1).transpose(1, 2, 0)
        inverse -= (taken_over @ column.T).reshape(p, c, p, c)
        left = np.delete(left, best)
    return lost / len(x)


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
