"""The one training loop: batches, steps, epochs, checkpoints, the learning curve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.files import blobs_npz
from tinycc_nn.ir.text import print_graph
from tinycc_nn.training.augment import augmented
from tinycc_nn.training.checkpoint import Checkpoint, Place, restore
from tinycc_nn.training.data import Batch, TrainingData
from tinycc_nn.training.network import Network
from tinycc_nn.training.objective import Objective
from tinycc_nn.training.schedule import step_size
from tinycc_nn.training.settings import Settings
from tinycc_nn.training.tensors import Tensor
from tinycc_nn.training.watch import Curve, CurvePoint, Progress, Watcher

CHECKPOINT_SECONDS = 20.0
EVALUATION_BATCH = 256
MOMENTUM = 0.9


@dataclass(frozen=True)
class Work:
    """What to train, on what, towards what; `made_by` is the text of the pass."""

    made_by: str
    network: Network
    objective: Objective
    data: TrainingData
    held_out: Batch | None
    settings: Settings
    watcher: Watcher
    checkpoint: Checkpoint

    @property
    def tensors(self) -> list[Tensor]:
        """All that training changes."""
        return all_tensors(self.network)


def all_tensors(network: Network) -> list[Tensor]:
    return [*network.parameters(), *network.logarithms(), *network.buffers()]


def optimizer_of(network: Network, settings: Settings) -> torch.optim.Optimizer:
    """Weights decay, logarithms of scales don't."""
    groups = [
        {"params": network.parameters(), "weight_decay": settings.weight_decay},
        {"params": network.logarithms(), "weight_decay": 0.0},
    ]
    used = [g for g in groups if g["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(used, lr=settings.lr, momentum=MOMENTUM)
    return torch.optim.AdamW(used, lr=settings.lr)


def train(work: Work) -> None:
    """Train `work.network` to its end, from its checkpoint if there is one.

    TinyccError where the loss becomes infinite or not a number; the best network until then is
    kept in the cache.
    """
    optimizer = optimizer_of(work.network, work.settings)
    place = work.checkpoint.load(work.tensors, optimizer) or Place()
    if place.epoch or place.step:
        state = "has ended already" if place.done else f"goes on in epoch {place.epoch + 1}"
        work.watcher.note(f"{work.made_by} {state}: found in the cache")
    saved = time.monotonic()
    try:
        while not place.done:
            saved = _epoch(work, place, optimizer, saved)
    except KeyboardInterrupt:
        work.watcher.note(f"{work.made_by} was stopped; the same command goes on where it was")
        raise
    if work.settings.holdout and place.best:
        restore(work.tensors, place.best)
    work.watcher.curve(Curve(work.made_by, tuple(place.points)))


def _epoch(work: Work, place: Place, optimizer: torch.optim.Optimizer, saved: float) -> float:
    """From a place in an epoch to its end; the time of the last checkpoint."""
    settings, steps = work.settings, work.data.steps(work.settings.batch)
    order = np.random.default_rng([settings.seed, place.epoch])
    started = time.monotonic() - place.seconds
    for step, batch in enumerate(work.data.batches(settings.batch, order)):
        if step < place.step:
            continue
        done = _done(settings, place, steps)
        for group in optimizer.param_groups:
            group["lr"] = step_size(settings, done)
        loss = _step(work, place, batch, optimizer)
        place.total += loss
        place.step, place.seconds = step + 1, time.monotonic() - started
        done = _done(settings, place, steps)
        work.watcher.step(Progress(work.made_by, done, place.epoch + 1, loss))
        if settings.minutes and done >= 1:
            break
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            work.checkpoint.save(place, work.tensors, optimizer)
            saved = time.monotonic()
    _close_epoch(work, place)
    place.done = _done(settings, place, steps) >= 1
    work.checkpoint.save(place, work.tensors, optimizer)
    return time.monotonic()


def _done(settings: Settings, place: Place, steps: int) -> float:
    """The fraction of the training that is over, 0..1."""
    if settings.minutes:
        return min(1.0, place.seconds / (60 * settings.minutes))
    return min(1.0, (place.epoch + place.step / steps) / settings.epochs)


def _step(work: Work, place: Place, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    settings, network = work.settings, work.network
    random = np.random.default_rng([settings.seed, place.epoch, place.step, 1])
    inputs = {name: augmented(a, settings, random) for name, a in batch.inputs.items()}
    varied = Batch(inputs, batch.labels)
    found = network.forward(
        network.feed(stored_inputs(network.graph, inputs)), work.objective.wanted
    )
    loss = work.objective.loss(found, varied)
    number = float(loss.detach())
    if not isfinite(number):
        raise _diverged(work, place, number)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return number


def _close_epoch(work: Work, place: Place) -> None:
    """Judge the epoch, keep the best one, go to the next."""
    loss = place.total / max(1, place.step)
    held_out, top1 = (None, None) if work.held_out is None else evaluate(work, work.held_out)
    place.points.append(CurvePoint(place.epoch + 1, loss, held_out, top1))
    judged = loss if held_out is None else held_out
    if judged < place.best_loss:
        place.best_loss = judged
        place.best = [t.detach().clone() for t in work.tensors]
    place.epoch, place.step, place.total = place.epoch + 1, 0, 0.0
    work.watcher.curve(Curve(work.made_by, tuple(place.points)))


def evaluate(work: Work, batch: Batch) -> tuple[float, float | None]:
    """The mean loss on samples, and the fraction that is right."""
    losses, rights = [], []
    network = work.network
    network.training = False
    with torch.no_grad():
        for i in range(0, len(batch), EVALUATION_BATCH):
            part = batch.part(slice(i, i + EVALUATION_BATCH))
            inputs = network.feed(stored_inputs(network.graph, part.inputs))
            found = network.forward(inputs, work.objective.wanted)
            losses.append(float(work.objective.loss(found, part)) * len(part))
            rights.append((work.objective.top1(found, part), len(part)))
    network.training = True
    right = [r * n for r, n in rights if r is not None]
    return sum(losses) / len(batch), sum(right) / len(batch) if right else None


def _diverged(work: Work, place: Place, loss: float) -> TinyccError:
    """The error of a loss that isn't finite, after the best network was put into the cache."""
    at = f"in step {place.step + 1} of epoch {place.epoch + 1}"
    message = f"{work.made_by}: the loss is {loss} {at}"
    hint = f"a lower lr than {work.settings.lr:g}"
    store = work.checkpoint.store
    if place.best and store is not None:
        restore(work.tensors, place.best)
        work.network.write()
        key = work.checkpoint.key
        store.put(key, ".npz", blobs_npz(work.network.graph))
        path = store.put(key, ".tnn", print_graph(work.network.graph).encode())
        best = _best_epoch(place.points)
        hint += f"; the network of epoch {best}, the best one, is in {path}"
    return TinyccError(message, hint=hint)


def _best_epoch(points: Sequence[CurvePoint]) -> int:
    def judged(p: CurvePoint) -> float:
        return p.loss if p.held_out_loss is None else p.held_out_loss

    return min(points, key=judged).epoch
