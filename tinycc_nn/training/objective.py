"""What a training makes small, from a batch and what the network computes on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.training.data import Batch
from tinycc_nn.training.losses import Found, LabelLoss, TeacherLoss, matched_loss
from tinycc_nn.training.network import Network
from tinycc_nn.training.tensors import Tensor


class Objective(ABC):
    """`wanted` are the values of the trained graph that the loss reads."""

    wanted: list[Value]

    @abstractmethod
    def loss(self, found: Found, batch: Batch) -> Tensor:
        """float32[], from the wanted values and the batch that they come from."""

    @abstractmethod
    def top1(self, found: Found, batch: Batch) -> float | None:
        """The fraction of samples that is right, None where that isn't defined."""

    @property
    def graphs(self) -> list[Graph]:
        """Other networks that the loss depends on."""
        return []


@dataclass
class Supervised(Objective):
    """The error against labels."""

    labels: LabelLoss

    def __post_init__(self) -> None:
        self.wanted = [self.labels.head.value]

    def loss(self, found: Found, batch: Batch) -> Tensor:
        return self.labels(found, batch)

    def top1(self, found: Found, batch: Batch) -> float | None:
        return self.labels.top1(found, batch)


@dataclass
class Taught(Objective):
    """The distance from a teacher; of labels and of inner activations so much as their weights
    say. pairs: values of the trained graph and of the teacher."""

    teacher: Network
    distance: TeacherLoss
    labels: LabelLoss
    label_weight: float = 0.0
    pairs: list[tuple[Value, Value]] = field(default_factory=list[tuple[Value, Value]])
    match_weight: float = 0.0

    def __post_init__(self) -> None:
        self.wanted = [self.distance.head.value, *(ours for ours, _ in self.pairs)]
        self._theirs = [self.distance.teacher.value, *(theirs for _, theirs in self.pairs)]

    def loss(self, found: Found, batch: Batch) -> Tensor:
        with torch.no_grad():
            inputs = self.teacher.feed(stored_inputs(self.teacher.graph, batch.inputs))
            taught = self.teacher.forward(inputs, self._theirs)
        total = (1 - self.label_weight) * self.distance(found, taught)
        if self.label_weight:
            total = total + self.label_weight * self.labels(found, batch)
        if self.pairs:
            total = total + self.match_weight * matched_loss(found, taught, self.pairs)
        return total

    def top1(self, found: Found, batch: Batch) -> float | None:
        return self.labels.top1(found, batch)

    @property
    def graphs(self) -> list[Graph]:
        return [self.teacher.graph]
