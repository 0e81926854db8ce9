"""
How much the outputs depend on each channel, to the first order.

Setting a channel a to 0 changes a loss by about sum(a dL/da) over its positions; the score is the
mean square of that over the samples. With labels L is the error against them. Without, L is a sum
of the outputs with random signs: in expectation the score is the square of the change of all
outputs together.

Source: Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.training.data import Batch
from tinycc_nn.training.losses import Head, LabelLoss
from tinycc_nn.training.network import Freedom, Network

_PART = 64
"""Samples that go through at once."""

_PROBES = 4
"""Draws of signs, where there are no labels."""


def channel_saliencies(
    graph: Graph, values: Sequence[Value], inputs: Mapping[str, Array], labels: Array | None
) -> dict[Value, Array]:
    """float64[channels] for each of the `values` of a float graph.

    inputs: float32 [samples, *shape] by name. labels: as in a Dataset, or None. TinyccError for
    values that aren't float: what is rounded has no gradient.
    """
    rounded = next((v for v in values if not v.type.dtype.is_float), None)
    if rounded is not None:
        hint = "put the pass in front of quantize, or take another criterion"
        raise TinyccError("criterion=taylor needs a float network", str(rounded), hint)
    network, head = Network(graph, Freedom(train=False)), Head.of(graph)
    loss, signs = LabelLoss(head), np.random.default_rng(0)
    samples = len(next(iter(inputs.values())))
    scores = {v: np.zeros(v.type.shape[-1]) for v in values}
    for first in range(0, samples, _PART):
        part = slice(first, first + _PART)
        batch = Batch({name: a[part] for name, a in inputs.items()})
        fed = network.feed(stored_inputs(graph, batch.inputs))
        for t in fed.values():
            t.requires_grad_()
        found = network.forward(fed, [*values, head.value])
        y = head.numbers(found)
        if labels is not None:
            labelled = Batch(batch.inputs, labels[part])
            losses = [loss(found, labelled) * len(batch)]
        else:
            draws = signs.integers(0, 2, (_PROBES, *y.shape)).astype(np.float32) * 2 - 1
            losses = [(torch.from_numpy(d) * y).sum() for d in draws]
        for one in losses:
            _add(scores, found, one, len(losses) * samples)
    return scores


def _add(
    scores: dict[Value, Array], found: Mapping[Value, torch.Tensor], loss: torch.Tensor, count: int
) -> None:
    """Add the squares of the first-order changes of a loss, divided by `count`."""
    gradients = torch.autograd.grad(
        loss, [found[v] for v in scores], retain_graph=True, allow_unused=True
    )
    for v, gradient in zip(scores, gradients, strict=True):
        if gradient is not None:
            change = (found[v] * gradient).detach()
            change = change.reshape(len(change), -1, change.shape[-1]).sum(dim=1)
            scores[v] += change.double().square().sum(dim=0).numpy() / count
