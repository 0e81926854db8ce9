"""What is to be small: the error against labels, against a teacher, against inner activations.

Source of the second: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015;
of the third: Romero et al., "FitNets", 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.training.data import Batch, TrainingData
from tinycc_nn.training.tensors import Tensor

Found = Mapping[Value, Tensor]
"""Real numbers of values, [samples, *shape]."""


@dataclass(frozen=True)
class Head:
    """The output to learn from: for a network that ends in softmax what goes into it, `classes`
    of them; otherwise its first output, with 0."""

    value: Value
    classes: int

    @staticmethod
    def of(graph: Graph) -> Head:
        output = graph.outputs[0]
        op = output.owner
        while op is not None and op.name in ("reshape", "dequantize", "quantize", "requantize"):
            op = op.operands[0].owner
        if op is not None and op.name in ("softmax", "log_softmax"):
            return Head(op.operands[0], output.type.size)
        return Head(output, 0)

    def numbers(self, found: Found) -> Tensor:
        """float32 [samples, elements]."""
        t = found[self.value]
        return t.reshape(len(t), -1)


@dataclass(frozen=True)
class LabelLoss:
    """Cross entropy of class numbers, else the mean squared error against numbers, or against the
    network's own input where there are no labels and it reconstructs that."""

    head: Head

    def check(self, graph: Graph, data: TrainingData, who: str) -> None:
        """TinyccError for data without labels, or with labels that don't fit."""
        some, size = data.some(1 << 20), self.head.value.type.size
        if some.labels is None:
            if len(graph.inputs) == 1 and graph.inputs[0].type.size == size:
                return
            hint = "give labels, as in --train FILE.npz:x,y, or use distill, which needs none"
            raise TinyccError(f"{who}: the training data has no labels", data.source, hint)
        _targets(some.labels, size, data.source)

    def __call__(self, found: Found, batch: Batch) -> Tensor:
        y = self.head.numbers(found)
        labels = batch.labels if batch.labels is not None else next(iter(batch.inputs.values()))
        target = torch.from_numpy(_targets(labels, y.shape[1], "labels")).to(y.device)
        if target.ndim == 1:
            return F.cross_entropy(y, target)
        return F.mse_loss(y, target)

    def top1(self, found: Found, batch: Batch) -> float | None:
        """The fraction of samples that is right, None where labels are not classes."""
        if batch.labels is None or batch.labels.size != len(batch):
            return None
        y = self.head.numbers(found).argmax(dim=1).cpu().numpy()
        return float(np.mean(y == batch.labels.reshape(-1)))


def _targets(labels: Array, size: int, where: str) -> Array:
    """int64[n] for classes, float32[n, size] for numbers; TinyccError for anything else."""
    if labels.size == len(labels) * size and (size > 1 or labels.dtype.kind == "f"):
        return labels.reshape(len(labels), -1).astype(np.float32)
    if labels.dtype.kind not in "iu" or labels.size != len(labels):
        message = f"the labels are {labels.dtype}{list(labels.shape)}"
        raise TinyccError(message, where, "give class numbers, one for each sample")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= size:
        message = f"there are labels {low} to {high}"
        raise TinyccError(message, where, f"the network has {size} classes, from 0")
    return labels.reshape(-1).astype(np.int64)


@dataclass(frozen=True)
class TeacherLoss:
    """How far a network is from its teacher: T^2 times the divergence of the softened class
    probabilities, or the mean squared error of outputs that aren't classes."""

    head: Head
    teacher: Head
    temperature: float

    def __call__(self, found: Found, taught: Found) -> Tensor:
        y, z = self.head.numbers(found), self.teacher.numbers(taught)
        if not self.head.classes:
            return F.mse_loss(y, z)
        t = self.temperature
        soft = F.log_softmax(z / t, dim=1), F.log_softmax(y / t, dim=1)
        return t * t * F.kl_div(soft[1], soft[0], reduction="batchmean", log_target=True)


def matched_loss(found: Found, taught: Found, pairs: list[tuple[Value, Value]]) -> Tensor:
    """The mean over pairs of the squared error over the teacher's variance."""
    errors = [
        F.mse_loss(found[ours], taught[theirs]) / (taught[theirs].var() + 1e-8)
        for ours, theirs in pairs
    ]
    return torch.stack(errors).mean()


def matched_values(
    graph: Graph, teacher: Graph, names: tuple[str, ...]
) -> list[tuple[Value, Value]]:
    """The values of these names in both networks; TinyccError for one that a network lacks, or
    that has different shapes in them."""
    pairs = []
    for name in names:
        ours, theirs = (_named(g, name) for g in (graph, teacher))
        if ours.type.shape != theirs.type.shape:
            shapes = f"{list(ours.type.shape)} here, {list(theirs.type.shape)} in the teacher"
            hint = "match layers in front of which nothing was removed"
            raise TinyccError(f"distill: match: %{name} is {shapes}", hint=hint)
        pairs.append((ours, theirs))
    return pairs


def _named(graph: Graph, name: str) -> Value:
    values = {op.result.name.rstrip("'"): op.result for op in graph.ops if op.name != "const"}
    if (found := values.get(name.rstrip("'"))) is None:
        hint = nearest(name, values)
        raise TinyccError(f"distill: match: @{graph.name} has no layer '{name}'", hint=hint)
    return found
