"""Where a training is: kept in the cache, so that one that was stopped goes on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import torch

from tinycc_nn.cachedir import CacheDir, content_key
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.text import print_graph
from tinycc_nn.training.tensors import Tensor, to_array
from tinycc_nn.training.watch import CurvePoint

FORMAT = "1"
SUFFIX = ".train"


@dataclass
class Place:
    """
    epoch, step: the next batch, from 0. total: the sum of the losses of the epoch so far.
    seconds: of training until now. best: the least loss of an epoch, and the tensors then.
    done: the training has ended, and the network's tensors are its result.
    """

    epoch: int = 0
    step: int = 0
    total: float = 0.0
    seconds: float = 0.0
    points: list[CurvePoint] = field(default_factory=list[CurvePoint])
    best_loss: float = float("inf")
    best: list[Tensor] = field(default_factory=list["Tensor"])
    done: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training. `store` None keeps nothing."""

    store: CacheDir | None
    key: str

    def save(self, place: Place, tensors: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Keep where the training is; the file appears whole or not at all."""
        if self.store is None:
            return
        fields = {k: v for k, v in vars(place).items() if k != "points"}
        points = [asdict(p) for p in place.points]
        data = io.BytesIO()
        state = {"points": points, "tensors": tensors, "optimizer": optimizer.state_dict()}
        torch.save({**fields, **state}, data)
        self.store.put(self.key, SUFFIX, data.getvalue())

    def load(self, tensors: list[Tensor], optimizer: torch.optim.Optimizer) -> Place | None:
        """Set the tensors and the optimizer to what was kept, if anything was."""
        data = None if self.store is None else self.store.get(self.key, SUFFIX)
        if data is None:
            return None
        try:
            kept = torch.load(io.BytesIO(data), weights_only=True)
            optimizer.load_state_dict(kept.pop("optimizer"))
            restore(tensors, kept.pop("tensors"))
            points = [CurvePoint(**p) for p in kept.pop("points")]
            return Place(points=points, **kept)
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError):
            return None


def restore(tensors: list[Tensor], kept: list[Tensor]) -> None:
    """Write numbers that were kept into tensors of the same shapes."""
    with torch.no_grad():
        for t, k in zip(tensors, kept, strict=True):
            t.copy_(k)


def training_key(graphs: Iterable[Graph], tensors: Iterable[Tensor], texts: Iterable[str]) -> str:
    """Of all that a training depends on: the graphs, where it starts, options, data."""
    start = hashlib.sha256()
    for t in tensors:
        start.update(to_array(t).tobytes())
    parts = [FORMAT, torch.__version__, start.hexdigest(), *texts]
    return content_key([*parts, *(print_graph(g) for g in graphs)])
