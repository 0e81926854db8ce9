"""
One layer as two: low rank, and depthwise with pointwise, with least error of the layer's output.

The values between the two layers get the square root of the spread that they would have with an
orthonormal second layer: so the roundings of activations and of weights to int8 share the loss.

Sources: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and
Detection", 2015, section 3.1 (low rank by the principal components of the output); Jaderberg et
al., "Speeding up Convolutional Neural Networks with Low Rank Expansions", 2014; Guo et al.,
"Network Decoupling: From Regular to Depthwise Separable Convolutions", 2018 (sums of depthwise
and pointwise layers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.diagnostics import LimitError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import Array

_TINY = 1e-12


@dataclass(frozen=True)
class Energies:
    """energy: float64[n], falling: what each rank from 1 to n adds to a layer's output."""

    energy: Array

    def rank_for(self, part: float) -> int:
        """The least rank that has this part (0..1) of the energy."""
        shares = np.cumsum(self.energy) / (self.energy.sum() or 1.0)
        return min(len(shares), int(np.searchsorted(shares, part - 1e-12)) + 1)

    def lost(self) -> Array:
        """float64[n + 1]: the part of the energy that is lost at rank 0, 1, ..., n."""
        total = self.energy.sum() or 1.0
        return np.asarray(1 - np.concatenate([[0.0], np.cumsum(self.energy)]) / total)


@dataclass(frozen=True)
class Spectrum(Energies):
    """The principal components of a layer's output.

    basis: float64[out, n], orthonormal. mean: float64[k], of the layer's inputs.
    """

    basis: Array
    mean: Array


@dataclass(frozen=True)
class Terms(Energies):
    """Depthwise and pointwise filters of a layer, the terms that matter most first.

    depth: float64[c, n, p]. point: float64[out, c, n]. Energies are summed over channels.
    """

    depth: Array
    point: Array


def spectrum(w: Array, x: Array | None) -> Spectrum:
    """Of float64[out, k] weights on inputs float64[m, k]; None for inputs that are all alike."""
    out, k = w.shape
    mean = np.zeros(k) if x is None else x.mean(axis=0)
    centred = np.eye(k) if x is None else (x - mean) / np.sqrt(len(x))
    y = centred @ w.T
    values, vectors = np.linalg.eigh(y.T @ y)
    n = min(out, k)
    order = np.argsort(values)[::-1][:n]
    return Spectrum(np.maximum(values[order], 0), vectors[:, order], mean)


def low_rank(w: Array, s: Spectrum, rank: int) -> tuple[Array, Array]:
    """float64[rank, k] and [out, rank], whose product is near w: float64[out, k]."""
    basis = s.basis[:, :rank]
    spread = _root(np.sqrt(s.energy[:rank]))
    return (basis.T @ w) / spread[:, None], basis * spread


def separable(w: Array, x: Array | None) -> Terms:
    """All min(out, p) terms of weights float64[out, p, c].

    x: float64[m, p, c], what the layer reads; None to look at the weights alone. Channel by
    channel, the sum over terms of pointwise times depthwise is w; over the first terms, near w.
    """
    out, p, c = w.shape
    n = min(out, p)
    energy, depth, point = np.zeros(n), np.empty((c, n, p)), np.empty((out, c, n))
    for i in range(c):
        root: Array = np.eye(p)
        if x is not None:
            second = x[:, :, i].T @ x[:, :, i] / len(x)
            second[np.diag_indices(p)] += 1e-6 * float(np.trace(second)) / p or 1.0
            root = np.linalg.cholesky(second)
        u, s, vt = np.linalg.svd(w[:, :, i] @ root, full_matrices=False)
        spread = _root(s)
        energy += s**2
        depth[i] = np.linalg.solve(root.T, (vt * (s / spread)[:, None]).T).T
        point[:, i] = u * spread
    return Terms(energy, depth, point)


def _root(spread: Array) -> Array:
    """Square roots of spreads, none of them 0."""
    least = _TINY * (float(spread.max(initial=0)) or 1.0)
    return np.asarray(np.sqrt(np.maximum(spread, least)))


def most_rank(inputs: int, outputs: int) -> int:
    """The greatest rank at which two layers take no more MACs than one."""
    return inputs * outputs // (inputs + outputs)


@dataclass(frozen=True)
class Choice:
    """A layer that may be split: MACs as it is, those of each rank, and what ranks are worth."""

    dense: int
    each: int
    energies: Energies

    def costs(self) -> Array:
        """int64[n + 1]: MACs at rank 0 (as it is), 1, ..., n."""
        ranks = np.arange(len(self.energies.energy) + 1, dtype=np.int64) * self.each
        ranks[0] = self.dense
        return ranks


def ranks_for_macs(
    choices: Mapping[Op, Choice], total: int, part: float, asked_by: str, least: str
) -> dict[Op, int]:
    """The ranks that lose the least energy for at most `part` (0..1) of `total` MACs.

    Again and again the layer gives way that loses the least for each MAC. Layers that stay as they
    are aren't among the results. LimitError with the least that can be reached, in the name of a
    pass, whose smallest setting is `least`.
    """
    limit = int(part * total)
    ranks, now = dict.fromkeys(choices, 0), total
    while now > limit:
        steps = [(*best, op) for op, c in choices.items() if (best := _step(c, ranks[op]))]
        if not steps:
            nearest = np.ceil(now / total * 1e4) / 1e4
            raise LimitError(
                f"{asked_by}: {part:g} of {total} MACs is {limit}, "
                f"but {least} everywhere leaves {now}",
                hint=f"the nearest that can be met is macs={nearest:g}",
            )
        _, rank, op = min(steps, key=lambda s: s[0])
        costs = choices[op].costs()
        now -= int(costs[ranks[op]] - costs[rank])
        ranks[op] = rank
    _give_back(choices, ranks, limit - now)
    return {op: r for op, r in ranks.items() if r}


def _give_back(choices: Mapping[Op, Choice], ranks: dict[Op, int], spare: int) -> None:
    """Raise ranks by what the last, large step left over, where it gains most for each MAC."""
    while True:
        gains: list[tuple[float, Op]] = []
        for op, c in choices.items():
            r, lost = ranks[op], c.energies.lost()
            if r and c.each <= spare and c.costs()[r] + c.each < c.dense:
                gains.append((float(lost[r] - lost[r + 1]) / c.each, op))
        if not gains:
            return
        _, op = max(gains, key=lambda g: g[0])
        ranks[op] += 1
        spare -= choices[op].each


def _step(c: Choice, rank: int) -> tuple[float, int] | None:
    """Energy lost for each MAC, and the rank, of the best lower rank (0 is the layer as it is)."""
    costs, lost = c.costs(), c.energies.lost()
    lost[0] = 0.0
    lower = np.arange(1, rank if rank else len(costs))
    lower = lower[costs[lower] < costs[rank]]
    if not len(lower):
        return None
    slopes = (lost[lower] - lost[rank]) / (costs[rank] - costs[lower])
    best = int(np.argmin(slopes))
    return float(slopes[best]), int(lower[best])
